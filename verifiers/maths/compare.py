"""Compares structure with structure: True, False, or None where a leaf can't be decided by the oracle at hand.

The same comparison runs twice: with `evaluate.equal` as the leaf oracle in the caller, and, where that leaves
something open, with sympy's in the confined worker.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

from berry.verifiers.maths.answers import relations, units
from berry.verifiers.maths.answers.relations import assigned, named, shown
from berry.verifiers.maths.answers.shapes import AnswerValue, Many, Opaque, Relation, Scalar, Shape, Words
from berry.verifiers.maths.answers.spans import FLIP, Region, Span, region
from berry.verifiers.maths.expressions import evaluate, expr, nodes, normal
from berry.verifiers.specs.base import DEFAULT, Strictness

Same = bool | None
LeafOracle = Callable[[expr.Expr, expr.Expr], Same]
Puzzle = Callable[[str, str], Same]  # two texts of which one can't be read here

_LOOSE = (Shape.LIST, Shape.EITHER, Shape.SET, Shape.BOTH)
_NOTHING = Many(Shape.SET, ())
# An operation left standing: its value is what was asked for.
_OPERATION = re.compile(
    r"\\(?:sum|prod|coprod|i{1,3}nt|oint|lim|limsup|liminf|det|sup|inf|max|min|bigcup|bigcap)(?![A-Za-z])"
    r"|\\begin\{vmatrix\}|\\frac\s*\{\s*\\?(?:mathrm\{)?d\}?\s*\}\s*\{\s*\\?(?:mathrm\{)?d"
)


def _open(_a: str, _b: str) -> Same:
    return None


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two values are compared. `leaf` decides two scalar trees, `puzzle` two texts."""

    strict: Strictness = DEFAULT
    leaf: LeafOracle = evaluate.equal
    puzzle: Puzzle = _open

    def same(self, gold: AnswerValue, got: AnswerValue) -> Same:
        """Whether `got` says what `gold` says."""
        golds, gots = relations.settled(gold), relations.settled(got)
        if len(golds) != 1 or len(gots) != 1:
            return _any([self.same(a, b) for a in golds for b in gots])
        gold, got = golds[0], gots[0]
        regions = region(gold), region(got)
        if regions[0] is not None and not (regions[0].spans or gold == _NOTHING):
            regions = None, None  # a gold that nothing fulfils means something else
        if regions[0] is not None and regions[1] is not None and _comparable(regions[0], regions[1]):
            return self._regions(regions[0], regions[1])
        values = named(gold), named(got)
        if values[0] is not None or values[1] is not None:
            return self._named(gold, got, values)
        if isinstance(gold, Relation) or isinstance(got, Relation):
            return self._relations(gold, got)
        if isinstance(gold, Many) or isinstance(got, Many):
            return self._many(gold, got)
        if isinstance(gold, Scalar) and isinstance(got, Scalar):
            return self._scalars(gold, got)
        return self._texts(gold, got)

    # ---- texts and scalars ------------------------------------------------------------------------------------------

    def _texts(self, gold: AnswerValue, got: AnswerValue) -> Same:
        left, right = shown(gold), shown(got)
        if not right.strip():
            return False
        if normal.squeeze(left) == normal.squeeze(right):
            return True
        if isinstance(gold, Words) or isinstance(got, Words):
            return isinstance(gold, Words) and isinstance(got, Words) and _bare(left) == _bare(right)
        if self.strict.unevaluated == "refused":
            if isinstance(gold, Scalar) and isinstance(got, Opaque) and nodes.is_written(gold.tree):
                return False  # a number is written in ways that are read here
            if _OPERATION.search(right) and not _OPERATION.search(left):
                return False
        return self.puzzle(left, right)

    def _scalars(self, gold: Scalar, got: Scalar) -> Same:
        strict = self.strict
        if gold.base != got.base:
            based, other = (gold, got) if gold.base is not None else (got, gold)
            if strict.bases == "written" or other.base is not None:
                return based.base == 10 and other.base is None and self.leaf(gold.tree, got.tree)
            return re.split(r"[_\s(]", based.text, maxsplit=1)[0].upper() == other.text.strip().upper()
        if gold.percent != got.percent:
            if strict.percent == "sign" or gold.unit is not None or got.unit is not None:
                return False
            if strict.percent == "optional" and (same := self._numbers(gold, got)) is not False:
                return same
            gold, got = _fraction(gold), _fraction(got)
            return self._numbers(gold, got)
        gold, got = _as_quantity(gold, got), _as_quantity(got, gold)
        if strict.unevaluated == "refused" and _left_standing(gold.tree, got.tree):
            with suppress(evaluate.NotExact, evaluate.Undefined):
                evaluate.exact(got.tree)  # raises TooLarge, which says more than "wrong"
            return False
        if strict.units == "require" and (gold.unit is None) != (got.unit is None):
            return False
        if gold.unit is None or got.unit is None:
            return self._numbers(gold, got)
        if strict.units == "ignore" and (same := self._numbers(gold, got)) is not False:
            return same
        factor = units.ratio(got.unit, gold.unit)
        if factor is None:
            return False
        return self._numbers(gold, got if factor == 1 else replace(got, tree=("*", (("n", factor), got.tree)), text=""))

    def _numbers(self, gold: Scalar, got: Scalar) -> Same:
        """Equal, or near enough where the strictness allows it; an integer is only equal to itself."""
        same = self.leaf(gold.tree, got.tree)
        if same or not (self.strict.tolerance or self.strict.rounded) or _is_integer(gold.tree):
            return same
        a, b = evaluate.number(gold.tree), evaluate.number(got.tree)
        if a is None or b is None:
            return same
        if abs(a - b) <= self.strict.tolerance * (abs(a) or 1.0):
            return True
        return True if self._is_rounded(got, a - b) or self._is_rounded(gold, a - b) else same

    def _is_rounded(self, value: Scalar, difference: float) -> bool:
        """Whether `value` is a decimal of enough digits that another number, `difference` away, rounds to."""
        places = relations.decimal_places(value.text) if value.tree[0] == "n" else None
        if not self.strict.rounded or not places or relations.significant_digits(value.text) < self.strict.rounded:
            return False
        scale = 100 if value.percent and not value.text.endswith("%") else 1
        return abs(difference) <= 0.5 * 10.0**-places * (1 + 1e-9) / scale

    # ---- collections ------------------------------------------------------------------------------------------------

    def _many(self, gold: AnswerValue, got: AnswerValue) -> Same:
        if not (isinstance(gold, Many) and isinstance(got, Many)):
            return self._one_and_many(gold, got)
        for many, other in ((gold, got), (got, gold)):
            if many.shape is Shape.SET and len(many.items) == 1 and other.shape not in _LOOSE:
                return self.same(many.items[0], other) if many is gold else self.same(other, many.items[0])
        if gold.shape in _LOOSE and got.shape in _LOOSE:
            if Shape.SET not in (gold.shape, got.shape) and (self.strict.order == "kept" or _is_ranking(gold)):
                return self._in_order(gold.items, got.items)
            a, b = gold.items, got.items
            if Shape.SET in (gold.shape, got.shape):
                a, b = tuple(dict.fromkeys(a)), tuple(dict.fromkeys(b))
            return self._matching(a, b, self.same)
        pair = {gold.shape, got.shape}
        if pair == {Shape.TUPLE, Shape.LIST}:
            enclosed = gold if gold.shape is Shape.TUPLE else got
            clear = got is enclosed and len(got.items) > 2  # of two it could be an interval
            if enclosed.brackets == "()" and (clear or self.strict.brackets == "optional"):
                return self._in_order(gold.items, got.items)
            return False
        if pair == {Shape.TUPLE, Shape.MATRIX} and self.strict.brackets == "optional":
            return self._in_order(_line(gold), _line(got))
        if gold.shape is not got.shape:
            return False
        if gold.shape is Shape.TUPLE and len(gold.items) == 2 and gold.brackets != got.brackets:
            return False
        if gold.shape in (Shape.UNION, Shape.INTERSECTION):
            return self._matching(gold.items, got.items, self.same)
        if gold.shape is Shape.RATIO:
            return self._ratios(gold.items, got.items)
        if gold.shape is Shape.MATRIX:
            return self._matrices(gold, got)
        return self._in_order(gold.items, got.items)

    def _one_and_many(self, gold: AnswerValue, got: AnswerValue) -> Same:
        """A set of one element is that element, and `1/2 or 0.5` is one value; nothing else of several parts is."""
        if isinstance(got, Many) and got.shape is Shape.EITHER and isinstance(gold, Scalar):
            return all(self.same(gold, item) is True for item in got.items)
        for many, one in ((gold, got), (got, gold)):
            if isinstance(many, Many) and many.shape is Shape.SET and len(many.items) == 1:
                if isinstance(many.items[0], Many) and isinstance(one, Relation) and one.signs != ("=",):
                    return False  # the point (1, 2) is no interval
                return self.same(many.items[0], one) if many is gold else self.same(one, many.items[0])
        if isinstance(gold, Opaque) or isinstance(got, Opaque):
            return self._texts(gold, got)
        return False

    def _in_order(self, gold: Sequence[AnswerValue], got: Sequence[AnswerValue]) -> Same:
        if len(gold) != len(got):
            return False
        return _all([self.same(a, b) for a, b in zip(gold, got, strict=True)])

    def _matching(self, gold: Sequence[Any], got: Sequence[Any], same: Callable[[Any, Any], Same]) -> Same:
        """Whether each item has its own equal. Equality is an equivalence, so the first equal one will do."""
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

    def _matrices(self, gold: Many, got: Many) -> Same:
        """Row by row and entry by entry: a matrix is no list of lists in any order."""
        rows = [[row.items for row in side.items if isinstance(row, Many)] for side in (gold, got)]
        if len(rows[0]) != len(rows[1]):
            return False
        return _all([self._in_order(a, b) for a, b in zip(*rows, strict=True)])

    def _ratios(self, gold: Sequence[AnswerValue], got: Sequence[AnswerValue]) -> Same:
        if len(gold) != len(got):
            return False
        a, b = ([item.tree for item in side if isinstance(item, Scalar)] for side in (gold, got))
        return _all([self.leaf(("*", (x, b[0])), ("*", (y, a[0]))) for x, y in zip(a[1:], b[1:], strict=True)])

    def _regions(self, gold: Region, got: Region) -> Same:
        if gold.name and got.name and gold.name != got.name:
            return False
        return self._matching(gold.spans, got.spans, self._same_span)

    def _same_span(self, gold: Span, got: Span) -> Same:
        if gold.low.closed != got.low.closed or gold.high.closed != got.high.closed:
            return False
        return _all([self.same(gold.low.value, got.low.value), self.same(gold.high.value, got.high.value)])

    # ---- relations --------------------------------------------------------------------------------------------------

    def _named(
        self,
        gold: AnswerValue,
        got: AnswerValue,
        values: tuple[dict[str, AnswerValue] | None, dict[str, AnswerValue] | None],
    ) -> Same:
        """Values of several names: by name where both have names, else in order."""
        a, b = values
        if a is not None and b is not None:
            return set(a) == set(b) and _all([self.same(value, b[name]) for name, value in a.items()])
        if self.strict.assignment == "require":
            return False
        other, values_of = (got, a) if a is not None else (gold, b)
        if values_of is None or not isinstance(other, Many):
            return False
        if other.shape is Shape.TUPLE and other.brackets == "()":
            orders = [list(values_of.values()) if a is not None else relations.in_tuple_order(values_of)]
        elif other.shape in _LOOSE and relations.is_numbered(values_of):
            left, right = (
                (list(values_of.values()), other.items) if a is not None else (other.items, values_of.values())
            )
            return self._matching(left, list(right), self.same)
        elif other.shape is Shape.LIST:
            orders = [list(values_of.values()), relations.in_tuple_order(values_of)][: 1 if a is not None else 2]
        else:
            return False
        pairs = [(order, other.items) if a is not None else (other.items, order) for order in orders]
        return _any([self._in_order(left, right) for left, right in pairs])

    def _relations(self, gold: AnswerValue, got: AnswerValue) -> Same:
        given, answered = assigned(gold, as_answer=False), assigned(got, as_answer=True)
        if given is not None and answered is not None and given[0] == answered[0]:
            return self._chain_end(got) and self.same(given[1], answered[1])
        if isinstance(gold, Relation) and isinstance(got, Relation):
            return self._equations(gold, got)
        if isinstance(gold, Relation) and (result := relations.computed(gold)) is not None:
            return _all([self._chain_end(gold), self.same(result, got)])
        if self.strict.assignment == "optional":
            if given is not None and not isinstance(got, Relation):
                return self.same(given[1], got)
            if answered is not None and not isinstance(gold, Relation):
                stated = got.sides if isinstance(got, Relation) and not answered[0] else (answered[1],)
                return _all([self._chain_end(got), _any([self.same(gold, side) for side in stated])])
        if isinstance(gold, Many) and isinstance(got, Relation):
            return self._one_and_many(gold, got)
        if isinstance(gold, Opaque) or isinstance(got, Opaque):
            return self._texts(gold, got) or (False if isinstance(got, Relation) else None)
        return False

    def _chain_end(self, got: AnswerValue) -> Same:
        """Whether the sides without names in `x = 2 + 3 = 5` and `2 + 3 = 5` are equal; `8 = 7` is false."""
        if not isinstance(got, Relation):
            return True
        closed = [s for s in got.sides if isinstance(s, Scalar) and not expr.symbols(s.tree)]
        return _all([self.leaf(_fraction(a).tree, _fraction(b).tree) for a, b in pairwise(closed)])

    def _equations(self, gold: Relation, got: Relation) -> Same:
        """`a = b` against `c = d`: a - b and c - d are proportional. Inequalities: by a positive factor."""
        if len(gold.signs) != 1 or len(got.signs) != 1:
            return self._chains(gold, got)
        f, g = relations.difference(gold), relations.difference(got)
        if f is None or g is None:
            if gold.signs == got.signs:
                return self._in_order(gold.sides, got.sides) or self._texts(gold, got)
            return self._texts(gold, got)
        if expr.symbols(f) != expr.symbols(g) or not expr.symbols(f):
            return False
        if assigned(gold, as_answer=False) is not None and len(expr.symbols(f)) == 1:
            return False  # the gold is solved, this is not
        negative = expr.parse("-1")
        signs = gold.signs[0], got.signs[0]
        for swap in (False, True):
            if signs[0] != (FLIP.get(signs[1]) if swap else signs[1]):
                continue
            candidate = ("*", (negative, g)) if swap else g
            factor = relations.factor(f, candidate)
            if factor is None or (factor < 0 and signs[0] not in ("=", "!=")):
                continue
            if (same := self.leaf(f, ("*", (("n", factor), candidate)))) is not False:
                return same
        return self._solved(f, got) if signs == ("=", "=") else False

    def _solved(self, gold: expr.Expr, got: Relation) -> Same:
        """Whether `got` is the equation `gold` = 0 solved for a name, `y = 6/x` of `xy = 6`: gold = ay + b with b a
        number other than 0, so that nothing solves it where a is 0."""
        name, value = got.sides
        if not (isinstance(name, Scalar) and isinstance(value, Scalar)) or name.tree[0] != "s":
            return False
        if name.tree[1] in expr.symbols(value.tree):
            return False
        at_0, at_1, at_2 = (nodes.put(gold, name.tree[1], ("n", Fraction(n))) for n in range(3))
        try:
            b = ("n", evaluate.exact(at_0, evaluate.point(expr.symbols(gold), 0)))
        except ArithmeticError:
            return False
        slope = ("+", (at_1, nodes.negative(b)))
        linear = self.leaf(at_2, ("+", (slope, slope, b)))
        solution = ("/", nodes.negative(b), slope)
        return bool(b[1]) and _all([self.leaf(at_0, b), linear, self.leaf(value.tree, solution)])

    def _chains(self, gold: Relation, got: Relation) -> Same:
        """`a < b < c` side by side, whichever way each is written."""
        sides, signs = got.sides, got.signs
        if gold.signs != signs:
            sides, signs = sides[::-1], tuple(FLIP.get(sign, "") for sign in reversed(signs))
        return gold.signs == signs and self._in_order(gold.sides, sides)


