"""The tagged union that says how one problem is checked: the same object in problem files, configs and code."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Spec(BaseModel):
    """Base of every verifier's configuration: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MathSpec(Spec):
    """The answer equals `answer`, as mathematics."""

    type: Literal["math"] = "math"
    answer: str = Field(min_length=1)


class Case(Spec):
    """One call of a function: arguments in, expected value out."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = Field(default_factory=dict)
    expected: Any


class PythonFunctionSpec(Spec):
    """The response defines `entry_point`; `tests` (HumanEval's `check(candidate)` or bare asserts) or `cases` judge it.
    `prelude` is code put before the response (imports, helpers)."""

    type: Literal["python_function"] = "python_function"
    entry_point: str = Field(min_length=1)
    tests: str | None = None
    cases: tuple[Case, ...] = ()
    prelude: str = ""

    @model_validator(mode="after")
    def _has_a_check(self) -> PythonFunctionSpec:
        if bool(self.tests) == bool(self.cases):
            raise ValueError("needs exactly one of `tests` (code) or `cases` (list of args and expected)")
        return self


VerifierSpec = Annotated[MathSpec | PythonFunctionSpec, Field(discriminator="type")]
