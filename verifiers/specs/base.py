"""Specifies what counts as the same answer, and where it is looked for: the parts that several kinds of spec share."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Spec(BaseModel):
    """Base of every verifier's configuration: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Strictness(Spec):
    """What counts as the same answer: single settings, or the name of a preset, `"strict"` or `"lenient"`.

    The settings' defaults are the preset `strict`. docs/verifiers.md shows both presets on examples;
    `tests/verifiers/math_cases.jsonl` is the whole table.
    """

    percent: Literal["value", "sign", "optional"] = "value"
    """"value": 50% is 1/2. "sign": 50% is only 50%. "optional": 50% may also be written 50."""
    units: Literal["match", "require", "ignore"] = "match"
    """"match": may be missing on either side; where both have one, the quantities must agree (1 m = 100 cm).
    "require": present in the response exactly when in the gold. "ignore": any unit will do."""
    order: Literal["free", "kept"] = "free"
    """"free": bare lists (`1, 2`) and roots in any order; tuples always ordered. "kept": bare lists ordered."""
    bases: Literal["written", "optional"] = "written"
    """"written": `1011_2` needs its subscript. "optional": the subscript may be left out."""
    assignment: Literal["optional", "require"] = "optional"
    """"optional": `x = 5` may be given as 5. "require": written on both sides or on neither."""
    brackets: Literal["written", "optional"] = "written"
    """"written": a gold `(1, 2)` wants its brackets. "optional": `1, 2` in that order, or a column, will do."""
    unevaluated: Literal["allowed", "refused"] = "refused"
    """"refused": a gold that is a number wants a number (fractions, mixed numbers and powers of ten are numbers), and
    no gold is equal to a sum, integral, product, limit or determinant left standing, so that the question given back is
    no answer. "allowed": 6 * 7 is 42."""
    boxes: Literal["agree", "last"] = "agree"
    """"agree": several boxes must all be right. "last": only the last one is looked at."""
    decimal_mark: Literal["point", "comma"] = "point"
    """"point": 1,234.5 is a number. "comma": so is 1.234,5 and 3,5 is three and a half."""
    rounded: int = Field(default=0, ge=0, le=30)
    """Significant digits from which on a decimal may stand for the number it is rounded from; 0: never."""
    tolerance: float = Field(default=0.0, ge=0, lt=1)
    """Relative (and, near 0, absolute) error allowed where the gold is no integer; 0 is exact."""

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value not in PRESETS:
            names = ", ".join(f'"{name}"' for name in PRESETS)
            raise ValueError(f"there is no preset {value!r}: write {names}, or single settings")
        return PRESETS[value].model_dump()


STRICT = Strictness()
LENIENT = Strictness(
    percent="optional",
    units="ignore",
    bases="optional",
    brackets="optional",
    unevaluated="allowed",
    boxes="last",
    rounded=3,
    tolerance=1e-4,
)
PRESETS = {"strict": STRICT, "lenient": LENIENT}
DEFAULT = STRICT

Place = Literal["boxed", "answer_is", "last_line", "tag", "whole"]
DEFAULT_PLACES: tuple[Place, ...] = ("tag", "boxed", "answer_is", "last_line")
