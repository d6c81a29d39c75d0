"""Brings new weights from outside into a run: checked, copied into its directory, then named in weights.json.

PATH ─► whole? same tokenizer? same shape? ─► round=N/weights/policy-VERSION ─► weights.json
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.config.sections.rewards import Rewards
from berry.pipeline.engines import adapters, models, tensors
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.errors import ConfigError, InputError, StorageError
from berry.pipeline.rewards.model import resolve
from berry.pipeline.rewards.model.card import read_card
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.weights_file import Weights, read_weights, write_weights
from berry.pipeline.storage.weight_cache import upload

KINDS = ("policy", "prm", "orm")
SHAPE = ("architectures", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")


def push_weights(
    run: RunDir,
    path: str,
    *,
    what: str,
    version: str | None = None,
    engine: str | None = None,
    name: str | None = None,
) -> Weights:
    """Copies the weights at `path` (a folder, URL or model name) into the run and has its models load them.

    `what`: policy, prm or orm; `engine`: of a run with several, the one whose weights they are; `name`: of one
    of `rewards.models`. Raises InputError or ConfigError for weights that can't serve here; nothing is changed then."""
    if what not in KINDS:
        raise InputError(f"--what must be one of {', '.join(KINDS)}, got {what!r}")
    if version is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", version):
        raise InputError(f"--version must be letters, digits, '.', '_' and '-', got {version!r}")
    config = _on_engine(stored_config(run), what, engine)
    _check_name(config, what, name)
    serving = config.engine.adapter if what == "policy" and isinstance(config.engine, VllmEngine) else None
    find = adapters.resolve if serving is not None else models.resolve if what == "policy" else resolve.resolve
    source = Path(find(path, key="PATH"))
    if not source.is_dir():
        raise InputError(f"PATH {path}: give a folder with weights")
    if serving is not None:
        adapters.check_takes_the_place_of(adapters.resolve(serving, key="engine.adapter"), str(source))
    else:
        _check(config, source, what)
    now = read_weights(run.location)
    version = version or f"{what}-{_content(source)}"
    folder = version if version.startswith(what) else f"{what}-{version}"
    whose = engine or name
    kept = f"round={now.round_index}/weights/{folder if whose is None else f'{whose}-{folder}'}"
    if run.location.is_local:
        _copy(source, Path(run.location.path(kept)))
    elif not run.location.exists(f"{kept}/{(last := 'config.json' if serving is None else adapters.CARD)}"):
        upload(source, run.location, kept, last=last)
    weights = Weights(kept, version)
    if what != "policy":
        after = replace(now, rewards=now.rewards | {name or what: weights})
    elif engine is None:
        after = replace(now, engine=weights)
    else:
        after = replace(now, engines=now.engines | {engine: weights})
    write_weights(run.location, after)
    return weights


def _on_engine(config: RunConfig, what: str, engine: str | None) -> RunConfig:
    """The run on the engine that is named. Raises InputError where that is none of its own, or one has to be named."""
    if what == "policy" and (engine or "") not in config.each_engine:
        known = ", ".join(config.engines)
        if not known:
            raise InputError(f"--engine {engine}: this run has one engine: leave it out")
        raise InputError(f"--engine {engine or 'is missing'}: name the engine whose weights they are: {known}")
    if what != "policy" and engine is not None:
        raise InputError(f"--engine {engine}: a {what} is no engine's: leave it out")
    return config.on_engine(engine) if engine is not None else config


def _check_name(config: RunConfig, what: str, name: str | None) -> None:
    """Raises InputError where no reward model of this kind has the name, or one has to be named."""
    rewards = config.rewards or Rewards()
    known = ", ".join(one for one, model in rewards.models.items() if model.what == what) or "there are none"
    if name is None:
        trained = () if config.rounds is None else config.rounds.train
        if what in ("prm", "orm") and rewards.models and what not in rewards.each and what not in trained:
            raise InputError(f"--name is missing: this run has no rewards.{what}; its models of this kind: {known}")
    elif name not in rewards.models or rewards.models[name].what != what:
        raise InputError(f"--name {name}: rewards.models has no {what} of this name ({known})")


def _check(config: RunConfig, source: Path, what: str) -> None:
    if what != "policy":
        card = read_card(str(source))
        if card is not None and card.what != what:
            raise InputError(f"{source} is a {card.what}, not a {what}: give --what {card.what}")
        return
    if not isinstance(config.engine, VllmEngine):
        raise ConfigError(f"engines of type {config.engine.type} take no weights")
    if vocabulary.of_folder(str(source)).fingerprint != vocabulary.of_engine(config.engine).fingerprint:
        raise ConfigError(f"{source} has another tokenizer than {config.engine.model}, which the run generates with")
    mine = json.loads((Path(models.resolve(config.engine.model)) / "config.json").read_text())
    theirs = json.loads((source / "config.json").read_text())
    for key in SHAPE:
        if mine.get(key) != theirs.get(key):
            raise ConfigError(
                f"{source} is of another architecture than {config.engine.model}: {key} is {theirs.get(key)!r}, the "
                f"run has {mine.get(key)!r}"
            )
    tensors.check_fits(models.resolve(config.engine.model), str(source))


def _content(source: Path) -> str:
    digest = blake2b(digest_size=6)
    for file in sorted(source.glob("*.safetensors")):
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _copy(source: Path, target: Path) -> None:
    """Whole or not at all; the same version twice is the same weights."""
    if target.exists():
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.writing-", dir=target.parent))
        try:
            aside.chmod(0o755)
            for file in source.iterdir():
                if file.is_file():
                    shutil.copy2(file, aside / file.name)
            aside.rename(target)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise StorageError(f"{target}: can't be written: {error.strerror or error}") from error
