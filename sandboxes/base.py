"""Defines a sandbox's records: what goes in (Job), what comes out (JobResult), and what stopped it (JobOutcome).

Everything here is frozen plain data and imports the standard library alone. An `ok` outcome says that the
program ran to its end and, for calls, returned plain data. It never says that the program is right: that is
for whoever holds the expected values, outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal, get_args

Language = Literal[
    "python", "cpp", "javascript", "typescript", "java", "go", "rust", "csharp", "php", "ruby", "r", "shell"
]
LANGUAGES: tuple[Language, ...] = get_args(Language)
Profile = str | tuple[str, ...]

MIB = 1 << 20


class SandboxError(Exception):
    """Raised where a sandbox can't start or was used wrongly; the text says what is missing and what to do."""


class SlotDied(Exception):
    """Raised where a slot or template ended or fell silent: the sandbox's fault, tried again elsewhere."""


class JobOutcome(StrEnum):
    """How a program, a case or a judge ended."""

    OK = "ok"  # ran to its end and returned plain data; NOT "correct"
    CPU_LIMIT = "cpu_limit"
    WALL_LIMIT = "wall_limit"
    MEMORY_LIMIT = "memory_limit"
    OUTPUT_LIMIT = "output_limit"  # stdout, stderr or returned values were too long
    DISK_LIMIT = "disk_limit"
    PROCESS_LIMIT = "process_limit"  # too many processes or threads
    RUNTIME_ERROR = "runtime_error"  # an exception, a signal, an exit before the end, a non-zero exit status
    COMPILE_ERROR = "compile_error"  # the source does not compile (C++) or parse (the others)
    VIOLATION = "violation"  # it tried something the jail forbids, or broke the protocol
    UNSUPPORTED_VALUE = "unsupported_value"  # it returned something that is not plain data
    MISSING_ENTRY_POINT = "missing_entry_point"
    NOT_RUN = "not_run"  # an earlier case ended the child
    # the program is not at fault
    MISSING_TOOL = "missing_tool"  # no compiler or interpreter on this host
    OVERLOADED = "overloaded"  # the queue was full or the deadline passed before a slot was free
    FAULT = "fault"  # the sandbox itself failed, retries included

    @property
    def blames_program(self) -> bool:
        """False where the check could not be made: never count such a result as wrong."""
        return self not in _NOT_THE_PROGRAM


_NOT_THE_PROGRAM = frozenset(
    {JobOutcome.OK, JobOutcome.MISSING_TOOL, JobOutcome.OVERLOADED, JobOutcome.FAULT, JobOutcome.NOT_RUN}
)


@dataclass(frozen=True, slots=True)
class Limits:
    """What one child may use. A child is one run of a program, or the process in which all calls of a job
    (or a whole session) are made. Times are scaled by the host's calibration factor,
    wall seconds by its load too."""

    cpu_s: float = 10.0
    """CPU seconds, of all threads and child processes."""
    wall_s: float = 30.0
    """Seconds from the start of the child; looser than `cpu_s`, so that a loaded host fails nobody."""
    memory_bytes: int = 512 * MIB
    """Memory above what the interpreter itself takes."""
    output_bytes: int = 1 * MIB
    """Length of standard output, and of standard error, each."""
    value_bytes: int = 1 * MIB
    """Length of one value on its way in or out, encoded."""
    disk_bytes: int = 16 * MIB
    """Bytes in the private working directory."""
    files: int = 64
    """Open files."""
    processes: int = 32
    """Processes at once, for languages that may start any (shell, compilers)."""
    threads: int = 64
    """Threads at once."""

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not getattr(self, name) > 0:
                raise SandboxError(f"limits.{name} must be > 0, got {getattr(self, name)}")

    def scaled(self, factor: float) -> Limits:
        """Returns the same limits with CPU and wall seconds times `factor`."""
        return self if factor == 1 else _scaled(self, factor)

    def with_wall(self, wall_s: float) -> Limits:
        """Returns the same limits with other wall seconds."""
        return _with_wall(self, wall_s)


