"""Climbs the rungs in order, and says what each may conclude.

gold_fault(gold)              why a gold can't be checked against, or None
decide(gold, response, …)     a Decision; `same is None` means "ask the symbolic worker"
"""

from __future__ import annotations

import re
from functools import lru_cache

from msgspec import Struct

from berry.verifiers.base import Reason
from berry.verifiers.maths import bounds
from berry.verifiers.maths.answers import parameters, values
from berry.verifiers.maths.answers.relations import settled, shown
from berry.verifiers.maths.answers.shapes import AnswerValue, Many, Opaque, Relation, Scalar, Shape, Words
from berry.verifiers.maths.compare import Comparison, Same
from berry.verifiers.maths.expressions import evaluate, normal
from berry.verifiers.specs.base import DEFAULT, Strictness


class Equivalence(Struct, frozen=True):
    """Whether the answers are the same, by which rung, and the reason where they are not (or can't be told)."""

    same: Same
    rung: str
    reason: Reason = Reason.WRONG_ANSWER
    note: str | None = None


_EXACT = Equivalence(same=True, rung="exact", reason=Reason.CORRECT)
_DIFFERENT = Equivalence(same=False, rung="numeric", reason=Reason.WRONG_ANSWER)
_PLAIN_DIGITS = 18
_HEDGE = re.compile(
    r"\b(?:maybe|perhaps|probably|possibly|either|approximately|roughly|about|around|unsure|not sure|guess)\b", re.I
)
_LETTER = re.compile(r"\\text(?:bf)?\{\s*\(?([A-J])\)?\s*\}|\(([A-J])\)|([A-J])")
_LOWER_CHOICE = re.compile(r"\s*(?:\(|option|choice|[a-j][).]\s*$)", re.I)
_CHOICE = re.compile(r"\s*(?:(?:option|choice|answer)\s+)?\(?\s*([A-J])\s*(?:[).:]\s*(?P<rest>.*)|\s*)", re.I | re.S)


# A gold that names an option and what it says: `\textbf{(B)}\ \frac45`.
_LABELLED = re.compile(
    r"\$?(?:\\(?:text(?:bf)?|mathbf|mathrm)\s*\{\s*)?\(([A-J])\)(?:[}\s~]|\\[ ;,:]|\\q?quad(?![a-z]))+(\S.*)", re.DOTALL
)


@lru_cache(maxsize=8192)
def gold_fault(gold: str) -> str | None:
    """Why `gold` is not an answer that anything can equal; None when it is one."""
    if _is_integer(gold):
        return None
    fault = bounds.fault(normal.unbracketed(gold))
    if fault is not None:
        return f"answer is {fault}" if fault is bounds.TextFault.EMPTY else f"answer has {fault}"
    if re.search(r"[\w\\∅∞]", gold) is None and not gold.strip().startswith("{"):
        return "answer has no letter, digit or command"
    value = values.read(normal.unbracketed(gold))
    if isinstance(value, Opaque) and not value.text:
        return "answer is empty once cleaned"
    if (part := _half_written(value)) is not None:
        return f"answer can't be read at {part!r}"
    return None


def _is_integer(text: str) -> bool:
    """Written in the one way that leaves nothing to read: most answers there are."""
    return len(text) <= _PLAIN_DIGITS and text.isdigit() and text.isascii() and (text[0] != "0" or text == "0")


def _half_written(value: AnswerValue) -> str | None:
    """LaTeX with an argument or operand missing, anywhere in `value`."""
    if isinstance(value, Opaque):
        text = value.text
        if not text or re.search(
            r"\\(?:frac|sqrt|text|binom)\s*$|[-+*/^_=<>]$|^[*/^_=<>]|\\frac\s*(?:\{[^{}]*\}|\w)\s*$|\{\s*\}\s*$|\?\?",
            text,
        ):
            return text or "an empty part"
        return None
    parts = value.items if isinstance(value, Many) else getattr(value, "sides", ())
    return next((text for part in parts if (text := _half_written(part)) is not None), None)


