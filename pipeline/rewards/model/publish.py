"""Publishes trained weights as a folder that appears whole or not at all.

save(aside), card, report ─► aside ─► rename (local) | files with card.json last (object stores)
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from berry.pipeline.errors import StorageError
from berry.pipeline.rewards.model.card import NAME, Card
from berry.pipeline.rewards.model.quiet import quiet_transformers
from berry.pipeline.storage.files import Location


def publish(
    location: Location, name: str, *, model: Any, tokenizer: Any, card: Card, extra: Mapping[str, bytes]
) -> None:
    """Writes a transformers `model` as `name` under `location`, replacing an older one; `tokenizer` None where there is
    none. Raises StorageError."""

    def save(folder: Path) -> None:
        with quiet_transformers():
            model.save_pretrained(folder)
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
        for file, data in extra.items():
            (folder / file).write_bytes(data)
        (folder / NAME).write_text(card.to_json(), encoding="utf-8")

    try:
        if location.is_local:
            _local(Path(location.path(name)), save)
            return
        with tempfile.TemporaryDirectory() as folder:
            save(Path(folder))
            location.remove(f"{name}/{NAME}")
            for file in sorted(Path(folder).iterdir(), key=lambda f: (f.name == NAME, f.name)):
                location.put(f"{name}/{file.name}", file.read_bytes())
    except OSError as error:
        raise StorageError(f"{location.show(name)}: can't be written: {error.strerror or error}") from error


def _local(target: Path, save: Callable[[Path], None]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.writing-", dir=target.parent))
    try:
        aside.chmod(0o755)
        save(aside)
        if not target.exists():
            aside.rename(target)
            return
        old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old-", dir=target.parent))
        os.rename(target, old / "model")
        try:
            aside.rename(target)
        except OSError:
            os.rename(old / "model", target)
            raise
        finally:
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