@lru_cache(maxsize=256)
def _scaled(limits: Limits, factor: float) -> Limits:
    return replace(limits, cpu_s=limits.cpu_s * factor, wall_s=limits.wall_s * factor)


@lru_cache(maxsize=256)
def _with_wall(limits: Limits, wall_s: float) -> Limits:
    return replace(limits, wall_s=wall_s)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the entry point, with plain data as arguments."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of untrusted code and what to do with it.

    With `entry_point` the function of that name is called once for each of `calls` (Python). Without it the
    source is a program, run once for each of `stdin` (any language).
    """

    source: str
    language: Language = "python"
    entry_point: str | None = None
    calls: tuple[Call, ...] = ()
    stdin: tuple[str | bytes, ...] = ("",)
    profile: Profile = "bare"
    """Modules loaded beforehand: `bare`, `numeric` (numpy, sympy), another name of the pool's, or a tuple of
    import names."""
    limits: Limits | None = None
    """None: the pool's."""
    fresh_per_case: bool = False
    """Give every call a child of its own, so that no state passes between cases."""
    stop_on_error: bool = True
    """Leave the runs after one that did not end well as `not_run`."""
    key: str = ""
    """The problem: the queue is fair between keys."""
    deadline_s: float | None = None
    """Longest wait for a slot in seconds; None: the pool's."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One call or one run. `value` is plain data of exact built-in types, `error` what the program says went
    wrong (untrusted text, shortened). `cpu_s` and `wall_s` in seconds, `peak_bytes` resident; for calls that
    share a child they are 0.0 and the job's result has them."""

    outcome: JobOutcome
    value: Any = None
    stdout: bytes = b""
    stderr: bytes = b""
    error: str | None = None
    error_type: str | None = None
    exit_code: int | None = None
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class JobResult:
    """All cases of a job. `outcome` is the first case's that is not ok, else ok; `limit_hit` names the limit
    (`cpu`, `wall`, `memory`, `output`, `disk`, `processes`)."""

    outcome: JobOutcome
    cases: tuple[CaseResult, ...] = ()
    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_bytes: int = 0
    output_bytes: int = 0
    limit_hit: str | None = None
    error: str | None = None
    queue_s: float = 0.0
    attempts: int = 1


class JudgeStatus(StrEnum):
    """What a judge found about a candidate."""

    PASSED = "passed"
    FAILED = "failed"  # an assertion of the tests failed
    CANDIDATE = "candidate"  # the candidate died or broke a limit: see `candidate`
    JUDGE_ERROR = "judge_error"  # the tests themselves raised
    JUDGE_LIMIT = "judge_limit"  # the tests themselves ran into a limit
    NOT_CHECKED = "not_checked"  # fault, overload or missing tool: see `candidate`


@dataclass(frozen=True, slots=True)
class JudgeResult:
    """What a judge found. `calls` counts the calls that reached it (a pass with 0 calls tested nothing);
    `message` is the assertion's or error's text, `line` its line in the tests, `args`, `kwargs` and `got`
    belong to the last call made before. `candidate` is how the candidate's own child ended. `changed_and_returned`:
    some call changed its arguments and returned a value too, and `exchanged` has two hashes a call then, 8 bytes each,
    of what it was asked and what it answered; `large`: some value was so large that tests may run out of time or memory
    over it."""

    status: JudgeStatus
    calls: int = 0
    message: str | None = None
    line: int | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    got: Any = None
    candidate: CaseResult = field(default_factory=lambda: CaseResult(JobOutcome.OK))
    changed_and_returned: bool = False
    exchanged: bytes = b""
    large: bool = False
    cpu_s: float = 0.0
    judge_cpu_s: float = 0.0
    wall_s: float = 0.0
    queue_s: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether the tests passed."""
        return self.status is JudgeStatus.PASSED
