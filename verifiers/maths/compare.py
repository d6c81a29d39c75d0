"""Structure against structure. True, False, or None where a leaf can't be decided by the oracle at hand.

The same comparison runs twice: with `evaluate.equal` as the leaf oracle in the caller, and, where that leaves
something open, with sympy's in the confined worker.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

from berry.verifiers.maths import evaluate, expr, nodes, normal, units
from berry.verifiers.maths.shapes import Many, Opaque, Relation, Scalar, Shape, Value, Words
from berry.verifiers.maths.spans import FLIP, Span, spans
from berry.verifiers.specs.base import DEFAULT, Strictness

Same = bool | None
Leaf = Callable[[expr.Expr, expr.Expr], Same]
Puzzle = Callable[[str, str], Same]  # two texts of which one can't be read here

_CALL = re.compile(r"[A-Za-z]'*\s*\([A-Za-z]\)")
_NAME = re.compile(r"\\?[A-Za-z]+(?:_\{?\w+\}?)?'*\s*(?:\([^()]*\))?'*")


def _open(_a: str, _b: str) -> Same:
    return None


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two values are compared. `leaf` decides two scalar trees, `puzzle` two texts."""

    strict: Strictness = DEFAULT
    leaf: Leaf = evaluate.equal
    puzzle: Puzzle = _open

    def same(self, gold: Value, got: Value) -> Same:
        """Whether `got` says what `gold` says."""
        if isinstance(got, Relation) and got.signs == ("~",):
            return self._about(gold, got)
        ranges = spans(gold), spans(got)
        if ranges[0] is not None and ranges[1] is not None:
            return self._matching(ranges[0], ranges[1], self._same_span)
        if isinstance(gold, Relation) or isinstance(got, Relation):
            return self._relations(gold, got)
        if isinstance(gold, Many) or isinstance(got, Many):
            return self._many(gold, got)
        if isinstance(gold, Scalar) and isinstance(got, Scalar):
            return self._scalars(gold, got)
        return self._texts(gold, got)

    # ---- texts and scalars ------------------------------------------------------------------------------------------

    def _texts(self, gold: Value, got: Value) -> Same:
        left, right = _text(gold), _text(got)
        if normal.squeeze(left) == normal.squeeze(right):
            return True
        if isinstance(gold, Words) or isinstance(got, Words):
            return isinstance(gold, Words) and isinstance(got, Words) and _bare(left) == _bare(right)
        return self.puzzle(left, right)

    def _scalars(self, gold: Scalar, got: Scalar) -> Same:
        strict = self.strict
        if gold.base != got.base:
            based, other = (gold, got) if gold.base is not None else (got, gold)
            if strict.bases == "written" or other.base is not None:
                return based.base == 10 and other.base is None and self.leaf(gold.tree, got.tree)
            return re.split(r"[_\s(]", based.text, maxsplit=1)[0].upper() == other.text.strip().upper()
        if gold.percent != got.percent:
            if strict.percent == "sign":
                return False
            if strict.percent == "optional" and (same := self._trees(gold.tree, got.tree)) is not False:
                return same
            return self._trees(_percent(gold), _percent(got))
        gold, got = _as_quantity(gold, got), _as_quantity(got, gold)
        if strict.unevaluated == "refused" and nodes.is_written(gold.tree) and not nodes.is_written(got.tree):
            return False
        factor = Fraction(1)
        if strict.units != "ignore" and gold.unit is not None and got.unit is not None:
            agreed = units.ratio(got.unit, gold.unit)
            if agreed is None:
                return False
            factor = agreed
        if strict.units == "require" and (gold.unit is None) != (got.unit is None):
            return False
        return self._trees(gold.tree, got.tree if factor == 1 else ("*", (("n", factor), got.tree)))

    def _trees(self, gold: expr.Expr, got: expr.Expr) -> Same:
        if self.strict.tolerance:
            a, b = evaluate.number(gold), evaluate.number(got)
            if a is not None and b is not None:
                return abs(a - b) <= self.strict.tolerance * (abs(a) or 1.0)
        return self.leaf(gold, got)

    # ---- collections ------------------------------------------------------------------------------------------------

    def _many(self, gold: Value, got: Value) -> Same:
        if not (isinstance(gold, Many) and isinstance(got, Many)):
            if isinstance(gold, Opaque) or isinstance(got, Opaque):
                return self._texts(gold, got)
            return False
        loose = (Shape.LIST, Shape.EITHER, Shape.SET)
        if gold.shape in loose and got.shape in loose:
            ordered = self.strict.order == "kept" and gold.shape is got.shape is Shape.LIST
            if ordered:
                return self._in_order(gold.items, got.items)
            a, b = gold.items, got.items
            if Shape.SET in (gold.shape, got.shape):
                a, b = tuple(dict.fromkeys(a)), tuple(dict.fromkeys(b))
            return self._matching(a, b, self.same)
        if gold.shape is Shape.TUPLE and got.shape is Shape.LIST:
            named = _in_name_order(got) if self.strict.assignment == "optional" else None
            return self._in_order(gold.items, named) if named else False
        if gold.shape is not got.shape:
            return False
        if gold.shape is Shape.TUPLE and len(gold.items) == 2 and gold.brackets != got.brackets:
            return False
        if gold.shape is Shape.UNION:
            return self._matching(gold.items, got.items, self.same)
        return self._in_order(gold.items, got.items)

    def _in_order(self, gold: Sequence[Value], got: Sequence[Value]) -> Same:
        if len(gold) != len(got):
            return False
        return _all([self.same(a, b) for a, b in zip(gold, got, strict=True)])

    def _matching(self, gold: Sequence[Any], got: Sequence[Any], same: Callable[[Any, Any], Same]) -> Same:
        """Each item has its own equal. Equality is an equivalence, so the first equal one will do."""
        if len(gold) != len(got):
            return False
        left, doubt = list(got), False
        for item in gold:
            answers = [same(item, other) for other in left]
            if True in answers:
                left.pop(answers.index(True))
            elif None in answers:
                doubt = True
            else:
                return False
        return None if doubt else True

    def _same_span(self, gold: Span, got: Span) -> Same:
        if gold[1] != got[1] or gold[3] != got[3]:
            return False
        return _all([self.same(gold[0], got[0]), self.same(gold[2], got[2])])

    # ---- relations --------------------------------------------------------------------------------------------------

    def _about(self, gold: Value, got: Relation) -> Same:
        """`\\sqrt2 \\approx 1.41`: either side may be the answer, if they agree to one per cent."""
        a, b = got.sides[0], got.sides[-1]
        if not (isinstance(a, Scalar) and isinstance(b, Scalar)):
            return False
        if expr.symbols(a.tree):
            return self.same(gold, Relation(got.sides, ("=",)))
        x, y = evaluate.number(a.tree), evaluate.number(b.tree)
        if x is None or y is None or abs(x - y) > 0.01 * max(abs(x), abs(y)):
            return False
        answers = [self.same(gold, a), self.same(gold, b)]
        return True if True in answers else None if None in answers else False

    def _relations(self, gold: Value, got: Value) -> Same:
        given, named = _assigned(gold), _assigned(got)
        if given is not None and named is not None:
            if given[0] != named[0]:
                return self._equations(gold, got)
            return self._chain_end(got) and self.same(given[1], named[1])
        if self.strict.assignment == "optional":
            if given is not None and not isinstance(got, Relation):
                return self.same(given[1], got)
            if named is not None and not isinstance(gold, Relation):
                return _all([self._chain_end(got), self.same(gold, named[1])])
        if isinstance(gold, Relation) and isinstance(got, Relation):
            return self._equations(gold, got)
        if isinstance(gold, Opaque) or isinstance(got, Opaque):
            return self._texts(gold, got) or (False if isinstance(got, Relation) else None)
        return False

    def _chain_end(self, got: Value) -> Same:
        """In `x = 2 + 3 = 5` and `2 + 3 = 5` the sides without names must be equal; `8 = 7` is false."""
        if not isinstance(got, Relation):
            return True
        closed = [s for s in got.sides if isinstance(s, Scalar) and not expr.symbols(s.tree)]
        return _all([self.leaf(_percent(a), _percent(b)) for a, b in pairwise(closed)])

    def _equations(self, gold: Value, got: Value) -> Same:
        """`a = b` against `c = d`: a - b and c - d are proportional. Inequalities: by a positive factor."""
        if not (isinstance(gold, Relation) and isinstance(got, Relation)):
            return False
        if len(gold.signs) != 1 or len(got.signs) != 1:
            same_signs = gold.signs == got.signs
            return same_signs and _all([self.same(a, b) for a, b in zip(gold.sides, got.sides, strict=True)])
        f, g = _difference(gold), _difference(got)
        if f is None or g is None:
            return self._texts(gold, got)
        if expr.symbols(f) != expr.symbols(g) or not expr.symbols(f):
            return False
        if _assigned(gold) is not None and len(expr.symbols(f)) == 1:
            return False  # the gold is solved, this is not
        negative = expr.parse("-1")
        signs = gold.signs[0], got.signs[0]
        for swap in (False, True):
            if signs[0] != (FLIP.get(signs[1]) if swap else signs[1]):
                continue
            candidate = ("*", (negative, g)) if swap else g
            factor = _factor(f, candidate)
            if factor is None or (factor < 0 and signs[0] not in ("=", "!=")):
                continue
            if (same := self.leaf(f, ("*", (("n", factor), candidate)))) is not False:
                return same
        return False


