"""Draws problems for the synthetic engine: running totals with a gold answer for the `math` verifier.

    synthetic_problems(count, seed) ─► [Problem("Start with 4213. Then add 5, subtract 17. …", MathSpec("4201"))]

Problem i of a seed is the same whatever is drawn beside it. With a `check` the verifier is `program_tests`: a program
with the response as its text computes for a drawn CPU time and then asserts that the text ends in the answer.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from berry.pipeline.config.sections.problems import SyntheticCheck, SyntheticProblems
from berry.pipeline.core.seeds import digest
from berry.pipeline.records import Problem
from berry.pipeline.stages.problems.base import Passing, ProblemReader
from berry.verifiers.specs.union import MathSpec, ProgramTestsSpec

SOURCE = "synthetic"
Z99 = 2.3263478740408408  # standard normal quantile of 99%
_OPEN = 'RESPONSE = r"""'  # the first line of the tests ends this string, and is one by itself
_TESTS = """''' \"\"\" #'''
import math, random, time
_draw = random.Random(RESPONSE)
_until = time.process_time() + {mean_s!r} * math.exp({spread!r} * _draw.gauss(0, 1) - {spread!r} ** 2 / 2)
while time.process_time() < _until:
    sum(range(500))
time.sleep({wait_s!r} / (1 - _draw.random() * {tail!r}))
assert {boxed!r} in RESPONSE
"""


class SyntheticReader(ProblemReader[SyntheticProblems]):
    """Draws problems whose true values are known."""

    config = SyntheticProblems

    def problems(self) -> Iterator[Problem]:
        s = self.settings
        return iter_synthetic(s.count, s.seed, steps=s.steps, start=s.start, largest=s.largest, check=s.check)

    def not_passed(self, passing: Passing) -> Iterator[Problem]:
        return (self.redraw(self.settings.seed, index) for index in range(self.settings.count) if not passing.takes())

    def fingerprint(self) -> str:
        return ""

    def redraw(self, seed: int, index: int) -> Problem:
        return _problem(
            seed, index, self.settings.steps, self.settings.start, self.settings.largest, self.settings.check
        )


def synthetic_problems(
    count: int,
    seed: int = 0,
    *,
    steps: tuple[int, int] = (4, 8),
    start: tuple[int, int] = (4000, 6000),
    largest: int = 50,
    first: int = 0,
    check: SyntheticCheck | None = None,
) -> list[Problem]:
    """Draws problems `first … first + count - 1` of `seed`, of `steps[0] … steps[1]` operations by 1 … `largest`.
    Raises ValueError for a range of steps outside 1 … 60."""
    if not 1 <= steps[0] <= steps[1] <= 60:
        raise ValueError(f"steps must be a range within 1 … 60, got {steps}")
    return list(iter_synthetic(count, seed, steps=steps, start=start, largest=largest, first=first, check=check))


def iter_synthetic(
    count: int,
    seed: int,
    *,
    steps: tuple[int, int] = (4, 8),
    start: tuple[int, int] = (4000, 6000),
    largest: int = 50,
    first: int = 0,
    check: SyntheticCheck | None = None,
) -> Iterator[Problem]:
    """Draws the same problems, one at a time: a million of them take no memory."""
    for index in range(first, first + count):
        yield _problem(seed, index, steps, start, largest, check)


def _program(check: SyntheticCheck, answer: str) -> ProgramTestsSpec:
    ratio = 1.0 if check.p99_ms is None else check.p99_ms / check.cpu_ms
    tests = _TESTS.format(
        mean_s=check.cpu_ms / 1e3,
        spread=Z99 - math.sqrt(Z99**2 - 2 * math.log(ratio)),
        wait_s=check.wait_ms / 1e3,
        tail=0.0 if check.wait_max_ms is None else 1 - check.wait_ms / check.wait_max_ms,
        boxed=f"\\boxed{{{answer}}}",
    )
    return ProgramTestsSpec(language="python", prelude=_OPEN, tests=tests, trusted=True)


def _problem(
    seed: int, index: int, steps: tuple[int, int], start: tuple[int, int], largest: int, check: SyntheticCheck | None
) -> Problem:
    chance = random.Random(int.from_bytes(digest(SOURCE, seed, index), "big"))
    n_steps = chance.randint(*steps)
    total = first = chance.randint(*start)
    words: list[str] = []
    for _ in range(n_steps):
        change = chance.randint(1, largest) * chance.choice((-1, 1))
        total += change
        words.append(f"{'add' if change > 0 else 'subtract'} {abs(change)}")
    return Problem(
        id=f"{SOURCE}-{seed}-{index}",
        prompt=f"Start with {first}. Then {', '.join(words)}. What is the result?",
        verifier=MathSpec(answer=str(total)) if check is None else _program(check, str(total)),
        source=SOURCE,
        meta={"steps": n_steps, "synthetic": True},
    )
