"""What is handed to a worker, and what comes back once it is committed."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, fields
from typing import Any

from berry.pipeline.engines.base import Counters
from berry.pipeline.records import Problem, TokenLedger


@dataclass(frozen=True, slots=True)
class Lease:
    """Problems handed out together. `number` fixes the shard's name; `attempt` counts from 0. `resumed`: an earlier
    driver or worker may have left a journal. `alone`: it has cost workers before, so its problems are searched one at a
    time, and one that kills its worker then is quarantined. `token`: of the site that claimed it, where several share
    the run; `takeovers`: how often other sites had begun it. `round_index`: what it was handed out for."""

    number: int
    problems: tuple[Problem, ...]
    attempt: int = 0
    resumed: bool = False
    alone: bool = False
    token: str | None = None
    takeovers: int = 0
    round_index: int = 0

    def __reduce__(self) -> tuple[Any, ...]:
        """One piece for whoever pickles it: Ray's pickler looks at each object in Python, and takes twice as long over
        the problems."""
        return _unpacked, (pickle.dumps([getattr(self, one.name) for one in fields(self)], pickle.HIGHEST_PROTOCOL),)


def _unpacked(packed: bytes) -> Lease:
    return Lease(*pickle.loads(packed))


@dataclass(frozen=True, slots=True)
class LeaseReport:
    """What a committed lease holds; `wall_s` from hand-out to the writing of its shards. `late`: another attempt or
    site had committed it, and nothing of this one counts."""

    lease: int
    worker: str
    problems: int
    solved: int
    trajectories: int
    kept: int
    drops: dict[str, int]
    ledger: TokenLedger
    wall_s: float
    late: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A worker's figures at one moment."""

    worker: str
    gauges: Gauges
    counters: Counters
    max_num_seqs: int
    cpu_s: float = 0.0  # of the worker's process and all that it started
    own_cpu_s: float = 0.0  # of the worker's process alone
    host_cpu_s: float = 0.0  # of everything on its host, where nothing else of the run is there; else 0


@dataclass(slots=True)
class Gauges:
    """What is going on right now in one worker, over all its searches; counts since start."""

    queued: int = 0  # problems waiting for their search to begin
    searching: int = 0
    verifying: int = 0
    verified: int = 0
    passed: int = 0
    unverifiable: int = 0
    leaves: int = 0
    replayed: int = 0  # events taken from journals
