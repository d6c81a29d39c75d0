"""Intervals, inequalities in one name and unions of them, all as lists of intervals."""

from __future__ import annotations

from berry.verifiers.maths import expr
from berry.verifiers.maths.shapes import EVERYTHING, Many, Relation, Scalar, Shape, Value, Words

Span = tuple[Value, bool, Value, bool]  # low, closed, high, closed
_INFINITY = Scalar(("c", "inf"), "\\infty")
_MINUS_INFINITY = Scalar(expr.parse("-\\infty"), "-\\infty")
FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<=", "=": "=", "!=": "!="}


def spans(value: Value) -> list[Span] | None:
    """An interval, an inequality in one name, or a union of them, as intervals; None for anything else."""
    if isinstance(value, Words):
        return [(_MINUS_INFINITY, False, _INFINITY, False)] if value.text == EVERYTHING else None
    if isinstance(value, Many):
        if value.shape is Shape.TUPLE and len(value.items) == 2:
            low, high = value.items
            return [(low, value.brackets[0] == "[", high, value.brackets[1] == "]")]
        if value.shape in (Shape.UNION, Shape.EITHER):
            parts = [spans(item) for item in value.items]
            return [span for part in parts if part for span in part] if all(parts) else None
        return None
    return _inequality(value) if isinstance(value, Relation) else None


def _inequality(value: Relation) -> list[Span] | None:
    if value.signs == ("in",):
        return spans(value.sides[1])
    sides, signs = value.sides, value.signs
    if not set(signs) <= {"<", "<=", ">", ">="} and signs != ("!=",):
        return None
    if signs[0] in (">", ">="):
        sides, signs = sides[::-1], tuple(FLIP[s] for s in reversed(signs))
    names = [isinstance(s, Scalar) and s.tree[0] == "s" for s in sides]
    closed = [isinstance(s, Scalar) and not expr.symbols(s.tree) for s in sides]
    if len(sides) == 2 and signs == ("!=",) and names[0] and closed[1]:
        return [(_MINUS_INFINITY, False, sides[1], False), (sides[1], False, _INFINITY, False)]
    if len(sides) == 2 and names[0] and closed[1]:
        return [(_MINUS_INFINITY, False, sides[1], signs[0] == "<=")]
    if len(sides) == 2 and closed[0] and names[1]:
        return [(sides[0], signs[0] == "<=", _INFINITY, False)]
    if len(sides) == 3 and closed[0] and names[1] and closed[2] and set(signs) <= {"<", "<="}:
        return [(sides[0], signs[0] == "<=", sides[2], signs[1] == "<=")]
    return None
