"""Defines what a worker is given and what comes back: leases, reports of committed leases, snapshots of a worker.

    LeaseSource.take ─► Lease ─► a worker searches it and commits it ─► LeaseReport          Snapshot: figures meanwhile

Records alone: nothing here reads a file, knows an engine's kind or imports a worker.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

from berry.pipeline.engines.base import Counters
from berry.pipeline.records import Problem, TokenLedger


@dataclass(frozen=True, slots=True)
class UnlessReplaced:
    """One driver has the run to itself: an attempt counts unless a later attempt at the same lease has begun."""


@dataclass(frozen=True, slots=True)
class FirstResultCounts:
    """Several sites share the run: the first result of a lease to arrive counts, whoever made it. `token` names the
    process of the site that claimed the lease."""

    token: str


CommitRule = UnlessReplaced | FirstResultCounts
"""Which of several results of one lease is the one that counts."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Problems handed out together, searched and committed by one worker.

    number:       fixes the name of its files
    attempt:      how often it was begun before, by whatever driver or site; attempts write journals of their own
    losses:       workers of this run that were lost with it
    resumed:      an earlier attempt may have left a journal to go on from
    alone:        its problems are searched one at a time, so that the one that kills its worker is known
    commit_rule:  which of several results of this lease counts
    round_index:  the round it belongs to
    engine:       the one of `engines` that searches it; "" where the run has one
    """

    number: int
    problems: tuple[Problem, ...]
    attempt: int = 0
    losses: int = 0
    resumed: bool = False
    alone: bool = False
    commit_rule: CommitRule = UnlessReplaced()
    round_index: int = 0
    engine: str = ""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles all fields as one piece: Ray's pickler looks at each object in Python, and takes twice as long over
        the problems."""
        return _unpickled, (pickle.dumps([getattr(self, one.name) for one in fields(self)], pickle.HIGHEST_PROTOCOL),)


def _unpickled(data: bytes) -> Lease:
    return Lease(*pickle.loads(data))


class LeaseSource(Protocol):
    """Where a coordinator takes its leases from."""

    def take(self, engine: str = "") -> Lease | None:
        """The next lease for a worker of this engine; None where there is none at the moment."""
        ...

    def settle(self, report: LeaseReport) -> None:
        """Is told of each lease that has been committed: others may follow from it."""
        ...

    @property
    def may_have_more(self) -> bool:
        """Whether `take` may give another lease, to a worker of some engine, without another being committed first."""
        ...


class IteratedLeases:
    """A `LeaseSource` over an iterator: there is a next lease until the iterator ends."""

    def __init__(self, leases: Iterator[Lease]) -> None:
        self._leases = leases
        self.may_have_more = True

    def take(self, engine: str = "") -> Lease | None:
        """The next lease, whichever engine asks; None behind the last."""
        del engine
        lease = next(self._leases, None)
        self.may_have_more = lease is not None
        return lease

    def settle(self, report: LeaseReport) -> None:
        """Nothing follows from it."""


MODE_COUNTS = ("problems", "solved", "trajectories", "kept", "generated")


def add_modes(into: dict[str, dict[str, int]], counts: Mapping[str, Mapping[str, int]]) -> None:
    """Adds the counts of modes to others, in place."""
    for mode, its in counts.items():
        known = into.setdefault(mode, dict.fromkeys(MODE_COUNTS, 0))
        for name, count in its.items():
            known[name] += count


@dataclass(frozen=True, slots=True)
class LeaseReport:
    """What a committed lease holds, in counts; `wall_s` from the begin of its search to the writing of its files.
    `late`: another result of the lease counts, and nothing of this one does. `modes`: of each mode in which problems
    were searched the counts MODE_COUNTS, `generated` in tokens; empty where the run has none. `engine`: the one of
    `engines` that searched it. `goes_on`: given ids of the problems that are to go on to the next mode."""

    lease: int
    worker: str
    problems: int
    solved: int  # problems with at least one passing trajectory
    trajectories: int
    kept: int
    drops: dict[str, int]  # trajectories by the reason they were dropped for
    ledger: TokenLedger
    wall_s: float
    late: bool = False
    modes: dict[str, dict[str, int]] = field(default_factory=dict)
    engine: str = ""
    goes_on: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Gauges:
    """What goes on in one worker now, over all its searches; from `verified` to `replayed`, and from
    `called` on, counts since it started."""

    queued: int = 0  # problems waiting for their search to begin
    searching: int = 0  # searches begun and not ended
    verifying: int = 0  # leaves waiting for their verdict
    verified: int = 0
    kinds: Counter[str] = field(default_factory=Counter)  # of them those of each type of verifier
    passed: int = 0
    unanswered: int = 0  # without an answer in the wanted form
    unverifiable: int = 0
    leaves: int = 0
    replayed: int = 0  # events taken from journals
    calling: int = 0  # now: tool calls that are waited for
    called: int = 0  # tool calls that were answered
    called_badly: int = 0  # of them those that did not end well, or were not made at all
    nondeterministic: int = 0  # of them those behind calls that, made again, said something else
    call_s: float = 0.0  # seconds that those were waited for, summed over calls


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A worker's figures at one moment."""

    worker: str
    gauges: Gauges
    counters: Counters
    max_num_seqs: int
    cpu_s: float = 0.0  # of the worker's process and all that it started
    own_cpu_s: float = 0.0  # of the worker's process alone
    loop_delay_p99_s: float = 0.0  # how late the worker's event loop woke, at the 99th percentile of the last minute
    scored_tokens: Mapping[str, int] = field(default_factory=dict)  # read by reward models in its process, by model
    host_cpu_s: float = 0.0  # of everything on its host, where nothing else of the run is there; else 0
