"""Ends what hangs: alive for Ray, and yet without progress or answer for `storage.stall_s` seconds.

    snapshots ─► Activity ─► SilenceTimer, one a worker ─► Worker.abort ─► its leases are handed out again
    verdicts that a worker waits for, and that no checker works on ─► the worker's own silence
    figures of checkers, reward models ─► Activity ─► SilenceTimer, one an actor ─► cluster.actor_pool ends it

Every sign of work starts a timer anew, however long the work takes. What has nothing to do is not silent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from berry.pipeline.runtime.worker import Worker
from berry.pipeline.stages.leases.lease import Snapshot

MOST_POLL_S = 10.0  # between two looks, however long a stall may last


@dataclass(frozen=True, slots=True)
class Activity:
    """What something has done since it started, as any counters that grow with it; `owes`: it has more to do."""

    done: tuple[float, ...]
    owes: bool


def activity_of_worker(snapshot: Snapshot, *, checkers_work: bool = True) -> Activity:
    """An engine without work owes nothing, nor one whose searches all wait for verdicts and tools, as long as any
    checker works (`checkers_work`): what a worker waits for and nobody was asked for has not left it."""
    counters, gauges = snapshot.counters, snapshot.gauges
    waits = gauges.verifying + gauges.calling > 0
    return Activity(
        (
            counters.prompt_tokens,
            counters.generated_tokens,
            gauges.leaves,
            gauges.verified,
            gauges.called,
            gauges.searching,
        ),
        owes=counters.running + counters.waiting > 0 or (gauges.searching > 0 and not (waits and checkers_work)),
    )


def activity_of_checker(figures: Mapping[str, float]) -> Activity:
    """A checker owes the checks and tool calls that it was asked for; it works when a sandbox finishes a job or a check
    or call ends. Calls have limits of their own, so that one that merely takes long is not silent."""
    ended = sum(count for name, count in figures.items() if name.startswith("outcome_"))
    calls = figures.get("call_jobs", 0.0)
    owes = figures.get("in_service", 0.0) > 0 or figures.get("call_waiting", 0.0) > 0
    return Activity((figures.get("pool_jobs", 0.0), ended, calls), owes=owes)


def activity_of_rewards(counters: Mapping[str, Mapping[str, Any]]) -> Activity:
    """Reward models owe the requests that wait; they work when a batch ends."""
    batches = tuple(float(counts.get("batches", 0)) for counts in counters.values())
    return Activity(batches, owes=any(counts.get("waiting", 0) for counts in counters.values()))


@dataclass(slots=True)
class SilenceTimer:
    """Measures for how long something has shown no progress that it owes."""

    since: float
    _seen: tuple[float, ...] | None = None

    def silent_s(self, activity: Activity | None, now: float) -> float:
        """Seconds of silence so far; `activity` None where it does not answer."""
        if activity is not None and (activity.done != self._seen or not activity.owes):
            self._seen, self.since = activity.done, now
        return now - self.since


_WORK_OF_A_CHECKER = ("in_service", "pool_running", "symbolic_running", "call_waiting", "call_running")


def any_works(checkers: Sequence[Mapping[str, float]]) -> bool:
    """Whether a checker has anything to do, by the figures of all that are up. True where none is, or one does not
    answer: that silence is theirs."""
    up = [figures for figures in checkers if "in_service" in figures]
    return not up or any(figures.get(name, 0.0) > 0 for figures in up for name in _WORK_OF_A_CHECKER)


async def watch(
    workers: Sequence[Worker],
    stall_s: float,
    note: Callable[[str], None],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Watches the engines of `workers`, which may change, until cancelled; ends one that hangs, and says so."""
    timers: dict[str, SilenceTimer] = {}
    while True:
        await asyncio.sleep(min(MOST_POLL_S, stall_s / 5))
        checkers_work = any_works(await workers[0].check_counters()) if workers else True
        for worker in list(workers):
            snapshot, now = await worker.snapshot(), clock()
            timer = timers.setdefault(worker.worker_id, SilenceTimer(now))
            if not worker.is_up:
                timer.since = now
            activity = None if snapshot is None else activity_of_worker(snapshot, checkers_work=checkers_work)
            silent_s = timer.silent_s(activity, now)
            if silent_s > stall_s:
                why = f"{worker.worker_id} made no progress for {silent_s:.0f} s (storage.stall_s {stall_s:g})"
                note(f"{why}: it is ended, and its leases are handed out again")
                timers[worker.worker_id] = SilenceTimer(now)
                await worker.abort(why)


async def watch_checker(
    figures: Callable[[], Awaitable[Sequence[Mapping[str, float]]]],
    stall_s: float,
    end: Callable[[str], Awaitable[None]],
    *,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Watches the checker of a run in one process until cancelled; calls `end` with the reason when it hangs."""
    timer = SilenceTimer(clock())
    while True:
        await asyncio.sleep(min(MOST_POLL_S, stall_s / 5))
        for one in await figures():
            silent_s = timer.silent_s(activity_of_checker(one), clock())
            if silent_s > stall_s:
                await end(
                    f"the sandboxes finished no check for {silent_s:.0f} s (storage.stall_s {stall_s:g}) while "
                    f"{one.get('in_service', 0):.0f} wait for one"
                )
                return
