"""What a verdict is.

A verifier answers PASS, FAIL or UNVERIFIABLE. The last means "the check could not be made" and is never counted
as wrong: its reason says why, and the caller may try once more elsewhere (`Reason.retryable`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    UNVERIFIABLE = "unverifiable"


class Reason(StrEnum):
    """Why a verdict is what it is."""

    CORRECT = "correct"
    # FAIL: the response is at fault
    WRONG_ANSWER = "wrong_answer"
    NO_ANSWER = "no_answer"  # nothing could be extracted
    CONFLICTING_ANSWERS = "conflicting_answers"  # several final answers that disagree
    HEDGED = "hedged"  # "5 or 6"
    ANSWER_TOO_LARGE = "answer_too_large"  # over the pre-check's bounds
    UNPARSABLE_ANSWER = "unparsable_answer"
    NO_CODE = "no_code"  # no program where one was wanted
    MISSING_ENTRY_POINT = "missing_entry_point"
    RUNTIME_ERROR = "runtime_error"
    COMPILE_ERROR = "compile_error"
    CPU_LIMIT = "cpu_limit"
    WALL_LIMIT = "wall_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"
    VIOLATION = "violation"  # the program tried something the jail forbids
    UNSUPPORTED_VALUE = "unsupported_value"  # it returned something that is not plain data
    DISALLOWED = "disallowed"  # forbidden construct: `sorry`, a number or operator not given
    # UNVERIFIABLE: the check is at fault
    GOLD_UNPARSABLE = "gold_unparsable"
    TESTS_BROKEN = "tests_broken"  # the problem's own tests can't be run
    CHECK_TIMEOUT = "check_timeout"  # the judge, not the candidate, ran out of time
    SANDBOX_FAULT = "sandbox_fault"
    MISSING_TOOL = "missing_tool"
    NO_CONSENSUS = "no_consensus"
    NO_JUDGE = "no_judge"
    NOT_CHECKED = "not_checked"

    @property
    def retryable(self) -> bool:
        """Whether another host might be able to make the check."""
        return self in _RETRYABLE


_RETRYABLE = frozenset({Reason.CHECK_TIMEOUT, Reason.SANDBOX_FAULT, Reason.MISSING_TOOL})


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check of one response.

    `answer` is the extracted answer (text, truncated); `evidence` is plain data about what decided: the failing
    case with its input, expected and got values, truncated; `verify_ms` is wall time in milliseconds.
    """

    outcome: Outcome
    reason: Reason
    answer: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    verify_ms: float = 0.0

    @property
    def passed(self) -> bool:
        return self.outcome is Outcome.PASS
