"""Judges a candidate: the tests run in one child, the candidate in another, and the host relays between them.

    judge ─call(args)─► host: decode, encode ─► candidate ─result─► host: decode, encode ─► judge

Both speak frames of plain data. The candidate's bytes are decoded here and written anew, so the judge reads
only what this process wrote. The verdict is the judge's own last frame, which the candidate can't write.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from berry.sandboxes import wire
from berry.sandboxes.base import CaseResult, Job, JobOutcome, JudgeResult, JudgeStatus, Limits
from berry.sandboxes.host import outcomes
from berry.sandboxes.host.child import ChildHandle
from berry.sandboxes.host.slots import Slots
from berry.sandboxes.jobs.large_values import is_large
from berry.sandboxes.jobs.python import call_frame, header

Back = Callable[[Any], Awaitable[bytes]]
"""Has the judge run a function of its own; returns the answer for the candidate, encoded."""
_BACK = b'["back",'
_CALL, _LEFT = b'["call",', b'["left",'
"""How the judge's calls begin: the second, where an argument is among them that the candidate has changed before."""
MOST_BACK = 1_000_000
"""Calls of functions that the tests gave, in one trial."""
_CLOCK_POLL_S = 0.05
"""Shortest time between two looks at a candidate's wall clock."""


MOST_NESTED = 32
"""Functions of the tests that wait for each other, each called by what the one before called."""


class _Over(Exception):
    """Ends a trial."""

    def __init__(self, result: JudgeResult) -> None:
        super().__init__()
        self.result = result


_RAISED = (JobOutcome.RUNTIME_ERROR, JobOutcome.MEMORY_LIMIT, JobOutcome.VIOLATION)


@dataclass(frozen=True, slots=True)
class JudgeRun:
    """What a judge needs: the candidate's job, the tests, and the limits of both."""

    job: Job
    tests: str
    entry_name: str
    prelude: str
    limits: Limits
    judge_limits: Limits
    changes: bool = True
    as_given: JudgeResult | None = None


