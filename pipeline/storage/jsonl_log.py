"""Writes JSON lines that grow while a run goes on, on any filesystem, in parts of a thousand lines.

    JsonlLog.append ─► metrics/NAME-0000.jsonl, metrics/NAME-0001.jsonl …     read ─► every line of every part

The last part is put again whole: an object store can't append, and one file put again for every line would cost the
square of its length. A driver that is started again begins a part of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from berry.pipeline.storage.files import Location

FOLDER = "metrics"
PART_LINES = 1_000


class JsonlLog:
    """Appends rows to one log of a run."""

    def __init__(self, location: Location, name: str) -> None:
        self._location = location
        self._name = name
        self._part = len(_parts(location, name))
        self._lines: list[str] = []

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Appends rows. Raises StorageError; what it was given is then written with the next call."""
        self._lines.extend(json.dumps(row, default=str) for row in rows)
        if not self._lines:
            return
        data = "".join(line + "\n" for line in self._lines).encode()
        self._location.put(f"{FOLDER}/{self._name}-{self._part:04d}.jsonl", data, durable=False)
        if len(self._lines) >= PART_LINES:
            self._part += 1
            self._lines.clear()


def read(location: Location, name: str) -> list[dict[str, Any]]:
    """Reads every row of a log; empty if there is none. Raises StorageError."""
    rows: list[dict[str, Any]] = []
    for part in _parts(location, name):
        data = location.get(f"{FOLDER}/{part}") or b""
        rows.extend(json.loads(line) for line in data.splitlines() if line)
    return rows


def _parts(location: Location, name: str) -> list[str]:
    found = (n for n in location.names(FOLDER) if n.startswith(f"{name}-") and n.endswith(".jsonl"))
    return sorted(found)
