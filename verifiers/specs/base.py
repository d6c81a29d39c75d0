"""What counts as the same answer, and where it is looked for: the parts that several kinds of spec share."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Spec(BaseModel):
    """Base of every verifier's configuration: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Strictness(Spec):
    """What counts as the same answer. `tests/verifiers/math_cases.jsonl` is the table of examples.

    percent    "value": 50% is 1/2. "sign": 50% is only 50%. "optional": 50% may also be written 50.
    units      "match": may be missing on either side; where both have one, the quantities must agree (1 m = 100 cm).
               "require": present in the response exactly when in the gold. "ignore": any unit will do.
    order      "free": bare lists (`1, 2`) and roots in any order; tuples always ordered. "kept": bare lists ordered.
    bases      "written": `1011_2` needs its subscript. "optional": the subscript may be left out.
    assignment "optional": `x = 5` may be given as 5. "require": written on both sides or on neither.
    unevaluated "allowed": 6 * 7 is 42. "refused": a numeric gold wants a number (fractions, mixed numbers and powers of
               ten are numbers), so that restating the question is no answer.
    tolerance  relative (and, near 0, absolute) error allowed between numbers; 0 is exact.
    """

    percent: Literal["value", "sign", "optional"] = "value"
    units: Literal["match", "require", "ignore"] = "match"
    order: Literal["free", "kept"] = "free"
    bases: Literal["written", "optional"] = "written"
    assignment: Literal["optional", "require"] = "optional"
    unevaluated: Literal["allowed", "refused"] = "allowed"
    tolerance: float = Field(default=0.0, ge=0, lt=1)


DEFAULT = Strictness()
STRICT = Strictness(percent="sign", units="require", order="kept", assignment="require", unevaluated="refused")
LENIENT = Strictness(percent="optional", units="ignore", bases="optional", tolerance=1e-3)

Place = Literal["boxed", "answer_is", "last_line", "tag", "whole"]
DEFAULT_PLACES: tuple[Place, ...] = ("tag", "boxed", "answer_is", "last_line")