class _CandidateChild:
    """The candidate's child, or one a call where the job wants fresh ones. Its wall limit is held against the time in
    which an answer of its own was awaited: what the tests take between two calls is theirs."""

    def __init__(self, slots: Slots, number: int, run: JudgeRun) -> None:
        self._slots, self._number, self._run = slots, number, run
        self._child: ChildHandle | None = None
        self._progress: outcomes.OutputProgress = (0, 0, 0.0)
        self._spent = self._waited = 0.0
        self._asked: float | None = None
        self._overdue = False
        self._timer: asyncio.TimerHandle | None = None
        self.children: list[ChildHandle] = []
        self.answer_bytes = 0

    async def load(self) -> CaseResult:
        """Starts a child and runs the source in it."""
        slot = await self._slots.handle(self._run.job.profile, "python", self._number)
        limits = self._run.limits
        self._child = await slot.begin(limits.with_wall(limits.wall_s + self._run.judge_limits.wall_s))
        self.children.append(self._child)
        self._spent, self._progress, self._waited = self.cpu_s, (0, 0, 0.0), 0.0
        self._watch(limits.wall_s)
        source = self._run.job.source
        self._child.allow(1)
        self._child.send(header("calls", source, self._run.limits, module="solution", count=None,
                               changes=self._run.changes, callables=True))  # fmt: skip
        return await self._result()

    async def call(
        self, name: str | int, args: Any, kwargs: Any, back: Back, *, inside: bool, asked_bytes: int
    ) -> CaseResult:
        """Makes one call, in a fresh child where asked; `name` is the entry's, or the number of a function that a call
        returned, and the arguments took `asked_bytes` on their way here. `back` has the judge run a function of its
        own that the candidate was given. `inside`: another call waits for this one."""
        if self._run.job.fresh_per_case and not inside and self._child is not None and isinstance(name, str):
            self._child.retire()
            load = await self.load()
            if load.outcome is not JobOutcome.OK:
                return load
        assert self._child is not None
        self._child.allow(1)
        self._child.send(await outcomes.off_loop(lambda: call_frame(name, args, kwargs), asked_bytes))
        return await self._result(back)

    async def _result(self, back: Back | None = None) -> CaseResult:
        assert self._child is not None
        body = await self._frame(self._child)
        while body is not None and back is not None and body.startswith(_BACK):
            self.answer_bytes = len(body)
            try:
                answer = await back(await outcomes.off_loop(partial(wire.loads, body, references=True), len(body)))
            except wire.WireError as e:
                return CaseResult(JobOutcome.VIOLATION, error=str(e))
            self._child.allow(1)
            self._child.send(wire.frame(answer))
            body = await self._frame(self._child)
        if body is None:
            ended = await self._child.end()
            self._progress = (0, 0, ended.cpu_s)
            if self._overdue:
                return CaseResult(JobOutcome.WALL_LIMIT, error="wall limit")
            return outcomes.early_end(ended, self._run.limits)
        self.answer_bytes = len(body)
        try:
            decode = partial(outcomes.case_of_frame, body, self._child.output, self._progress, references=True)
            case, self._progress = await outcomes.off_loop(decode, len(body))
        except wire.WireError as e:
            return CaseResult(JobOutcome.VIOLATION, error=str(e))
        return case

    async def _frame(self, child: ChildHandle) -> bytes | None:
        """Waits for the child's next frame, on its own time."""
        self._asked = time.monotonic()
        try:
            return await child.frame()
        finally:
            self._waited += time.monotonic() - self._asked
            self._asked = None

    def _watch(self, left_s: float) -> None:
        """Looks at the child's clock again when its time may be over."""
        self.stop_watching()
        self._timer = asyncio.get_running_loop().call_later(max(left_s, _CLOCK_POLL_S), self._check_time)

    def _check_time(self) -> None:
        asked_s = 0.0 if self._asked is None else time.monotonic() - self._asked
        left_s = self._run.limits.wall_s - self._waited - asked_s
        if left_s > 0:
            self._watch(left_s)
        elif self._child is not None:
            self._overdue = True
            self._child.kill()

    def stop_watching(self) -> None:
        """Lets go of the clock."""
        if self._timer is not None:
            self._timer.cancel()

    @property
    def cpu_s(self) -> float:
        """Sums CPU seconds of all children so far."""
        return self._spent + self._progress[2]


async def run_judge(slots: Slots, number: int, run: JudgeRun) -> JudgeResult:
    """Runs tests and candidate on one slot; raises SlotDied."""
    candidate = _CandidateChild(slots, number, run)
    judge: ChildHandle | None = None
    started = time.monotonic()
    try:
        slot = await slots.handle(run.job.profile, "python", number, "judge")
        wall = run.limits.wall_s + run.judge_limits.wall_s
        begin = slot.begin(run.judge_limits.with_wall(wall))
        judge, load = await asyncio.gather(begin, candidate.load())
        if load.outcome is not JobOutcome.OK:
            result = JudgeResult(JudgeStatus.CANDIDATE, message=load.error, candidate=load)
        else:
            judge.allow(1)
            judge.send(header("judge", run.tests, run.judge_limits, entry=run.entry_name,
                              prelude=run.prelude, as_given=run.as_given is not None))  # fmt: skip
            result = await _Relay(judge, candidate, run).result()
        for child in (judge, *candidate.children):
            child.retire()
        return replace(result, cpu_s=candidate.cpu_s, wall_s=time.monotonic() - started)
    finally:
        candidate.stop_watching()
        for child in (judge, *candidate.children):
            if child is not None:
                child.release()


