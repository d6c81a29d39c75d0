"""Defines what an answer can be: a scalar, words, opaque LaTeX, several of these, or a relation between them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from berry.verifiers.maths.answers import units
from berry.verifiers.maths.expressions import expr

EVERYTHING = "\\mathbb{R}"


class Shape(StrEnum):
    """What holds several values together in an answer."""

    TUPLE = "tuple"  # ordered, brackets in `brackets`
    SET = "set"
    LIST = "list"  # bare commas
    BOTH = "both"  # inequalities joined by "and"
    EITHER = "either"  # "5 or 6"
    UNION = "union"
    DIFFERENCE = "difference"  # `\\mathbb{R} \\setminus \\{2\\}`
    INTERSECTION = "intersection"
    RATIO = "ratio"  # of three or more: `1:2:3`
    MATRIX = "matrix"  # of rows, each a LIST


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number or expression, with what was written around it. `base`: the digits' base; `text`: cleaned source."""

    tree: expr.Expr
    text: str
    percent: bool = False
    unit: units.Unit | None = None
    base: int | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """An answer that is words."""

    text: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """LaTeX that only the symbolic rung may understand."""

    text: str


@dataclass(frozen=True, slots=True)
class Many:
    """An answer of several values."""

    shape: Shape
    items: tuple[AnswerValue, ...]
    brackets: str = ""


@dataclass(frozen=True, slots=True)
class Relation:
    """`sides` joined by `signs`: "=", "<", "<=", ">", ">=", "!=", "in", "~" (about)."""

    sides: tuple[AnswerValue, ...]
    signs: tuple[str, ...]


AnswerValue = Scalar | Words | Opaque | Many | Relation
