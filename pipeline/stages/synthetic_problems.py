"""Problems for the synthetic engine: running totals with a gold answer for the `math` verifier.

    synthetic_problems(count, seed) ─► [Problem("Start with 4213. Then add 5, subtract 17. …", MathSpec("4201"))]

Problem i of a seed is the same whatever is drawn beside it.
"""

from __future__ import annotations

import random

from pipeline.core.seeds import digest
from pipeline.records import Problem
from verifiers.specs import MathSpec

SOURCE = "synthetic"


def synthetic_problems(count: int, seed: int = 0, *, steps: tuple[int, int] = (4, 8), first: int = 0) -> list[Problem]:
    """Problems `first … first + count - 1` of `seed`, each with `steps[0] … steps[1]` operations."""
    if not 1 <= steps[0] <= steps[1] <= 60:
        raise ValueError(f"steps must be a range within 1 … 60, got {steps}")
    return [_problem(seed, index, steps) for index in range(first, first + count)]


def _problem(seed: int, index: int, steps: tuple[int, int]) -> Problem:
    chance = random.Random(int.from_bytes(digest(SOURCE, seed, index), "big"))
    n_steps = chance.randint(*steps)
    total = start = chance.randint(4000, 6000)
    words: list[str] = []
    for _ in range(n_steps):
        change = chance.randint(1, 50) * chance.choice((-1, 1))
        total += change
        words.append(f"{'add' if change > 0 else 'subtract'} {abs(change)}")
    return Problem(
        id=f"{SOURCE}-{seed}-{index}",
        prompt=f"Start with {start}. Then {', '.join(words)}. What is the result?",
        verifier=MathSpec(answer=str(total)),
        source=SOURCE,
        meta={"steps": n_steps, "synthetic": True},
    )