class _Exchanged:
    """Hashes of what each call of a trial asked and answered, and whether one leaves the way of the trial before."""

    def __init__(self, before: JudgeResult | None) -> None:
        self.hashes = array("q")
        self._before = memoryview(b"" if before is None else before.exchanged).cast("q")
        self._follows = before is not None
        self._changed = self._as_before = False

    def strays(self, asked: int, *, left: bool) -> bool:
        """Notes a call; whether it ends what the second trial can tell. The tests see arguments as they were given, so
        that a loop which lasts until its list is empty asks again and again: a call of an argument that the candidate
        changed (`left`), and that was none of the trial before, ends it. But whoever has answered otherwise than before
        is followed to the end, and so are tests that draw other arguments from the start."""
        at = len(self.hashes)
        self.hashes.append(asked)
        self._as_before = at < len(self._before) and self._before[at] == asked
        if self._follows and not self._as_before:
            self._follows = self._changed
        return self._follows and left and not self._as_before

    def answered(self, reply: bytes, *, changed: bool) -> None:
        """Notes a call's answer."""
        self._changed = self._changed or changed
        at = len(self.hashes)
        self.hashes.append(hash(reply))
        same = at < len(self._before) and self._before[at] == self.hashes[at]
        self._follows = self._follows and (same or not self._as_before)


class _Relay:
    """Carries calls and results until the judge has a verdict or one of the two ends."""

    def __init__(self, judge: ChildHandle, candidate: _CandidateChild, run: JudgeRun) -> None:
        self._judge, self._candidate, self._run = judge, candidate, run
        self._calls = self._asked = self._depth = self._heard_bytes = self._heard_hash = 0
        self._seen: dict[str, Any] = {"changed_and_returned": False, "large": False}
        self._exchanged = _Exchanged(run.as_given)

    async def result(self) -> JudgeResult:
        """Serves the judge to its end."""
        try:
            while True:
                await self._serve(await self._heard())
        except _Over as over:
            return over.result

    def _so_far(self, status: JudgeStatus = JudgeStatus.PASSED, **more: Any) -> JudgeResult:
        """Makes the result of a trial that ends here."""
        seen = self._seen
        if "candidate" in seen:  # without what its arguments became
            seen["candidate"] = replace(seen["candidate"], value=seen["got"])
        return JudgeResult(status, **(seen | more))

    async def _heard(self) -> list[Any]:
        """Reads the judge's next message."""
        body = await self._judge.frame()
        if body is None:
            ended = await _judge_ended(self._judge, self._run, self._so_far())
            if self._depth and ended.status is JudgeStatus.JUDGE_LIMIT:
                text = "the functions that it was given ran into a limit"
                ended = replace(ended, status=JudgeStatus.CANDIDATE, calls=self._calls + 1, message=text,
                                candidate=CaseResult(JobOutcome.CPU_LIMIT, error=text))  # fmt: skip
            raise _Over(ended)
        self._heard_bytes = len(body)
        self._heard_hash = hash(_CALL + body[len(_LEFT) :] if body.startswith(_LEFT) else body)
        try:
            return await outcomes.off_loop(partial(wire.loads, body, references=True), len(body))
        except wire.WireError as e:
            raise _Over(self._so_far(JudgeStatus.JUDGE_ERROR, message=str(e))) from e

    async def _back(self, message: Any) -> bytes:
        """Has the judge run a function that the candidate was given; this may call the candidate in its turn."""
        match message:
            case ["back", int(number), tuple(), dict()] if type(number) is int and self._asked < MOST_BACK:
                self._asked += 1
            case _:
                raise wire.WireError("not a call of a function that the tests gave")
        if self._depth == MOST_NESTED:
            return wire.dumps(["raise", "RecursionError", "maximum recursion depth exceeded"])
        asked = await outcomes.off_loop(partial(wire.dumps, message), self._candidate.answer_bytes)
        self._depth += 1
        self._judge.allow(1)
        self._judge.send(wire.frame(asked))
        while (answer := await self._heard())[0] not in ("ok", "raise"):
            await self._serve(answer)
        self._depth -= 1
        return await outcomes.off_loop(partial(wire.dumps, answer), self._heard_bytes)

    async def _serve(self, message: list[Any]) -> None:
        """Makes the call that the judge asks for and tells it the result; raises _Over once there is a verdict."""
        if message[0] not in ("call", "left"):
            exchanged = self._exchanged.hashes.tobytes() if self._seen["changed_and_returned"] else b""
            raise _Over(_verdict(message[1:], self._so_far(judge_cpu_s=message[0], exchanged=exchanged)))
        _, args, kwargs, *number = message
        if self._exchanged.strays(self._heard_hash, left=message[0] == "left"):
            raise _Over(self._so_far())  # what the tests looked at until now has passed
        name = number[0] if number else self._run.entry_name
        seen = self._seen
        seen["args"], seen["kwargs"] = args, kwargs
        try:
            inside = self._depth > 0
            made = await self._candidate.call(
                name, args, kwargs, self._back, inside=inside, asked_bytes=self._heard_bytes
            )
            case, value, changes = _without_changes(made, self._run)
            reply = await outcomes.off_loop(partial(_reply, value, changes), self._candidate.answer_bytes)
        except wire.Unsupported as e:  # too deep by what was put around it: the candidate's value, once there is one
            status = JudgeStatus.CANDIDATE if self._calls else JudgeStatus.JUDGE_ERROR
            case = CaseResult(JobOutcome.UNSUPPORTED_VALUE, error=str(e))
            raise _Over(self._so_far(status, args=args, kwargs=kwargs, message=str(e), candidate=case)) from e
        self._calls += 1
        seen.update(calls=self._calls, args=args, kwargs=kwargs, got=value, candidate=case)
        seen["changed_and_returned"] |= bool(changes) and value is not None
        seen["large"] = seen["large"] or is_large(value)
        if case.outcome is not JobOutcome.OK:
            if case.outcome not in _RAISED or case.error_type is None:
                raise _Over(self._so_far(JudgeStatus.CANDIDATE, message=case.error))
            reply = wire.dumps(["raise", case.error_type, case.error or ""])
        self._exchanged.answered(reply, changed=bool(changes))
        self._judge.allow(1)
        self._judge.send(wire.frame(reply))


