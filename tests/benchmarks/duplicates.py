"""What finding duplicates costs at any size: `python -P tests/benchmarks/duplicates.py --millions 10`.

exact: that many digests of which a tenth were there before, looked up and added one by one, as `exact_duplicate` does
in `berry reprune`. near: the same number of responses with made-up keys of their MinHash's bands, a tenth of them near
an earlier one, through the joins of `berry dedup`. Prints seconds, and the memory and disk that they took, as JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import threading
import time
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil

from berry.pipeline.core.prune.similarity import band_layout
from berry.pipeline.stages.dataset.maintenance.near_duplicates import BATCH, Database
from berry.pipeline.storage.digest_set import DigestSet

MIB = 1 << 20
MEMORY = "2GB"  # DuckDB's


class Watched:
    """The memory of this process and the disk of a folder while something runs, at most."""

    def __init__(self, folder: Path) -> None:
        self.anonymous = self.disk = 0
        self._folder, self._ended = folder, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self) -> None:
        while not self._ended.wait(0.2):
            memory = psutil.Process().memory_info()
            self.anonymous = max(self.anonymous, memory.rss - memory.shared)
            sizes = [file.stat().st_blocks * 512 for file in self._folder.rglob("*") if file.exists()]
            self.disk = max(self.disk, sum(sizes))

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def exact(count: int, folder: Path) -> dict[str, float]:
    found, again, chance = DigestSet(folder), 0, random.Random(1)
    for number in range(count):
        text = number if chance.random() < 0.9 else chance.randrange(number + 1)
        digest = blake2b(text.to_bytes(8, "big"), digest_size=16).digest()
        if digest in found:
            again += 1
        else:
            found.add(digest)
    return {"kept": len(found), "duplicates": again}


def near(count: int, folder: Path) -> dict[str, float]:
    bands, chance = band_layout(0.8)[0], np.random.default_rng(1)
    database = Database(folder, MEMORY, bands=bands)
    began = time.perf_counter()
    for start in range(0, count, BATCH):
        numbers = np.arange(start, min(start + BATCH, count), dtype=np.int64)
        of = np.where(chance.random(len(numbers)) < 0.9, numbers, chance.integers(0, numbers + 1))
        shares = chance.random((len(numbers), bands)) < 0.5  # of the bands of one that is near another
        texts = np.where(shares, of[:, None], numbers[:, None]).astype(np.uint64)
        keys = (texts * np.uint64(bands) + np.arange(bands, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        database.add_keys(numbers, keys)
    written = time.perf_counter()
    pairs = database.find_candidates()
    joined = time.perf_counter()
    rows = sum(1 for _ in database.candidates())
    return {"pairs": pairs, "rows in a pair": rows, "writing keys, s": written - began, "joins, s": joined - written}


def measured(work: Callable[[int, Path], dict[str, float]], count: int) -> dict[str, float]:
    with TemporaryDirectory() as name, Watched(Path(name)) as watched:
        began = time.perf_counter(), time.process_time()
        found = work(count, Path(name))
        seconds, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
    return {
        **found,
        "seconds": round(seconds, 1),
        "CPU, us each": round(1e6 * cpu / count, 1),
        "memory without the kernel's cache, MiB": round(watched.anonymous / MIB),
        "disk, MiB": round(watched.disk / MIB),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=10)
    parser.add_argument("--parts", nargs="+", choices=("exact", "near"), default=("exact", "near"))
    chosen = parser.parse_args()
    parts: dict[str, Callable[[int, Path], dict[str, float]]] = {"exact": exact, "near": near}
    print(json.dumps({part: measured(parts[part], int(1e6 * chosen.millions)) for part in chosen.parts}, indent=1))