def decide(gold: str, response: str, strict: Strictness = DEFAULT) -> Equivalence:
    """Compare a response's answer with a gold that has no `gold_fault`, by the rungs that need no sandbox."""
    gold, response = gold.strip(), response.strip()
    if _is_integer(gold) and _is_integer(response):
        return _EXACT if gold == response else _DIFFERENT
    if strict.decimal_mark == "comma":
        gold, response = normal.point_decimals(gold), normal.point_decimals(response)
    gold, response = normal.unbracketed(gold), normal.unbracketed(response)
    fault = bounds.fault(response, max_chars=min(bounds.MAX_CHARS, max(bounds.ANSWER_CHARS, 4 * len(gold))))
    letter = _choice(gold)
    if fault is not None and not (
        (letter or _LABELLED.fullmatch(gold)) and fault is bounds.TextFault.UNBALANCED
    ):  # "A) 42"
        reason = Reason.ANSWER_TOO_LARGE if fault.too_large else Reason.UNPARSABLE_ANSWER
        reason = Reason.NO_ANSWER if fault is bounds.TextFault.EMPTY else reason
        return Equivalence(same=False, rung="bounds", reason=reason, note=str(fault))
    if gold == response:
        return _EXACT
    if letter is not None:
        return _decide_choice(letter, response)
    if (labelled := _LABELLED.fullmatch(gold)) is not None:
        answer = _CHOICE.fullmatch(_without_fonts(response))
        if answer is not None and (answer[1].isupper() or len(response) > 1):
            return _decide_choice(labelled[1], response)
        gold = labelled[2]
        if fault is not None:
            return Equivalence(same=False, rung="bounds", reason=Reason.UNPARSABLE_ANSWER, note=str(fault))
    if len(gold) > 2:
        gold, response = parameters.unbraced(gold), parameters.unbraced(response)
        response = parameters.renamed(gold, response)
        of_family = parameters.family(gold)
        gold = of_family[0] if of_family is not None else gold
    a, b = values.read(gold), values.read(response)
    if (
        isinstance(a, Scalar)
        and isinstance(b, Scalar)
        and a.tree[0] == b.tree[0] == "n"
        and _plain(a)
        and _plain(b)
        and not (strict.tolerance or strict.rounded)
    ):
        same = a.tree[1] == b.tree[1]
        return Equivalence(same=same, rung="numeric", reason=Reason.CORRECT if same else Reason.WRONG_ANSWER)
    if normal.squeeze(normal.clean(gold)) == normal.squeeze(normal.clean(response)):
        return Equivalence(same=True, rung="normalised", reason=Reason.CORRECT)
    decision = structured(a, b, Comparison(strict))
    if decision.same is False and decision.reason is Reason.WRONG_ANSWER and _hedged(a, b, response):
        return Equivalence(same=False, rung="structured", reason=Reason.HEDGED)
    return decision


def is_list(text: str) -> bool:
    """Whether `text` gives several values: `1 and 2`, `\\{1, 2\\}`, `x = 1 \\text{ or } x = 2`."""
    value = values.read(normal.unbracketed(text))
    return isinstance(value, Many) and value.shape in (Shape.LIST, Shape.SET, Shape.EITHER)


def is_words(text: str) -> bool:
    """Whether `text` is an answer in words, without any number."""
    return isinstance(values.read(text), Words) and not any(char.isdigit() for char in text)


def last_side(text: str) -> str:
    """`text`, or the last side of an approximation that is no rounding: 143 of `142 \\approx 143`."""
    value = values.read(text) if "approx" in text or "≈" in text else None
    if isinstance(value, Relation) and len(sides := settled(value)) == 1 and not isinstance(sides[0], Relation):
        return shown(sides[0])
    return text


def structured(gold: AnswerValue, got: AnswerValue, comparison: Comparison) -> Equivalence:
    """The structured rung, with whatever leaf oracle `comparison` has."""
    try:
        same = comparison.same(gold, got)
    except evaluate.TooLarge as fault:
        return _too_large(gold, fault)
    except RecursionError:
        return Equivalence(same=False, rung="structured", reason=Reason.ANSWER_TOO_LARGE, note="nested too deeply")
    return Equivalence(same=same, rung="structured", reason=Reason.CORRECT if same else Reason.WRONG_ANSWER)


def _too_large(gold: AnswerValue, fault: ArithmeticError) -> Equivalence:
    """The response's fault, unless the gold alone is already too large to compute."""
    parts = gold.items if isinstance(gold, Many) else getattr(gold, "sides", (gold,))
    for part in parts:
        if isinstance(part, Scalar):
            try:
                evaluate.equal(part.tree, ("n", 0))
            except evaluate.TooLarge:
                note = f"the problem's answer: {fault}"
                return Equivalence(same=None, rung="bounds", reason=Reason.GOLD_UNPARSABLE, note=note)
    return Equivalence(same=False, rung="bounds", reason=Reason.ANSWER_TOO_LARGE, note=str(fault))


def _plain(value: Scalar) -> bool:
    return value.unit is None and not value.percent and value.base is None


def _choice(gold: str) -> str | None:
    match = _LETTER.fullmatch(gold.strip("$ ."))
    return next(filter(None, match.groups())) if match else None


def _without_fonts(text: str) -> str:
    return re.sub(r"\\(?:text(?:bf|rm|it)?|mathbf|mathrm|boxed|fbox)\s*\{([^{}]*)\}", r"\1", text).strip("$*_ \t")


def _decide_choice(letter: str, response: str) -> Equivalence:
    text = _without_fonts(response)
    if re.search(r"\b(?:or|and)\b|,", text) and len(set(re.findall(r"\b[A-J]\b", text))) > 1:
        return Equivalence(same=False, rung="structured", reason=Reason.HEDGED)
    match = _CHOICE.fullmatch(text)
    lower = match is not None and match[1].islower()
    if match is None or (lower and not _LOWER_CHOICE.match(text) and len(text) > 1):
        return Equivalence(same=False, rung="structured", reason=Reason.WRONG_ANSWER)
    same = match[1].upper() == letter
    return Equivalence(same=same, rung="structured", reason=Reason.CORRECT if same else Reason.WRONG_ANSWER)


def _hedged(gold: AnswerValue, got: AnswerValue, response: str) -> bool:
    if isinstance(got, Many) and got.shape is Shape.EITHER:
        return isinstance(gold, Scalar | Words) or (isinstance(gold, Relation) and gold.signs == ("=",))
    return isinstance(got, Words) and not isinstance(gold, Words) and _HEDGE.search(response) is not None
