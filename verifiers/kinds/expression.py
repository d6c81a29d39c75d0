"""Checks that an expression uses exactly the given numbers and operators and equals the target (`expression`).

    numbers (1, 2, 3), target 9       (1 + 2) * 3           each number once, in any order unless `keep_order`
    skeleton "1 + 2 * 3", target 9    (1 + 2) * 3           the skeleton with brackets added, nothing else changed

Evaluated exactly, as fractions, by our own parser. `= target` may follow. Anything else written is DISALLOWED.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING

from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.extraction.extract import find_answer
from berry.verifiers.maths import bounds
from berry.verifiers.maths.expressions import evaluate, expr, normal
from berry.verifiers.specs.union import ExpressionSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

_BRACKETS = ("(", ")", "[", "]", "{", "}")
_ROUND = {"[": "(", "]": ")", "{": "(", "}": ")"}


class Disallowed(ValueError):
    """Something in the expression that was not given."""


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:  # noqa: ARG001 - one signature for all kinds
    """Evaluates the response's expression and compares it with the target."""
    spec = request.spec
    assert isinstance(spec, ExpressionSpec)
    if (problem := fault(spec)) is not None:
        return verdict(Reason.GOLD_UNPARSABLE, note=problem)
    found = find_answer(request.response, spec.extract)
    if found is None:
        return verdict(Reason.NO_ANSWER)
    if found.others:
        return verdict(Reason.CONFLICTING_ANSWERS, answer=found.answer, others=found.others[0])
    reason, note = check(spec, found.answer)
    return verdict(reason, answer=found.answer, expected=str(spec.target), note=note)


def check(spec: ExpressionSpec, answer: str) -> tuple[Reason, str | None]:
    """The reason for `answer`'s verdict, and what exactly is wrong."""
    if (limit := bounds.fault(answer)) is not None:
        return (Reason.ANSWER_TOO_LARGE if limit.too_large else Reason.UNPARSABLE_ANSWER), str(limit)
    sides = [side for side in normal.clean(answer).split("=") if side.strip()]
    if not sides:
        return Reason.UNPARSABLE_ANSWER, "nothing but ="
    target = Fraction(str(spec.target))
    try:
        trees = [expr.parse(side) for side in sides]
        _check_tokens(spec, expr.tokens(sides[0]))
        value, *stated = [evaluate.exact(tree) for tree in trees]
    except Disallowed as error:
        return Reason.DISALLOWED, str(error)
    except evaluate.TooLarge as error:
        return Reason.ANSWER_TOO_LARGE, str(error)
    except (expr.Unparsable, evaluate.NotExact) as error:
        return Reason.UNPARSABLE_ANSWER, str(error)
    except evaluate.Undefined as error:
        return Reason.WRONG_ANSWER, str(error)
    if value != target or any(side != target for side in stated):
        return Reason.WRONG_ANSWER, f"equals {value}"
    return Reason.CORRECT, None


def _check_tokens(spec: ExpressionSpec, tokens: list[str]) -> None:
    """Raises Disallowed unless `tokens` use exactly what the problem gives."""
    if "\\frac" in tokens:
        if spec.skeleton is not None:
            raise Disallowed("write the line as it was given, with / for division")
        tokens = _without_frac(tokens)
    tokens = [_ROUND.get(token, token) for token in tokens]
    if spec.skeleton is not None:
        if [t for t in tokens if t not in _BRACKETS] != [t for t in _skeleton(spec.skeleton) if t not in _BRACKETS]:
            raise Disallowed("changes more than the brackets")
        pairs = tokens.count("(") - _skeleton(spec.skeleton).count("(")
        if spec.brackets is not None and pairs != spec.brackets:
            raise Disallowed(f"adds {pairs} pairs of brackets, not {spec.brackets}")
        return
    used = [Fraction(t) for t in tokens if t[0].isdigit() or t[0] == "."]
    given = [abs(Fraction(str(n))) for n in spec.numbers]
    if Counter(used) != Counter(given):
        raise Disallowed(f"uses {_listed(used)}, not {_listed(given)}")
    if spec.keep_order and used != given:
        raise Disallowed("the numbers are not in the given order")
    for token in tokens:
        if not (token[0].isdigit() or token[0] == "." or token in _BRACKETS or token in spec.operators):
            raise Disallowed(f"uses {token!r}")
    for left, right in pairwise(tokens):
        juxtaposed = (left == ")" or left[0].isdigit()) and (right == "(" or right[0].isdigit())
        if juxtaposed and "*" not in spec.operators:
            raise Disallowed("multiplies")


def _without_frac(tokens: list[str]) -> list[str]:
    """`\\frac{a}{b}` as `{a}/{b}`: a division like any other."""
    out: list[str] = []
    waiting: list[int] = []  # depths at which a numerator's brace will close
    depth = 0
    for token in tokens:
        if token == "\\frac":
            waiting.append(depth)
            continue
        depth += (token == "{") - (token == "}")
        out.append(token)
        if token == "}" and waiting and depth == waiting[-1]:
            waiting.pop()
            out.append("/")
    if waiting:
        raise Disallowed("a fraction without braces")
    return out


def _skeleton(text: str) -> list[str]:
    return [_ROUND.get(token, token) for token in expr.tokens(normal.clean(text))]


def _listed(numbers: list[Fraction]) -> str:
    return "[" + ", ".join(str(n) for n in sorted(numbers)) + "]"


def fault(spec: ExpressionSpec) -> str | None:
    """Why no expression can be checked against this spec; None when one can."""
    try:
        Fraction(str(spec.target))
    except (ValueError, ZeroDivisionError):
        return f"target {spec.target!r} is not a number"
    if spec.skeleton is not None:
        try:
            expr.parse(normal.clean(spec.skeleton))
        except expr.Unparsable as error:
            return f"skeleton can't be read: {error}"
    if any(n != n or n in (float("inf"), float("-inf")) for n in spec.numbers):
        return "numbers must be finite"
    return None
