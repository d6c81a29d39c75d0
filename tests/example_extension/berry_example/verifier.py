"""The number that the answer states reads the same from both ends, and is at least `least`."""

from __future__ import annotations

from typing import Literal

from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.context import CheckRequest, VerifierContext
from berry.verifiers.extraction.extract import find_answer
from berry.verifiers.specs.base import DEFAULT_PLACES, Spec


class PalindromeSpec(Spec):
    """A palindrome of at least `least`."""

    type: Literal["palindrome"] = "palindrome"
    least: int = 0


spec = PalindromeSpec


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:
    """Reads the answer and looks at it from both ends."""
    wanted = request.spec
    assert isinstance(wanted, PalindromeSpec)
    answer = find_answer(request.response, DEFAULT_PLACES)
    if answer is None:
        return verdict(Reason.NO_ANSWER)
    digits = answer.answer.strip()
    if not digits.isdigit():
        return verdict(Reason.UNPARSABLE_ANSWER, answer=digits)
    good = digits == digits[::-1] and int(digits) >= wanted.least
    return verdict(Reason.CORRECT if good else Reason.WRONG_ANSWER, answer=digits)


def fault(spec: PalindromeSpec) -> str | None:
    """Why no answer could pass; None where one could."""
    return "least is below 0: every number is at least that" if spec.least < 0 else None
