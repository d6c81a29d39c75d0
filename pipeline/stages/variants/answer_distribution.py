"""Compares how an engine answers two texts: which answers, how often.

    replies ─► classes (equal mathematics is one class; of other kinds the verdict) ─► Spread ─► distance, majority

    distance(P, Q) = ½ Σ_a |P(a) - Q(a)|        total variation over answers, "no answer" being one of them, in [0, 1]

Degenerate case: answers that all differ are at distance 1 from anything, themselves drawn again included.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from berry.pipeline.records import Problem
from berry.pipeline.stages.checking.question import with_retry
from berry.verifiers.base import Outcome, Reason
from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.kinds.majority import canonicalise
from berry.verifiers.kinds.math import same_answer
from berry.verifiers.specs.union import MajoritySpec, MathSpec

PASS, FAIL = "pass", "fail"


class Uncheckable(ValueError):
    """A reply's check could not be made; the text is the verdict's reason."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The answers to one text in the order drawn; None: no answer. `gold` is the right one, None: not known."""

    answers: tuple[str | None, ...]
    gold: str | None = None

    @property
    def counts(self) -> Counter[str | None]:
        """How often each answer was given; None stands for responses without one."""
        return Counter(self.answers)

    def share(self, answer: str | None) -> float:
        """Share of the responses that give `answer`, in [0, 1]."""
        return self.answers.count(answer) / len(self.answers)

    @property
    def majority(self) -> tuple[str | None, float]:
        """The most frequent answer and its share of all replies. None for a tie, or where most give no answer."""
        given = sorted(self.counts.items(), key=lambda item: (-item[1], item[0] or ""))
        answer, n = given[0]
        tied = len(given) > 1 and given[1][1] == n
        return (None if tied else answer), n / len(self.answers)

    @property
    def pass_rate(self) -> float | None:
        """Share of the gold, or of the majority's answer where there is no gold, among the replies that give an answer.
        None where none does, or where no answer is the most frequent one: no answer is not a wrong answer."""
        answer = self.majority[0] if self.gold is None else self.gold
        answered = len(self.answers) - self.counts[None]
        return None if answer is None or not answered else self.counts[answer] / answered

    @property
    def noise(self) -> float:
        """Distance between the two halves: what chance alone does to half as many replies."""
        return distance(Spread(self.answers[::2]), Spread(self.answers[1::2]))


def distance(a: Spread, b: Spread) -> float:
    """Total variation in [0, 1], from whole numbers: the same whatever the order of answers or of arguments."""
    p, q, n, m = a.counts, b.counts, len(a.answers), len(b.answers)
    return sum(abs(p[answer] * m - q[answer] * n) for answer in {*p, *q}) / (2 * n * m)


def by_value(problem: Problem) -> bool:
    """Whether answers can be told apart by what they say, not only by their verdict."""
    return isinstance(problem.verifier, MathSpec | MajoritySpec)


async def spreads(problem: Problem, texts: Sequence[Sequence[str | None]], checker: Checker) -> list[Spread]:
    """The spread of each group of replies, in common classes: the same answer has one name in all groups.

    `texts` hold None for a reply that was cut off. Raises Uncheckable.
    """
    flat = [text for group in texts for text in group]
    if by_value(problem):
        classes, gold = await _by_value(problem, flat, checker)
    else:
        classes, gold = await _by_verdict(problem, flat, checker), PASS
    ends = [sum(len(group) for group in texts[: i + 1]) for i in range(len(texts))]
    return [Spread(tuple(classes[end - len(group) : end]), gold) for group, end in zip(texts, ends, strict=True)]


async def _by_value(
    problem: Problem, flat: Sequence[str | None], checker: Checker
) -> tuple[list[str | None], str | None]:
    spec = problem.verifier
    assert isinstance(spec, MathSpec | MajoritySpec)
    rules = MajoritySpec(extract=spec.extract, strictness=spec.strictness)
    strictness = spec.strictness or checker.config.strictness
    named = await canonicalise({str(i): text or "" for i, text in enumerate(flat)}, rules, checker.symbolic, strictness)
    classes = [named[str(i)] for i in range(len(flat))]
    if isinstance(spec, MajoritySpec):
        return classes, None
    right = {
        name
        for name in sorted({c for c in classes if c is not None})
        if (await same_answer(spec.answer, name, strictness, checker.symbolic)).same
    }
    return [spec.answer if c in right else c for c in classes], spec.answer


async def _by_verdict(problem: Problem, flat: Sequence[str | None], checker: Checker) -> list[str | None]:
    async def one(text: str | None) -> str | None:
        if text is None:
            return None
        request = CheckRequest(problem.id, problem.verifier, text, problem.text)
        verdict = await with_retry(checker.check)(request)
        if verdict.outcome is Outcome.UNVERIFIABLE:
            raise Uncheckable(str(verdict.reason))
        if verdict.reason in (Reason.NO_ANSWER, Reason.NO_CODE):
            return None
        return PASS if verdict.passed else FAIL

    results = await asyncio.gather(*(one(text) for text in flat), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]