def _without_changes(case: CaseResult, run: JudgeRun) -> tuple[CaseResult, Any, list[Any]]:
    """A call's result, the value that it returned, and the arguments that it changed: pairs of a position or name and
    the content."""
    if case.outcome is not JobOutcome.OK or not run.changes:
        return case, case.value, []
    match case.value:
        case [value, [*changes]] if all(_is_change(pair) for pair in changes):
            return case, value, changes
        case _:
            return CaseResult(JobOutcome.VIOLATION, error="not a result"), None, []


def _reply(value: Any, changes: list[Any]) -> bytes:
    """Encodes what the judge is told of a call that returned; raises wire.Unsupported."""
    return wire.packed_bytes(["ok", wire.pack(value), [[key, wire.pack(v)] for key, v in changes]])


def _is_change(pair: Any) -> bool:
    return type(pair) in (list, tuple) and len(pair) == 2 and type(pair[0]) in (int, str)


def _verdict(message: list[Any], last: JudgeResult) -> JudgeResult:
    if message[0] == "passed":
        return replace(last, candidate=CaseResult(JobOutcome.OK))
    kind, error_type, text, line = message
    if kind == "candidate":
        return replace(last, status=JudgeStatus.CANDIDATE, message=text, line=line)
    failed = kind == "failed"
    return replace(
        last,
        status=JudgeStatus.FAILED if failed else JudgeStatus.JUDGE_ERROR,
        message=text if failed else f"{error_type}: {text}",
        line=line,
    )


async def _judge_ended(judge: ChildHandle, run: JudgeRun, last: JudgeResult) -> JudgeResult:
    case = outcomes.early_end(await judge.end(), run.judge_limits)
    limit = case.outcome in outcomes.LIMIT_NAMES
    return replace(last, status=JudgeStatus.JUDGE_LIMIT if limit else JudgeStatus.JUDGE_ERROR, message=case.error)