# ---- helpers --------------------------------------------------------------------------------------------------------


def _all(answers: Sequence[Same]) -> Same:
    return False if False in answers else None if None in answers else True


def _any(answers: Sequence[Same]) -> Same:
    return True if True in answers else None if None in answers else False


def _comparable(gold: Region, got: Region) -> bool:
    """Whether both say where the same thing lies: not `2x > 6` or `|m| > 1`, which state it for another expression."""
    return gold.name == got.name or (gold.plain_name and got.plain_name)


def _left_standing(gold: expr.Expr, got: expr.Expr) -> bool:
    """Whether `got` is a computation where the gold is its result: `6 * 7` for 42, `\\sin 60^\\circ` for sqrt(3)/2."""
    if nodes.is_written(gold):
        return not nodes.is_written(got)
    if expr.symbols(gold) or nodes.functions(gold) - _FORMS:
        return False
    return bool(nodes.functions(got) - _FORMS)


_FORMS = frozenset({"sqrt", "root", "exp", "abs", "deg"})  # functions that results are written with


def _is_ranking(value: Many) -> bool:
    """Whether the order of a bare list carries meaning: it goes on, or lists three labels out of alphabetical order."""
    texts = [item.text.strip() for item in value.items if isinstance(item, Scalar | Words | Opaque)]
    if any(text in ("\\ldots", "\\cdots", "...") for text in texts):
        return True
    labels = len(texts) == len(value.items) >= 3 and all(len(text) == 1 and text.isalpha() for text in texts)
    return labels and texts != sorted(texts)