# ---- helpers --------------------------------------------------------------------------------------------------------


def _all(answers: Sequence[Same]) -> Same:
    return False if False in answers else None if None in answers else True


def _text(value: Value) -> str:
    if isinstance(value, Scalar | Words | Opaque):
        return value.text
    if isinstance(value, Many):
        return ", ".join(_text(item) for item in value.items)
    parts = [_text(value.sides[0])]
    for sign, side in zip(value.signs, value.sides[1:], strict=True):
        parts += [sign, _text(side)]
    return " ".join(parts)


def _bare(text: str) -> str:
    return " ".join(map(units.singular, re.sub(r"^(?:the|an?)\s+", "", text.casefold()).split()))


def _as_quantity(value: Scalar, other: Scalar) -> Scalar:
    """`5 m` read as five metres where the other side has a unit: alone it could be five times m."""
    if other.unit is None or value.unit is not None or value.tree[0] != "*" or value.tree[1][-1][0] != "s":
        return value
    *rest, last = value.tree[1]
    unit = units.read(last[1])
    if unit is None or unit.kind is None or other.unit.kind is None or expr.symbols(("*", tuple(rest))):
        return value
    return replace(value, tree=rest[0] if len(rest) == 1 else ("*", tuple(rest)), unit=unit)


def _percent(value: Scalar) -> expr.Expr:
    return ("/", value.tree, ("n", Fraction(100))) if value.percent else value.tree


