"""Compares two runs on the problems that both hold: two models, two rounds, two reward models.

answers of A, answers of B ─► problems of both ─► each method at each budget: paired difference B less A, p
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from berry.pipeline.config.sections.evaluation import powers_of_two
from berry.pipeline.errors import InputError
from berry.pipeline.stages.evaluation.chains import ProblemAnswers
from berry.pipeline.stages.evaluation.methods import ORDER
from berry.pipeline.stages.evaluation.statistics import difference


def compare_runs(
    first_answers: Sequence[ProblemAnswers],
    second_answers: Sequence[ProblemAnswers],
    budgets: Sequence[int],
    *,
    first: str,
    second: str,
) -> list[str]:
    """One line a benchmark, method and budget that both can fill. Raises InputError where they share no problem."""
    theirs = {p.problem_id: p for p in second_answers}
    both = [(p, theirs[p.problem_id]) for p in first_answers if p.problem_id in theirs]
    if not both:
        raise InputError(f"{first} and {second} share no problem: compare runs of the same problems")
    lines = [f"{second} less {first}, in points, on {len(both)} problems of both:"]
    for benchmark in sorted({a.benchmark for a, _ in both}):
        here = [(a, b) for a, b in both if a.benchmark == benchmark]
        fewest = min(sum(x.passed is not None for x in p.answers) for pair in here for p in pair)
        for method in ORDER:
            if not all(method.applies(p) for pair in here for p in pair):
                continue
            for n in budgets or powers_of_two(fewest):
                if n > fewest or (method.name == "pass@1" and n > 1):
                    continue
                values = [[method.value(p, n) for p in side] for side in zip(*here, strict=True)]
                told = difference(np.array(values[0], dtype=float), np.array(values[1], dtype=float))
                spread = "" if told.low is None else f" ({100 * told.low:+.1f} to {100 * (told.high or 0):+.1f})"
                chance = "" if told.p is None else f", p {told.p:.3f}"
                lines.append(f"  {benchmark}, {method.name} at {n}: {100 * told.mean:+.1f}{spread}{chance}")
    return lines
