"""How well checks of one kind are foretold from a mix of two: `python -P tests/benchmarks/check_kinds.py [--rounds 5]`.

    mixed      mathematics and programs of some milliseconds, at random: what a calibrating run sees
    math       mathematics alone          code       programs alone: what is foretold

Through a real checker with its sandboxes, as many checks at once as slots. For each stream the time that a check holds
a slot and the CPU in it, as `metrics/run.json` of a run has them by kind (`check_kinds`), against what `berry plan
--calibrate` makes of the mix: each kind by its own figures, and `alike`, one mean for all, as it was before kinds were
told apart. Streams alternate; medians over the rounds. CPU time hardly feels neighbours, time in a slot does, and
mathematics, which needs no slot, has its CPU time as both. Each stream has answers of its own, which no cache has seen,
many of them, since one in fifty takes ten times the mean, and each program equally often.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics

from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.config import CheckerConfig
from berry.verifiers.specs.code import Case, PythonFunctionSpec
from berry.verifiers.specs.union import MathSpec
from tests.benchmarks.verifiers import math_rows

MATH, CODE = "math", "python_function"
FIGURES = ("held_s", "cpu_s")
PROGRAM = """```python
def primes(n):
    return sum(all(k % d for d in range(2, int(k**0.5) + 1)) for k in range(2, n))
```"""
KNOWN = {2000: 303, 4000: 550, 8000: 1007}


def stream(counts: dict[str, int], seed: int) -> list[CheckRequest]:
    """So many checks of each kind, in a random order."""
    rng = random.Random(seed)
    rows = [
        CheckRequest(f"m{i}", MathSpec(answer=gold), response)
        for i, (gold, response) in enumerate(math_rows(counts[MATH], seed))
    ]
    for i in range(counts[CODE]):
        n = list(KNOWN)[i % len(KNOWN)]
        spec = PythonFunctionSpec(entry_point="primes", cases=(Case(args=(n,), expected=KNOWN[n]),))
        rows.append(CheckRequest(f"c{i}", spec, PROGRAM))
    rng.shuffle(rows)
    return rows


async def spent(checker: Checker, rows: list[CheckRequest], at_once: int) -> dict[str, dict[str, float]]:
    """What a check of each kind took in the mean, s."""
    before, gate = checker.metrics(), asyncio.Semaphore(at_once)

    async def one(request: CheckRequest) -> None:
        async with gate:
            verdict = await checker.check(request)
        assert request.problem_id[0] == "m" or verdict.passed, verdict

    await asyncio.gather(*map(one, rows))
    after = checker.metrics()
    found: dict[str, dict[str, float]] = {}
    for kind in (MATH, CODE):
        counts = {n: after.get(k := f"kind:{kind}:{n}", 0) - before.get(k, 0) for n in ("checks", *FIGURES)}
        if counts["checks"]:
            found[kind] = {n: counts[n] / counts["checks"] for n in FIGURES}
    return found


async def measure(rounds: int, maths: int, programs: int, slots: int) -> list[dict[str, dict[str, dict[str, float]]]]:
    counts = {
        "mixed": {MATH: maths, CODE: programs},
        "math": {MATH: maths, CODE: 0},
        "code": {MATH: 0, CODE: programs},
    }
    found = []
    async with Checker(CheckerConfig(slots=slots)) as checker:
        for i in range(rounds + 1):
            names = list(counts) if i % 2 else list(reversed(counts))
            seeds = {name: len(counts) * i + k for k, name in enumerate(counts)}
            one = {name: await spent(checker, stream(counts[name], seeds[name]), slots) for name in names}
            if i:
                found.append(one)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--maths", type=int, default=2_000, help="checks of mathematics a stream")
    parser.add_argument("--programs", type=int, default=99, help="programs a stream")
    parser.add_argument("--slots", type=int, default=1)
    options = parser.parse_args()
    rounds = asyncio.run(measure(options.rounds, options.maths, options.programs, options.slots))
    for name, kind in (("math", MATH), ("code", CODE)):
        told: dict[str, object] = {"stream": name}
        for figure in FIGURES:
            real = statistics.median(r[name][kind][figure] for r in rounds)
            apart = statistics.median(r["mixed"][kind][figure] for r in rounds)
            alike = statistics.median(statistics.fmean(k[figure] for k in r["mixed"].values()) for r in rounds)
            ms = figure.replace("_s", "_ms")
            told |= {ms: round(1e3 * real, 3), f"{ms}_error": round(apart / real - 1, 3)}
            told[f"{ms}_error_alike"] = round(alike / real - 1, 3)
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
