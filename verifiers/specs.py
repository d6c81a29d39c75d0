"""The tagged union that says how one problem is checked: the same object in problem files, configs and code.

Every kind answers `precheck()`: None, or why no response could ever be checked against it (a gold that can't be
read, tests that are not code). The loader refuses such problems before a run rather than scoring them wrong.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from verifiers.sources import defined, python_fault
from verifiers.strictness import DEFAULT_PLACES, Place, Spec, Strictness

Language = Literal["python", "cpp", "javascript", "shell"]


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
        from verifiers.maths.ladder import gold_fault

        return gold_fault(self.answer)


class CodeSpec(Spec):
    """Limits that a problem may set for its own program; None: the checker's."""

    cpu_s: float | None = Field(default=None, gt=0, le=600)
    memory_mb: int | None = Field(default=None, ge=16, le=65536)


class Case(Spec):
    """One call of a function: arguments in, expected value out."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = Field(default_factory=dict)
    expected: Any


class PythonFunctionSpec(CodeSpec):
    """The response defines `entry_point`; `tests` (HumanEval's `check(candidate)` or bare asserts) or `cases` judge it.

    `prelude` is code put before the response (imports, helpers); the tests see it too. With `cases`, `tolerance`
    is the relative error allowed between floats, and JSON lists also match tuples (`sequences: "exact"` forbids it).
    """

    type: Literal["python_function"] = "python_function"
    entry_point: str = Field(min_length=1, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    tests: str | None = None
    cases: tuple[Case, ...] = ()
    prelude: str = ""
    tolerance: float = Field(default=0.0, ge=0, lt=1)
    sequences: Literal["json", "exact"] = "json"

    @model_validator(mode="after")
    def _has_a_check(self) -> Self:
        if bool(self.tests) == bool(self.cases):
            raise ValueError("needs exactly one of `tests` (code) or `cases` (list of args and expected)")
        return self

    def precheck(self) -> str | None:
        from verifiers.python_function import tests_fault

        return python_fault(self.prelude, "prelude") or tests_fault(self)


class StdioCase(Spec):
    """What goes to the program's standard input, and what it should print."""

    stdin: str = ""
    stdout: str


class StdioSpec(CodeSpec):
    """The response is a program. `compare`: "tokens" (split at white space), "lines" (trailing space dropped),
    "floats" (tokens; numbers within `tolerance`), or "checker": Python source defining
    `check(stdin, expected, output) -> bool`."""

    type: Literal["stdio"] = "stdio"
    language: Language = "python"
    cases: tuple[StdioCase, ...] = Field(min_length=1)
    compare: Literal["tokens", "lines", "floats", "checker"] = "tokens"
    tolerance: float = Field(default=1e-6, ge=0, lt=1)
    checker: str | None = None

    @model_validator(mode="after")
    def _checker_given(self) -> Self:
        if (self.compare == "checker") != (self.checker is not None):
            raise ValueError('`checker` (Python source) goes with compare: "checker", and only with it')
        return self

    def precheck(self) -> str | None:
        if self.checker is None:
            from verifiers.stdio import contradiction

            return contradiction(self)
        fault = python_fault(self.checker, "checker")
        if fault is None and "check" not in defined(self.checker):
            fault = "checker does not define check(stdin, expected, output)"
        return fault


class ProgramTestsSpec(CodeSpec):
    """Tests appended to the program (MultiPL-E). `prelude` goes before the response. They share the candidate's
    process, so the guarantee is weaker than a split judge's: verdicts carry `guarantee: same_process`."""

    type: Literal["program_tests"] = "program_tests"
    language: Language
    tests: str = Field(min_length=1)
    prelude: str = ""

    def precheck(self) -> str | None:
        from verifiers.program_tests import NoTests, program

        try:
            program(self, "", "")
        except NoTests as fault:
            return str(fault)
        return python_fault(self.tests, "tests") if self.language == "python" else None


class ProgramOfThoughtSpec(CodeSpec):
    """The response is a Python program; its result (`solution()`, else `answer`, else the last printed line) is
    compared with `answer` as mathematics."""

    type: Literal["program_of_thought"] = "program_of_thought"
    answer: str = Field(min_length=1)
    strictness: Strictness = Strictness(tolerance=1e-9)

    def precheck(self) -> str | None:
        from verifiers.maths.ladder import gold_fault

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
        from verifiers.expression import spec_fault

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
        from verifiers.formal import statement_fault

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
    and returns True, False, None (can't be checked), or a dict with `passed` and any evidence."""

    type: Literal["custom"] = "custom"
    function: str = Field(pattern=r"^[^:]+:[A-Za-z_]\w*$")
    options: dict[str, Any] = Field(default_factory=dict)


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
