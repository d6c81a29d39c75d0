"""Defines the specification of every kind of verifier, and the union of them that problem files and configs hold.

A specification says how one problem is checked and does nothing itself; `registry` finds the functions for its kind.
The union is told apart by `type`, and also accepts the kinds that other packages add (`specs.extensions`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, GetCoreSchemaHandler, SerializationInfo, field_validator, model_validator
from pydantic_core import CoreSchema, PydanticKnownError, SchemaValidator, core_schema

from berry.verifiers.specs import extensions
from berry.verifiers.specs.answers import ChoiceSpec, ConstraintsSpec, JsonSchemaSpec, JudgedSpec, RubricSpec, SqlSpec
from berry.verifiers.specs.base import DEFAULT_PLACES, Place, Spec, Strictness
from berry.verifiers.specs.code import CodeSpec, ProgramOfThoughtSpec, ProgramTestsSpec, PythonFunctionSpec, StdioSpec


class MathSpec(Spec):
    """The answer equals `answer`, as mathematics. `extract` names where the answer is looked for, in order;
    `strictness` what counts as equal, a preset's name or single settings (None: the checker's `strictness`)."""

    type: Literal["math"] = "math"
    answer: str = Field(min_length=1)
    extract: tuple[Place, ...] = Field(default=DEFAULT_PLACES, min_length=1)
    strictness: Strictness | None = None

    @field_validator("answer", mode="before")
    @classmethod
    def _number_as_text(cls, answer: Any) -> Any:
        return str(answer) if isinstance(answer, int | float) and not isinstance(answer, bool) else answer


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


class ReasoningGymSpec(Spec):
    """Scored by the package's own scorer for `dataset`; `entry` is the generated item (question, answer, metadata).
    PASS at `threshold` or more; the score is in the evidence."""

    type: Literal["reasoning_gym"] = "reasoning_gym"
    dataset: str = Field(min_length=1)
    entry: dict[str, Any]
    threshold: float = Field(default=1.0, gt=0, le=1)
    extract: tuple[Place, ...] = ("tag", "boxed", "answer_is", "whole")


class FormalSpec(CodeSpec):
    """A proof of `statement`, checked by the proof assistant itself. `header` (imports, definitions) is the
    problem's; the response gives the proof alone, or repeats the statement. Axioms beyond `axioms` are refused.
    In Coq they are full names (`Coq.Logic.Classical_Prop.classic`), or what the statement's own imports make of
    short ones."""

    type: Literal["formal"] = "formal"
    system: Literal["lean", "coq"]
    statement: str = Field(min_length=1)
    header: str = ""
    axioms: tuple[str, ...] | None = None


class MajoritySpec(Spec):
    """No gold: self-consistency over all of a problem's trajectories (Wang et al. 2022). The heaviest class of equal
    answers is the pseudo-label when its share of the weight is at least `threshold`, of at least `min_answers` answers
    from `min_chains` independent chains (those of a tree that share a beginning are one), and ahead of the next class
    with `confidence`; 0: any lead is enough. `extract` and `strictness`: as in MathSpec."""

    type: Literal["majority"] = "majority"
    threshold: float = Field(default=0.5, gt=0, le=1)
    min_answers: int = Field(default=3, ge=1)
    min_chains: int = Field(default=3, ge=1)
    confidence: float = Field(default=0.95, ge=0, lt=1)
    extract: tuple[Place, ...] = Field(default=DEFAULT_PLACES, min_length=1)
    strictness: Strictness | None = None


class ModelSpec(JudgedSpec):
    """A generative judge with a `rubric`, asked `votes` times; PASS or FAIL when at least `agreement` of the votes
    say so, else UNVERIFIABLE. `reference`, if given, is shown to the judge; `judge` names which."""

    type: Literal["model"] = "model"
    rubric: str = Field(min_length=1)
    reference: str | None = None
    votes: int = Field(default=3, ge=1, le=64)
    agreement: float = Field(default=0.6, gt=0.5, le=1)


class AllOfSpec(Spec):
    """PASS when every part passes; FAIL when any fails; else UNVERIFIABLE."""

    type: Literal["all_of"] = "all_of"
    parts: tuple[VerifierSpec, ...] = Field(min_length=1)


class AnyOfSpec(Spec):
    """PASS when any part passes; FAIL when all fail; else UNVERIFIABLE."""

    type: Literal["any_of"] = "any_of"
    parts: tuple[VerifierSpec, ...] = Field(min_length=1)


class Weighted(Spec):
    """One part of a weighted combination."""

    weight: float = Field(gt=0)
    verifier: VerifierSpec


class WeightedSpec(Spec):
    """PASS when the passing parts' share of the weight is at least `threshold`. UNVERIFIABLE when the parts that
    could not be checked could change that."""

    type: Literal["weighted"] = "weighted"
    parts: tuple[Weighted, ...] = Field(min_length=1)
    threshold: float = Field(default=0.5, gt=0, le=1)


class EnvironmentSpec(Spec):
    """The run's environment says how an episode ended (`rollout.environment`)."""

    type: Literal["environment"] = "environment"