def _line(value: Many) -> tuple[AnswerValue, ...]:
    """The entries of a tuple, or of a matrix of one row or column."""
    if value.shape is Shape.TUPLE:
        return value.items
    rows = [row.items for row in value.items if isinstance(row, Many)]
    if len(rows) == 1:
        return rows[0]
    return tuple(row[0] for row in rows) if all(len(row) == 1 for row in rows) else ()


def _bare(text: str) -> str:
    return " ".join(map(units.singular, re.sub(r"^(?:the|an?)\s+", "", text.casefold()).split()))


def _as_quantity(value: Scalar, other: Scalar) -> Scalar:
    """`5 m` read as five metres where the other side is a quantity, or a number and the letter stands apart."""
    if value.unit is not None or value.tree[0] != "*":
        return value
    last = value.tree[1][-1]
    power = ""
    if last[0] == "^" and last[2] in (("n", Fraction(2)), ("n", Fraction(3))):
        power, last = f"^{last[2][1]}", last[1]
    if last[0] != "s":
        return value
    if other.unit is None and (expr.symbols(other.tree) or not _APART.search(value.text)):
        return value
    rest = value.tree[1][:-1]
    unit = units.read(last[1] + power)
    if unit is None or unit.kind is None or (other.unit is not None and other.unit.kind is None):
        return value
    if expr.symbols(("*", tuple(rest))):
        return value
    return replace(value, tree=rest[0] if len(rest) == 1 else ("*", tuple(rest)), unit=unit)


_APART = re.compile(r"\d\s+[A-Za-z](?:\s*\^\s*\{?\s*[23]\s*\}?)?$")


def _fraction(value: Scalar) -> Scalar:
    """A percentage as the fraction it is."""
    if not value.percent:
        return value
    if value.tree[0] == "n":
        return replace(value, tree=("n", value.tree[1] / 100))
    return replace(value, tree=("/", value.tree, ("n", Fraction(100))))


def _is_integer(tree: expr.Expr) -> bool:
    try:
        return evaluate.exact(tree).denominator == 1
    except ArithmeticError:
        return False
