"""Specifies the kinds whose response is a program, and the limits that a problem may set for it."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from berry.sandboxes.base import Language
from berry.verifiers.specs.base import Spec, Strictness


class CodeSpec(Spec):
    """Base of the kinds that run a program: limits that the problem sets for it; None: the checker's.

    CPU in seconds, memory in MiB.
    """

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


class ProgramTestsSpec(CodeSpec):
    """Tests appended to the program (MultiPL-E). `prelude` goes before the response.

    Tests in Python that call one function are run by the split judge. The others share the candidate's process: their
    verdicts are `weak` and count only where the checker's `weak_verdicts` says so, or where `trusted` says that no
    response to this problem is hostile (benchmarks).
    """

    type: Literal["program_tests"] = "program_tests"
    language: Language
    tests: str = Field(min_length=1)
    prelude: str = ""
    trusted: bool = False


class ProgramOfThoughtSpec(CodeSpec):
    """The response is a Python program; its result (`solution()`, else `answer`, else the last printed line) is
    compared with `answer` as mathematics."""

    type: Literal["program_of_thought"] = "program_of_thought"
    answer: str = Field(min_length=1)
    strictness: Strictness = Strictness(tolerance=1e-9)
