r"""Reads sets of real numbers, written as intervals, inequalities in one name, or unions, differences and
intersections of them.

    region(-2 \le x \le 7) == Region("x", ((-2, closed, 7, closed),)) == region(x \in [-2, 7])

Where all ends have numeric values the spans of a region are sorted and those that touch are joined, so that two ways of
writing one set become one.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from berry.verifiers.maths.answers.relations import is_call
from berry.verifiers.maths.answers.shapes import EVERYTHING, AnswerValue, Many, Relation, Scalar, Shape, Words
from berry.verifiers.maths.expressions import evaluate, expr, normal

FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}


class End(NamedTuple):
    """An end of an interval, which belongs to it where it is `closed`."""

    value: AnswerValue
    closed: bool


class Span(NamedTuple):
    """An interval."""

    low: End
    high: End


@dataclass(frozen=True, slots=True)
class Region:
    """A set of real numbers. `name`: what lies in it, squeezed text; "" where nothing is named."""

    name: str
    spans: tuple[Span, ...]
    plain_name: bool = True  # `x` or `f(x)`, not `2x`


def _open(value: AnswerValue) -> End:
    return End(value=value, closed=False)


def _closed(value: AnswerValue) -> End:
    return End(value=value, closed=True)


def _point(value: AnswerValue) -> Span:
    return Span(_closed(value), _closed(value))


_TOP = _open(Scalar(("c", "inf"), "\\infty"))
_BOTTOM = _open(Scalar(expr.parse("-\\infty"), "-\\infty"))
_EVERYTHING = Region("", (Span(_BOTTOM, _TOP),))


def region(value: AnswerValue) -> Region | None:
    """The set that an interval, an inequality or a combination of them is; None for anything else."""
    combined = _region(value)
    if combined is None or len(combined.spans) < 2:
        return combined
    joined = _joined(combined.spans)
    return Region(combined.name, joined, combined.plain_name) if joined is not None else combined


def _region(value: AnswerValue) -> Region | None:
    if isinstance(value, Words):
        return _EVERYTHING if value.text == EVERYTHING else None
    if isinstance(value, Relation):
        return _inequality(value)
    if not isinstance(value, Many):
        return None
    if value.shape is Shape.TUPLE and len(value.items) == 2:
        low, high = value.items
        return Region("", (Span(End(low, value.brackets[0] == "["), End(high, value.brackets[1] == "]")),))
    points = any(isinstance(item, Many) and item.brackets == "()" for item in value.items)
    if value.shape is Shape.UNION or (value.shape is Shape.EITHER and not points):
        parts = [_points(item) or _region(item) for item in value.items]
        return _united([part for part in parts if part is not None]) if all(parts) else None
    if value.shape is Shape.SET and not value.items:
        return Region("", ())
    if value.shape is Shape.BOTH:
        return _both([_region(item) for item in value.items], listed=False)
    if value.shape is Shape.LIST and all(isinstance(item, Relation) and item.signs != ("=",) for item in value.items):
        return _both([_region(item) for item in value.items])
    if value.shape is Shape.INTERSECTION:
        return _both([_region(item) for item in value.items], listed=False)
    if value.shape is Shape.DIFFERENCE and len(value.items) == 2:
        whole, removed = _region(value.items[0]), _points(value.items[1]) or _region(value.items[1])
        return _both([whole, _complement(removed)]) if whole is not None and removed is not None else None
    return None


def _points(value: AnswerValue) -> Region | None:
    """A finite set as spans of one point each."""
    if isinstance(value, Many) and value.shape is Shape.SET:
        numbers = bool(value.items) and all(_number(item) is not None for item in value.items)
        return Region("", tuple(_point(item) for item in value.items)) if numbers else None
    if isinstance(value, Relation) and value.signs == ("=",) and _number(value.sides[1]) is not None:
        name = value.sides[0]
        if isinstance(name, Scalar) and name.tree[0] == "s":
            return Region(normal.squeeze(name.text), (_point(value.sides[1]),))
    return None


def _inequality(value: Relation) -> Region | None:
    sides, signs = value.sides, value.signs
    if signs == ("in",):
        inner = _region(sides[1])
        name = sides[0]
        if inner is None or not isinstance(name, Scalar):
            return inner
        return Region(normal.squeeze(name.text), inner.spans, _is_plain(name))
    if not set(signs) <= {"<", "<=", ">", ">="} and signs != ("!=",):
        return None
    if signs[0] in (">", ">="):
        sides, signs = sides[::-1], tuple(FLIP[s] for s in reversed(signs))
    named = [isinstance(s, Scalar) and bool(expr.symbols(s.tree)) for s in sides]
    closed = [isinstance(s, Scalar) and not expr.symbols(s.tree) for s in sides]
    ends = [End(side, sign == "<=") for side, sign in zip((sides[0], sides[-1]), (signs[0], signs[-1]), strict=True)]
    if len(sides) == 2 and signs == ("!=",) and named[0] and closed[1]:
        return _about(sides[0], (Span(_BOTTOM, _open(sides[1])), Span(_open(sides[1]), _TOP)))
    if len(sides) == 2 and named[0] and closed[1]:
        if (size := _magnitude(sides[0], sides[1])) is not None:
            inner, low, high = size
            return _about(inner, (Span(End(low, ends[1].closed), End(high, ends[1].closed)),))
        return _about(sides[0], (Span(_BOTTOM, ends[1]),))
    if len(sides) == 2 and closed[0] and named[1]:
        if (size := _magnitude(sides[1], sides[0])) is not None:
            inner, low, high = size
            return _about(inner, (Span(_BOTTOM, End(low, ends[0].closed)), Span(End(high, ends[0].closed), _TOP)))
        return _about(sides[1], (Span(ends[0], _TOP),))
    if len(sides) == 3 and closed[0] and named[1] and closed[2] and set(signs) <= {"<", "<="}:
        return _about(sides[1], (Span(ends[0], ends[1]),))
    return None


def _is_plain(name: Scalar) -> bool:
    return name.tree[0] == "s" or is_call(name.text)


def _magnitude(value: AnswerValue, bound: AnswerValue) -> tuple[Scalar, Scalar, Scalar] | None:
    """x, and the two values of x at which |ax + b| (`value`) equals a positive number `bound`, lower one first."""
    size = _number(bound)
    if not isinstance(bound, Scalar) or size is None or not 0 < size < float("inf"):
        return None
    if not isinstance(value, Scalar) or value.tree[0] != "f" or value.tree[1] != "abs":
        return None
    inner = value.tree[2][0]
    line = _line(inner)
    if line is None:
        return None
    name, slope, start = line
    low, high = (_at(-start / slope, sign / abs(slope), bound.tree) for sign in (-1, 1))
    return Scalar(("s", name), name), Scalar(low, ""), Scalar(high, "")


def _at(centre: Fraction, share: Fraction, size: expr.Expr) -> expr.Expr:
    """centre + share * size."""
    try:
        return ("n", centre + share * evaluate.exact(size))
    except ArithmeticError:
        reach = size if share == 1 else ("*", (("n", share), size))
        return ("+", (("n", centre), reach)) if centre else reach


def _line(tree: expr.Expr) -> tuple[str, Fraction, Fraction] | None:
    """(x, a, b) of an expression that is ax + b with numbers a, not 0, and b."""
    names = expr.symbols(tree)
    if len(names) != 1:
        return None
    (name,) = names
    try:
        at = [evaluate.exact(tree, {name: Fraction(x)}) for x in (0, 1, 2, -5)]
    except ArithmeticError:
        return None
    slope = at[1] - at[0]
    straight = slope and at[2] == at[0] + 2 * slope and at[3] == at[0] - 5 * slope
    return (name, slope, at[0]) if straight else None


def _about(subject: AnswerValue, spans: tuple[Span, ...]) -> Region | None:
    if not isinstance(subject, Scalar):
        return None
    return Region(normal.squeeze(subject.text), spans, _is_plain(subject))


# ---- combining ------------------------------------------------------------------------------------------------------


def _one_name(parts: list[Region]) -> tuple[str, bool] | None:
    names = {part.name for part in parts if part.name}
    if len(names) > 1:
        return None
    return (names.pop(), all(part.plain_name for part in parts)) if names else ("", True)


def _united(parts: list[Region]) -> Region | None:
    name = _one_name(parts)
    return None if name is None else Region(name[0], tuple(span for part in parts for span in part.spans), name[1])


def _both(parts: list[Region | None], *, listed: bool = True) -> Region | None:
    """What lies in all of `parts`; where nothing does, all of a list together, as `x < 1, x > 3` means."""
    regions = [part for part in parts if part is not None]
    name = _one_name(regions)
    if len(regions) < len(parts) or name is None:
        return None
    common: list[Span] = list(regions[0].spans)
    for other in regions[1:]:
        crossed = [_crossed(a, b) for a in common for b in other.spans]
        if any(span is None for span in crossed):
            return None
        common = [span for span in crossed if span]
    return Region(name[0], tuple(common), name[1]) if common or not listed else _united(regions)


def _crossed(a: Span, b: Span) -> Span | tuple[()] | None:
    """The part that both share, () where there is none, None where the ends have no order."""
    lows, highs = (_number(a.low.value), _number(b.low.value)), (_number(a.high.value), _number(b.high.value))
    if lows[0] is None or lows[1] is None or highs[0] is None or highs[1] is None:
        return None
    low = a.low if lows[0] > lows[1] or (lows[0] == lows[1] and not a.low.closed) else b.low
    high = a.high if highs[0] < highs[1] or (highs[0] == highs[1] and not a.high.closed) else b.high
    bottom, top = max(lows[0], lows[1]), min(highs[0], highs[1])
    if bottom > top or (bottom == top and not (low.closed and high.closed)):
        return ()
    return Span(low, high)


def _complement(part: Region) -> Region | None:
    spans = _joined(part.spans)
    if spans is None:
        return None
    left: list[Span] = []
    low = _BOTTOM
    for span in spans:
        if _number(span.low.value) != float("-inf"):
            left.append(Span(low, End(span.low.value, not span.low.closed)))
        low = End(span.high.value, not span.high.closed)
    if _number(low.value) != float("inf"):
        left.append(Span(low, _TOP))
    return Region(part.name, tuple(left))


def _joined(spans: tuple[Span, ...]) -> tuple[Span, ...] | None:
    """`spans` in order, those that overlap or touch as one; None where an end has no numeric value."""
    keyed: list[tuple[float, float, Span]] = []
    for span in spans:
        low, high = _number(span.low.value), _number(span.high.value)
        if low is None or high is None:
            return None
        keyed.append((low, high, span))
    keyed.sort(key=lambda item: (item[0], not item[2].low.closed, item[1]))
    joined: list[tuple[float, float, Span]] = []
    for low, high, span in keyed:
        if joined:
            last_low, last_high, last = joined[-1]
            if low < last_high or (low == last_high and (last.high.closed or span.low.closed)):
                if high > last_high or (high == last_high and span.high.closed):
                    joined[-1] = (last_low, high, Span(last.low, span.high))
                continue
        joined.append((low, high, span))
    return tuple(span for _, _, span in joined)


def _number(value: AnswerValue) -> float | None:
    if not isinstance(value, Scalar) or value.percent or expr.symbols(value.tree):
        return None
    if value.tree == ("c", "inf"):
        return float("inf")
    if value.tree == ("*", (("n", Fraction(-1)), ("c", "inf"))):
        return float("-inf")
    return evaluate.number(value.tree)