def _assigned(value: Value) -> tuple[str, Value] | None:
    """(name, value) of `x = 5`, `f(2) = 5`, `a + b = 5`, `x \\in S`, and of a chain; "" names a computation."""
    if not isinstance(value, Relation) or not set(value.signs) <= {"=", "in"}:
        return None
    name, last = value.sides[0], value.sides[-1]
    if isinstance(name, Scalar):
        free = expr.symbols(name.tree)
        if not free:
            return "", last
        if isinstance(last, Scalar) and free & expr.symbols(last.tree) and not _CALL.fullmatch(name.text):
            return None
        if name.tree[0] != "s" and len(free) < 2 and not _NAME.fullmatch(name.text):
            return None
        return normal.squeeze(name.text), last
    return (normal.squeeze(_text(name)), last) if isinstance(name, Words | Opaque) else None


def _in_name_order(got: Many) -> list[Value] | None:
    """The values of `x = 1, y = 2`, when the names are different and in order."""
    pairs = [_assigned(item) for item in got.items]
    names = [pair[0] for pair in pairs if pair is not None]
    if len(names) < len(pairs) or names != sorted(set(names)):
        return None
    return [pair[1] for pair in pairs if pair is not None]


def _difference(relation: Relation) -> expr.Expr | None:
    a, b = relation.sides
    if not (isinstance(a, Scalar) and isinstance(b, Scalar)):
        return None
    return ("+", (a.tree, ("*", (("n", Fraction(-1)), b.tree))))


def _factor(f: expr.Expr, g: expr.Expr) -> Fraction | None:
    """f / g at one point: the only factor by which they can be proportional."""
    env = evaluate.point(expr.symbols(f), 0)
    try:
        below = evaluate.exact(g, env)
        return evaluate.exact(f, env) / below if below else None
    except ArithmeticError:
        return Fraction(1)
