"""The tagged union that says how one problem is checked: the same object in problem files, configs and code.

Every kind answers `precheck()`: None, or why no response could ever be checked against it (a gold that can't be
read, tests that are not code). The loader refuses such problems before a run rather than scoring them wrong.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from berry.verifiers.specs.base import DEFAULT_PLACES, Place, Spec, Strictness
from berry.verifiers.specs.code import CodeSpec, ProgramOfThoughtSpec, ProgramTestsSpec, PythonFunctionSpec, StdioSpec


class MathSpec(Spec):
    """The answer equals `answer`, as mathematics. `extract` names where the answer is looked for, in order."""

    type: Literal["math"] = "math"
    answer: str = Field(min_length=1)
    extract: tuple[Place, ...] = Field(default=DEFAULT_PLACES, min_length=1)
    strictness: Strictness = Strictness()

    @field_validator("answer", mode="before")
    @classmethod
    def _number_as_text(cls, answer: Any) -> Any:
        return str(answer) if isinstance(answer, int | float) and not isinstance(answer, bool) else answer

    def precheck(self) -> str | None:
        from berry.verifiers.maths.ladder import gold_fault

        return gold_fault(self.answer)


class ExpressionSpec(Spec):
    """The answer is an expression over exactly `numbers` (each once) and `operators`, equal to `target`.

    `skeleton` fixes everything but brackets: with `skeleton: "1 + 2 * 3"` the answer must be that line with
    `brackets` pairs of brackets added (None: any number). `numbers` may then be left out.
    """

    type: Literal["expression"] = "expression"
    target: float | int | str
    numbers: tuple[int | float, ...] = ()
    operators: tuple[Literal["+", "-", "*", "/", "^"], ...] = ("+", "-", "*", "/")
    skeleton: str | None = None
    brackets: int | None = Field(default=None, ge=0)
    keep_order: bool = False
    extract: tuple[Place, ...] = DEFAULT_PLACES

    @model_validator(mode="after")
    def _has_numbers(self) -> Self:
        if bool(self.numbers) == (self.skeleton is not None):
            raise ValueError("needs exactly one of `numbers` or `skeleton`")
        return self

    def precheck(self) -> str | None:
        from berry.verifiers.kinds.expression import spec_fault

        return spec_fault(self)


class ReasoningGymSpec(Spec):
    """Scored by the package's own scorer for `dataset`; `entry` is the generated item (question, answer, metadata).
    PASS at `threshold` or more; the score is in the evidence."""

    type: Literal["reasoning_gym"] = "reasoning_gym"
    dataset: str = Field(min_length=1)
    entry: dict[str, Any]
    threshold: float = Field(default=1.0, gt=0, le=1)
    extract: tuple[Place, ...] = ("tag", "boxed", "answer_is", "whole")

    def precheck(self) -> str | None:
        if self.dataset == "composite":
            return "reasoning-gym's composite has no scorer of its own: name the dataset that the entry came from"
        missing = [key for key in ("question", "answer", "metadata") if key not in self.entry]
        return f"entry lacks {', '.join(missing)}" if missing else None


class FormalSpec(CodeSpec):
    """A proof of `statement`, checked by the proof assistant itself. `header` (imports, definitions) is the
    problem's; the response gives the proof alone, or repeats the statement. Axioms beyond `axioms` are refused."""

    type: Literal["formal"] = "formal"
    system: Literal["lean", "coq"]
    statement: str = Field(min_length=1)
    header: str = ""
    axioms: tuple[str, ...] | None = None

    def precheck(self) -> str | None:
        from berry.verifiers.kinds.formal import statement_fault

        return statement_fault(self)


class MajoritySpec(Spec):
    """No gold: self-consistency over all of a problem's trajectories (Wang et al. 2022). The heaviest class of equal
    answers is the pseudo-label when its share of the weight is at least `threshold`."""

    type: Literal["majority"] = "majority"
    threshold: float = Field(default=0.5, gt=0, le=1)
    min_answers: int = Field(default=3, ge=1)
    extract: tuple[Place, ...] = Field(default=DEFAULT_PLACES, min_length=1)
    strictness: Strictness = Strictness()


class ModelSpec(Spec):
    """A generative judge with a `rubric`, asked `votes` times; PASS or FAIL when at least `agreement` of the votes
    say so, else UNVERIFIABLE. `reference`, if given, is shown to the judge."""

    type: Literal["model"] = "model"
    rubric: str = Field(min_length=1)
    reference: str | None = None
    votes: int = Field(default=3, ge=1, le=64)
    agreement: float = Field(default=0.6, gt=0.5, le=1)


class AllOfSpec(Spec):
    """PASS when every part passes; FAIL when any fails; else UNVERIFIABLE."""

    type: Literal["all_of"] = "all_of"
    parts: tuple[VerifierSpec, ...] = Field(min_length=1)

    def precheck(self) -> str | None:
        return _first_fault(self.parts)


class AnyOfSpec(Spec):
    """PASS when any part passes; FAIL when all fail; else UNVERIFIABLE."""

    type: Literal["any_of"] = "any_of"
    parts: tuple[VerifierSpec, ...] = Field(min_length=1)

    def precheck(self) -> str | None:
        return _first_fault(self.parts)


class Weighted(Spec):
    weight: float = Field(gt=0)
    verifier: VerifierSpec


class WeightedSpec(Spec):
    """PASS when the passing parts' share of the weight is at least `threshold`. UNVERIFIABLE when the parts that
    could not be checked could change that."""

    type: Literal["weighted"] = "weighted"
    parts: tuple[Weighted, ...] = Field(min_length=1)
    threshold: float = Field(default=0.5, gt=0, le=1)

    def precheck(self) -> str | None:
        return _first_fault(tuple(part.verifier for part in self.parts))


class CustomSpec(Spec):
    """`function` ("package.module:name" or "file.py:name") is called in the jail as `f(response, prompt, **options)`
    and returns True, False, None (can't be checked), or a dict with `passed` and any evidence.

    A file is looked for from the working directory. `source` is its text: filled in where a problem leaves for
    another machine (`berry.verifiers.specs.shipping`), or given in the problem, and then the file need not exist.
    """

    type: Literal["custom"] = "custom"
    function: str = Field(pattern=r"^[^:]+:[A-Za-z_]\w*$")
    options: dict[str, Any] = Field(default_factory=dict)
    source: str | None = None

    @property
    def file(self) -> Path | None:
        """The file to read; None for a module, or where its text is here already."""
        module = self.function.rpartition(":")[0]
        return Path(module) if module.endswith(".py") and self.source is None else None

    def read(self) -> str | None:
        """The file's text; None where there is none to read."""
        try:
            return None if self.file is None else self.file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return None

    def precheck(self) -> str | None:
        if self.file is None or self.file.is_file():
            return None
        return f"function {self.function!r}: there is no file {str(self.file.absolute())!r}"


VerifierSpec = Annotated[
    MathSpec
    | PythonFunctionSpec
    | StdioSpec
    | ProgramTestsSpec
    | ProgramOfThoughtSpec
    | ExpressionSpec
    | ReasoningGymSpec
    | FormalSpec
    | MajoritySpec
    | ModelSpec
    | AllOfSpec
    | AnyOfSpec
    | WeightedSpec
    | CustomSpec,
    Field(discriminator="type"),
]

for _model in (AllOfSpec, AnyOfSpec, Weighted, WeightedSpec):
    _model.model_rebuild()


def _first_fault(parts: tuple[Any, ...]) -> str | None:
    for number, part in enumerate(parts):
        if fault := part.precheck():
            return f"parts[{number}]: {fault}"
    return None