class CustomSpec(Spec):
    """`function` ("package.module:name" or "file.py:name") is called in the jail as `f(response, prompt, **options)`
    and returns True, False, None (can't be checked), or a dict with `passed` and any evidence.

    A file is looked for from the working directory. `source` is its text: filled in where a problem leaves for
    another machine (`berry.verifiers.specs.shipping`), or given in the problem, and then the file need not exist.

    `example` is a response, right or wrong, that the function can answer for. Where it raises over another one, that
    one is wrong; without an example a function that wants JSON, say, can't be told from a broken one.
    """

    type: Literal["custom"] = "custom"
    function: str = Field(pattern=r"^[^:]+:[A-Za-z_]\w*$")
    options: dict[str, Any] = Field(default_factory=dict)
    source: str | None = None
    example: str | None = None

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


@dataclass(frozen=True, slots=True)
class OpenUnion:
    """Lets a tagged union of pydantic accept the registered kinds of other packages besides its own members."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        own = handler(source)
        return core_schema.no_info_wrap_validator_function(
            self.validate,
            own,
            serialization=core_schema.wrap_serializer_function_ser_schema(self.serialize, info_arg=True, schema=own),
        )

    def validate(self, value: Any, handler: Callable[[Any], Any]) -> Any:
        """The specification in `value`; a kind that nobody has is refused with the list of those that are there."""
        kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
        if not isinstance(kind, str) or kind in OWN_KINDS:
            return handler(value)
        added = extensions.find(kind)
        if added is None:
            there = ", ".join(repr(name) for name in (*OWN_KINDS, *extensions.names()))
            context = {"discriminator": "'type'", "tag": kind, "expected_tags": there}
            raise PydanticKnownError("union_tag_invalid", context)
        return value if isinstance(value, added.spec) else _validator(kind, added.spec).validate_python(value)

    def serialize(self, value: Any, handler: Callable[[Any], Any], info: SerializationInfo) -> Any:
        """Turns a specification into plain values: as pydantic does, those of other packages by their own class."""
        if not isinstance(value, Spec) or getattr(value, "type", None) in OWN_KINDS:
            return handler(value)
        return value.model_dump(
            mode=info.mode,
            exclude_unset=info.exclude_unset,
            exclude_defaults=info.exclude_defaults,
            exclude_none=info.exclude_none,
        )

    def models(self) -> tuple[type[Spec], ...]:
        """Classes of the added kinds met so far, for messages that list their fields."""
        return extensions.models()


@lru_cache
def _validator(kind: str, spec: type[Spec]) -> SchemaValidator:
    """Parses one added kind; errors are located at `kind` and the field, as those of the union's own members are."""
    choice = core_schema.no_info_plain_validator_function(spec.model_validate)
    return SchemaValidator(core_schema.tagged_union_schema({kind: choice}, discriminator="type"))


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
    | ConstraintsSpec
    | ChoiceSpec
    | JsonSchemaSpec
    | RubricSpec
    | SqlSpec
    | EnvironmentSpec
    | CustomSpec,
    Field(discriminator="type"),
    OpenUnion(),
]

OWN_KINDS = tuple(member.model_fields["type"].default for member in get_args(get_args(VerifierSpec)[0]))
extensions.reserve(*OWN_KINDS)

for _model in (AllOfSpec, AnyOfSpec, Weighted, WeightedSpec):
    _model.model_rebuild()


def components(spec: Spec) -> tuple[Spec, ...]:
    """The verifiers that a combination is made of; none for any other kind."""
    if isinstance(spec, AllOfSpec | AnyOfSpec):
        return spec.parts
    return tuple(part.verifier for part in spec.parts) if isinstance(spec, WeightedSpec) else ()
