"""Checks that a folder's weights are whole and of the shapes that serve, from the files' headers alone.

    folder ─► *.safetensors: 8 bytes of length, JSON header {name: dtype, shape, offsets}, data ─► {name: shape}

Checked before an engine lets go of its old weights, so that a bad load costs nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

from berry.pipeline.errors import ConfigError

TIED_HEAD = "lm_head.weight"  # left out of files where it is the embedding


def shapes(folder: str) -> dict[str, tuple[int, ...]]:
    """Raises ConfigError for a file that is damaged or not written to its end."""
    by_name: dict[str, tuple[int, ...]] = {}
    for file in sorted(Path(folder).glob("*.safetensors")):
        try:
            with file.open("rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                if not 0 < length <= file.stat().st_size - 8:
                    raise ValueError("its header is cut off")
                header = json.loads(stream.read(length))
            tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
            end = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
            if file.stat().st_size != end:
                raise ValueError(f"{file.stat().st_size:,} bytes, its header says {end:,}")
            by_name |= {name: tuple(entry["shape"]) for name, entry in tensors.items()}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{file}: is damaged or half written ({error}); write it again") from error
    return by_name


def check_fits(serving: str, folder: str) -> None:
    """Raises ConfigError unless `folder` has every tensor of `serving`, in the same shape. Nothing is said of models
    that are not there as safetensors (a Hugging Face id that was never fetched)."""
    mine = shapes(serving) if Path(serving).is_dir() else {}
    if not mine:
        return
    theirs = shapes(folder)
    if not theirs:
        raise ConfigError(f"{folder}: holds no .safetensors file")
    for name, shape in mine.items():
        if name not in theirs and name != TIED_HEAD:
            raise ConfigError(f"{folder}: lacks {name}, which {serving} has: weights of another architecture")
        if theirs.get(name, shape) != shape:
            raise ConfigError(
                f"{folder}: {name} is {list(theirs[name])}, {serving} has {list(shape)}: weights of another shape"
            )
