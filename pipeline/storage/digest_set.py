"""A set of digests of any size in bounded memory: the newest in memory, the others sorted on this host's disk.

    add ─► newest ─► HELD of them ─► a sorted run ─► runs of like size become one          in: newest, then each run

Digests are evenly spread, so that a run is cut into parts by value to be merged, and a part is what is in memory. A run
is two files of 8 bytes a digest, looked into where they lie: what of them is in memory is the kernel's cache.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

HELD = 500_000  # digests in memory before they become a run: 50 MB
PART = 4_000_000  # digests of a part that is merged: 150 MB while it is sorted
RATIO = 4  # a run is merged with the one before it unless that is so many times larger
_HALF = 8  # bytes
Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class _SortedRun:
    """Digests in order: their first and second halves, as numbers."""

    high: Words
    low: Words
    files: tuple[Path, Path]

    def holds(self, high: int, low: int) -> bool:
        at = int(np.searchsorted(self.high, np.uint64(high)))
        while at < len(self.high) and self.high[at] == high:
            if self.low[at] == low:
                return True
            at += 1
        return False


class DigestSet:
    """Digests of 16 bytes, in a folder that is its own. Exact: nothing is said to be in it that is not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._newest: set[bytes] = set()
        self._runs: list[_SortedRun] = []  # the largest first
        self._made = 0
        folder.mkdir(parents=True, exist_ok=True)

    def __contains__(self, digest: bytes) -> bool:
        if digest in self._newest:
            return True
        high, low = int.from_bytes(digest[:_HALF], "big"), int.from_bytes(digest[_HALF:], "big")
        return any(run.holds(high, low) for run in self._runs)

    def __len__(self) -> int:
        return len(self._newest) + sum(len(run.high) for run in self._runs)

    def add(self, digest: bytes) -> None:
        """Adds one that is not in it yet. Raises OSError where the disk is full."""
        self._newest.add(digest)
        if len(self._newest) < HELD:
            return
        halves = np.frombuffer(b"".join(self._newest), ">u8").astype(np.uint64).reshape(-1, 2)
        self._newest.clear()
        self._runs.append(self._written([(halves[:, 0], halves[:, 1])]))
        while len(self._runs) > 1 and len(self._runs[-2].high) < RATIO * len(self._runs[-1].high):
            self._merge_last_two()

    def _merge_last_two(self) -> None:
        two = self._runs[-2:]
        parts = -(-sum(len(run.high) for run in two) // PART)
        bounds = [np.uint64(2**64 * part // parts) for part in range(1, parts)]
        cut = [[0, *(int(np.searchsorted(run.high, bound)) for bound in bounds), len(run.high)] for run in two]
        merged = self._written(
            tuple(
                np.concatenate([half[ends[p] : ends[p + 1]] for half, ends in zip(halves, cut, strict=True)])
                for halves in ([run.high for run in two], [run.low for run in two])
            )
            for p in range(parts)
        )
        self._runs[-2:] = [merged]
        for run in two:
            for file in run.files:
                file.unlink()

    def _written(self, parts: Iterable[tuple[Words, ...]]) -> _SortedRun:
        """A run of parts that come in order, each sorted here."""
        files = self._folder / f"{self._made}.high", self._folder / f"{self._made}.low"
        self._made += 1
        with files[0].open("wb") as highs, files[1].open("wb") as lows:
            for high, low in parts:
                order = np.lexsort((low, high))
                highs.write(high[order].tobytes())
                lows.write(low[order].tobytes())
        high, low = (np.asarray(np.memmap(file, np.uint64, mode="r")) for file in files)
        return _SortedRun(high, low, files)
