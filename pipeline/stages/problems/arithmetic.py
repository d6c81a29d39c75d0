"""Draws arithmetic problems with their verifier, and writes the solutions a tiny model learns from.

    draw(count, seed) ─► [Problem("12 + 5 - 3 * 7?", MathSpec("-4"))]
    worked(prompt)    ─► "12+5=17\n17-3*7=17-21=-4\n-4"

Expressions follow the usual precedence: products before sums. Pure: problem i of a seed is the same whatever
is drawn beside it, so draws can be split among workers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

from berry.pipeline.config.sections.problems import ArithmeticProblems
from berry.pipeline.records import Problem
from berry.pipeline.stages.problems.base import Passing, ProblemReader
from berry.verifiers.specs.union import MathSpec

SOURCE = "arithmetic"
LARGEST = 20  # of a number that stands alone
LARGEST_FACTOR = 9  # of a number inside a product


@dataclass(frozen=True, slots=True)
class Term:
    """A signed product of one or two factors."""

    sign: int
    factors: tuple[int, ...]

    @property
    def value(self) -> int:
        """Its number, with the sign."""
        product = self.sign
        for factor in self.factors:
            product *= factor
        return product

    @property
    def text(self) -> str:
        """Its factors as written, without the sign."""
        return "*".join(map(str, self.factors))


class ArithmeticReader(ProblemReader[ArithmeticProblems]):
    """Draws sums with running totals."""

    config = ArithmeticProblems

    def problems(self) -> Iterator[Problem]:
        return iter_draw(self.settings.count, self.settings.seed, operands=self.settings.operands)

    def not_passed(self, passing: Passing) -> Iterator[Problem]:
        return (self.redraw(self.settings.seed, index) for index in range(self.settings.count) if not passing.takes())

    def fingerprint(self) -> str:
        return ""

    def redraw(self, seed: int, index: int) -> Problem:
        return _problem(seed, index, self.settings.operands)


def draw(
    count: int,
    seed: int,
    *,
    operands: tuple[int, int] = (3, 4),
    first: int = 0,
) -> list[Problem]:
    """Draws problems `first … first + count - 1` of `seed`, each with `operands[0] … operands[1]` numbers. `difficulty`
    is the number of operands. Every number is 1 … 20, inside a product 2 … 9; a product has two factors. Raises
    ValueError for a range of operands that is none."""
    if not 1 <= operands[0] <= operands[1]:
        raise ValueError(f"operands must be a range of at least 1, got {operands}")
    return list(iter_draw(count, seed, operands=operands, first=first))


def iter_draw(count: int, seed: int, *, operands: tuple[int, int] = (3, 4), first: int = 0) -> Iterator[Problem]:
    """Draws the same problems, one at a time."""
    for index in range(first, first + count):
        yield _problem(seed, index, operands)


def worked(prompt: str) -> str:
    """Writes the solution as the tiny model does: one running total a line, the bare answer on the last line."""
    terms = _parse(prompt)
    total, shown = terms[0].value, terms[0].text
    lines = [f"{shown}={total}"] if len(terms[0].factors) > 1 else []
    for term in terms[1:]:
        sign = "-" if term.sign < 0 else "+"
        line = f"{total}{sign}{term.text}="
        if len(term.factors) > 1:
            line += f"{total}{sign}{abs(term.value)}="
        total += term.value
        lines.append(f"{line}{total}")
    return "\n".join([*lines, str(total)])


def _problem(seed: int, index: int, operands: tuple[int, int]) -> Problem:
    digest = blake2b(f"{SOURCE}/{seed}/{index}".encode(), digest_size=8).digest()
    chance = random.Random(int.from_bytes(digest, "big"))
    left = chance.randint(*operands)
    n_operands = left
    terms: list[Term] = []
    while left:
        sign = 1 if not terms else chance.choice((1, -1))
        if left > 1 and chance.random() < 1 / 3:
            factors = (chance.randint(2, LARGEST_FACTOR), chance.randint(2, LARGEST_FACTOR))
        else:
            factors = (chance.randint(1, LARGEST),)
        terms.append(Term(sign, factors))
        left -= len(factors)
    return Problem(
        id=f"{SOURCE}-{seed}-{index}",
        prompt=_prompt(terms),
        verifier=MathSpec(answer=str(sum(term.value for term in terms))),
        source=SOURCE,
        difficulty=float(n_operands),
        meta={"operands": n_operands},
    )


def _prompt(terms: list[Term]) -> str:
    text = " * ".join(map(str, terms[0].factors))
    for term in terms[1:]:
        text += (" - " if term.sign < 0 else " + ") + " * ".join(map(str, term.factors))
    return f"{text}?"


def _parse(prompt: str) -> list[Term]:
    words = prompt.removesuffix("?").split()
    terms = [Term(1, (int(words[0]),))]
    for operator, number in zip(words[1::2], words[2::2], strict=True):
        if operator == "*":
            terms[-1] = Term(terms[-1].sign, (*terms[-1].factors, int(number)))
        else:
            terms.append(Term(-1 if operator == "-" else 1, (int(number),)))
    return terms
