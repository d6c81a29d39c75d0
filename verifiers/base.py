"""Defines verdicts: what a check of one response can say, and why.

A verifier answers PASS, FAIL or UNVERIFIABLE. The last means "the check could not be made" and is never counted
as wrong: its reason says why, and the caller may try once more elsewhere (`Reason.retryable`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

EVIDENCE_CHARS = 500


class ExtensionError(ValueError):
    """A verifier of another package that can't be used; the message names the package and says what to do."""


class Outcome(StrEnum):
    """What a check says: the response is right, is wrong, or could not be checked."""

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
    DISK_LIMIT = "disk_limit"
    PROCESS_LIMIT = "process_limit"
    VIOLATION = "violation"  # the program tried something the jail forbids
    UNSUPPORTED_VALUE = "unsupported_value"  # it returned something that is not plain data
    DISALLOWED = "disallowed"  # forbidden construct: `sorry`, a number or operator not given
    # UNVERIFIABLE: the check is at fault
    GOLD_UNPARSABLE = "gold_unparsable"
    TESTS_BROKEN = "tests_broken"  # the problem's own tests can't be run
    CHECK_TIMEOUT = "check_timeout"  # the judge, not the candidate, ran out of time
    SANDBOX_FAULT = "sandbox_fault"
    MISSING_TOOL = "missing_tool"
    OVERLOADED = "overloaded"  # no slot was free in time
    NO_CONSENSUS = "no_consensus"
    NO_JUDGE = "no_judge"
    NOT_CHECKED = "not_checked"
    WEAK_CHECK = "weak_check"  # it was checked, but in a way that the response can forge
    CHECK_ERROR = "check_error"  # the check itself raised: a defect of Berry's or of an added verifier's, logged

    @property
    def retryable(self) -> bool:
        """Whether another host might be able to make the check."""
        return self in _RETRYABLE

    @property
    def outcome(self) -> Outcome:
        """The one outcome that this reason can stand for."""
        return _OUTCOMES[self]


_RETRYABLE = frozenset({Reason.CHECK_TIMEOUT, Reason.SANDBOX_FAULT, Reason.MISSING_TOOL, Reason.OVERLOADED})
_UNVERIFIABLE = _RETRYABLE | {
    Reason.GOLD_UNPARSABLE,
    Reason.TESTS_BROKEN,
    Reason.NO_CONSENSUS,
    Reason.NO_JUDGE,
    Reason.NOT_CHECKED,
    Reason.WEAK_CHECK,
    Reason.CHECK_ERROR,
}

UNANSWERED = frozenset({Reason.NO_ANSWER, Reason.NO_CODE})
_OUTCOMES = {r: Outcome.UNVERIFIABLE if r in _UNVERIFIABLE else Outcome.FAIL for r in Reason}
_OUTCOMES[Reason.CORRECT] = _PASS = Outcome.PASS  # reached through its class it costs a call, in Python 3.11


class Verdict(Struct, frozen=True):
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
        """Whether the response is right; False also where it could not be checked."""
        return self.outcome is _PASS

    @property
    def unanswered(self) -> bool:
        """Whether the response gave no answer in the wanted form, which is not a wrong answer."""
        return self.reason in UNANSWERED


def verdict(reason: Reason, *, answer: str | None = None, **evidence: Any) -> Verdict:
    """A verdict whose outcome follows from its reason; long evidence is truncated, None values are left out."""
    kept = {key: truncate(value) for key, value in evidence.items() if value is not None}
    return Verdict(_OUTCOMES[reason], reason, truncate(answer), kept)


def truncate(value: Any, limit: int = EVIDENCE_CHARS) -> Any:
    """`value` as it may be stored: numbers, booleans and None as they are, text and the rest cut to `limit`
    characters with the number of characters left out."""
    if type(value) is str and len(value) <= limit and value.isascii():
        return value
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**63 else f"int of {value.bit_length()} bits"
    text = value if isinstance(value, str) else show(value)
    text = text.encode("utf-8", "replace").decode()
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… (+{len(text) - limit} characters)"


def show(value: Any) -> str:
    """`repr(value)`, or the type's name where a value has none: whole numbers of over 4,300 digits, at any depth."""
    try:
        return repr(value)
    except (ValueError, RecursionError, MemoryError):
        return f"a {type(value).__name__} that is too large to be written down"
