"""Keeps on disk what is finished so far, so that an interrupted `berry variants` goes on where it stopped.

    a problem's attempts ─► add ─► OUT.parts/part-N.jsonl (each whole or not at all) ─► resume ─► merge removes them

Each part opens with a digest of all that decides the result, so that parts of other inputs are refused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

from berry.pipeline.errors import InputError
from berry.pipeline.stages.variants.attempts import Attempt
from berry.pipeline.storage.files import Location

FLUSH_S = 5.0


class Checkpoint:
    """Stores the finished problems of one output `name` in `location`. Held in memory, a few kilobytes a variant."""

    def __init__(self, location: Location, name: str, inputs: str) -> None:
        self._location = location
        self._folder = f"{name}.parts"
        self._inputs = inputs
        self._buffer: list[str] = []
        self._count = 0
        self._written = time.monotonic()
        self.done: dict[str, list[Attempt]] = {}

    @property
    def there(self) -> bool:
        """Whether an earlier call left anything."""
        return bool(self._names())

    def resume(self) -> int:
        """Reads what an earlier call finished and returns how many problems that is. Raises InputError where it was of
        other inputs."""
        for name in self._names():
            header, *rows = self._rows(name)
            if header != {"inputs": self._inputs}:
                where = self._location.show(self._folder)
                raise InputError(f"{where}: is of another config or other problems; remove it, or give another -o")
            for row in rows:
                self.done[row["problem"]] = [Attempt.of_row(attempt) for attempt in row["attempts"]]
            self._count = int(name.removeprefix("part-").removesuffix(".jsonl")) + 1
        return len(self.done)

    def add(self, problem_id: str, attempts: Sequence[Attempt]) -> None:
        """Takes note of a finished problem, and writes what has come together every few seconds."""
        self.done[problem_id] = list(attempts)
        row = {"problem": problem_id, "attempts": [attempt.row() for attempt in attempts]}
        self._buffer.append(json.dumps(row, ensure_ascii=False))
        if time.monotonic() - self._written > FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Writes what is not written yet as the next part."""
        if not self._buffer:
            return
        lines = [json.dumps({"inputs": self._inputs}), *self._buffer]
        data = "".join(f"{line}\n" for line in lines).encode()
        self._location.put(f"{self._folder}/part-{self._count:05d}.jsonl", data)
        self._count += 1
        self._buffer.clear()
        self._written = time.monotonic()

    def remove(self) -> None:
        """Removes all parts: the work that they would spare is done."""
        if self.there:
            self._location.remove_folder(self._folder)

    def _names(self) -> list[str]:
        return [
            name for name in self._location.names(self._folder) if name.startswith("part-") and name.endswith(".jsonl")
        ]

    def _rows(self, name: str) -> Iterator[dict[str, Any]]:
        data = self._location.get(f"{self._folder}/{name}")
        assert data is not None  # it was just listed
        return (json.loads(line) for line in data.decode().splitlines())
