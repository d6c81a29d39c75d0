"""Finds the files that Berry ships under `configs/`: clusters, hardware and model sheets, prices.

shipped("clusters", "hgx-h100") ─► …/configs/clusters/hgx-h100.yaml
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import berry
from berry.pipeline.errors import ConfigError


def configs_dir() -> Path:
    """Return `$BERRY_CONFIGS`, or the folder `configs` that the package carries."""
    return Path(os.environ.get("BERRY_CONFIGS") or Path(berry.__file__).parent / "configs")


def names(kind: str) -> list[str]:
    """Names of the shipped files of one kind (a folder of `configs/`), sorted."""
    return sorted(p.stem for p in (configs_dir() / kind).glob("*.yaml"))


def shipped(kind: str, name: str, base: Path | None = None) -> Path:
    """Path of the shipped file `name`, or of a file when `name` looks like a path (relative to `base`).
    Raises ConfigError that lists what there is."""
    if name.endswith((".yaml", ".yml", ".json")) or "/" in name:
        path = (base or Path()) / name
        if path.is_file():
            return path
        raise ConfigError(f"{kind}: there is no file {path}")
    path = configs_dir() / kind / f"{name}.yaml"
    if path.is_file():
        return path
    known = names(kind)
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ConfigError(f"{kind}: {name!r} is not shipped{hint} (there are {', '.join(known)}; or give a path)")
