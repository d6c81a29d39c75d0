"""The repository's benchmarks of overhead and of search, at this device's sizes, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from part import Figure, Here, at_least, at_most

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
PIPELINE_OVER_OFFLINE = 0.90
OCCUPANCY = 0.90
MEMORY_SHARE = 0.4  # of the GPU, for the engine measured and the one it is measured against
Found = tuple[list[Figure], dict[str, Any]]


def overhead_tiny(here: Here) -> Found:
    return _overhead(here, "tiny-arithmetic", samples=8)


def overhead_smollm2(here: Here) -> Found:
    return _overhead(here, "smollm2-135m", samples=4)


def search_tiny(here: Here) -> Found:
    return _search(here, "tiny-arithmetic", here.sizes.search_parts)


def search_smollm2(here: Here) -> Found:
    return _search(here, "smollm2-135m", ("trees",))


def _overhead(here: Here, model: str, *, samples: int) -> Found:
    words = [model, "--rounds", str(here.sizes.overhead_rounds), "--seqs", str(here.sizes.seqs)]
    words += ["--problems", str(here.sizes.overhead_problems[model]), "--samples", str(samples)]
    if here.on_gpu:
        words += ["--memory-share", str(MEMORY_SHARE)]
    raw = _json(here, "overhead", words)
    return [
        at_least("pipeline/offline", raw["pipeline"]["over_offline"], PIPELINE_OVER_OFFLINE, judged=here.on_gpu),
        Figure("engine/offline", raw["engine"]["over_offline"]),
        Figure("offline tokens/s", raw["offline"]["tokens_per_s"]),
    ], raw


def _search(here: Here, model: str, parts: tuple[str, ...]) -> Found:
    words = ["--model", model, "--problems", str(here.sizes.search_problems[model]), "--seqs", str(here.sizes.seqs)]
    raw = _json(here, "search", [*words, "--repeats", str(here.sizes.search_repeats), "--parts", *parts])
    figures = []
    if "occupancy" in raw:
        known = {policy: share for policy, share in raw["occupancy"].items() if share is not None}
        least = min(known, key=lambda policy: known[policy], default=None)
        figures.append(
            at_least("least occupancy", known[least] if least else None, OCCUPANCY, judged=here.on_gpu),
        )
        figures.append(Figure("which is", f"{least or 'none'}, of {len(known)} of {len(raw['occupancy'])} policies"))
    for policy, found in raw["trees"].items():
        figures.append(at_most(f"{policy}: recomputed a leaf", found["recomputed a leaf"], 1, judged=here.on_gpu))
        figures.append(Figure(f"{policy}: wall a leaf", found["wall a leaf"]))
        figures.append(Figure(f"{policy}: cache hit", found["cache hit"]))
    return figures, raw


def _json(here: Here, name: str, words: list[str]) -> dict[str, Any]:
    """The JSON that the benchmark prints last; what it says beside goes to this process's standard error."""
    command = [sys.executable, "-P", str(BENCHMARKS / f"{name}.py"), *words]
    done = subprocess.run(command, cwd=here.work, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}.py {' '.join(words)} ended with {done.returncode}")
    return json.loads(done.stdout[done.stdout.index("{") :])
