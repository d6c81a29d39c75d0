"""Leases are handed out once, and again when a worker is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from berry.pipeline.errors import EngineError, first_error
from berry.pipeline.records import Problem
from berry.pipeline.records import TokenLedger as Ledger
from berry.pipeline.runtime.driver.coordinator import Coordinator
from berry.pipeline.runtime.scripted import ScriptedWorker
from berry.pipeline.runtime.worker import WorkerLost
from berry.pipeline.stages.leases.lease import IteratedLeases, Lease, LeaseReport
from berry.verifiers.specs.union import MathSpec


def some_leases(count: int) -> IteratedLeases:
    return IteratedLeases(leases(count))


def leases(count: int) -> Iterator[Lease]:
    for number in range(count):
        yield Lease(number, (Problem(id=f"p{number}", prompt="?", verifier=MathSpec(answer="1")),))


@dataclass
class Mortal(ScriptedWorker):
    """A worker that is lost whenever it meets a lease in `kills`, as often as that says."""

    kills: dict[int, int] = field(default_factory=dict)
    done: list[int] = field(default_factory=list)
    recoveries: int = 0
    running: int = 0
    most_running: int = 0
    returns: bool = True
    alone: set[int] = field(default_factory=set)
    most_alone: int = 0

    async def run_lease(self, lease: Lease) -> LeaseReport:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        if lease.alone:
            self.most_alone = max(self.most_alone, self.running)
        await asyncio.sleep(0.001)
        self.running -= 1
        if self.kills.get(lease.number, 0) > 0:
            self.kills[lease.number] -= 1
            raise WorkerLost("killed")
        if lease.alone:
            self.alone.add(lease.number)
        self.done.append(lease.number)
        return LeaseReport(lease.number, self.worker_id, 1, 1, 4, 2, {"wrong": 2}, Ledger(generated=10), 0.1)

    async def recover(self) -> None:
        self.recoveries += 1
        await asyncio.sleep(0.01)
        if not self.returns:
            raise EngineError("gone for good")


async def test_every_lease_is_done_once_and_totals_add_up() -> None:
    workers = [Mortal("a"), Mortal("b", leases_at_once=3)]
    totals = await Coordinator(some_leases(20), list(workers)).run()
    assert sorted(workers[0].done + workers[1].done) == list(range(20))
    assert workers[0].most_running == 2
    assert workers[1].most_running == 3
    assert (totals.leases, totals.trajectories, totals.kept) == (20, 80, 40)
    assert totals.drops == {"wrong": 40}
    assert totals.ledger.generated == 200


async def test_a_lost_workers_lease_is_handed_out_again() -> None:
    worker = Mortal("a", kills={3: 2})
    totals = await Coordinator(some_leases(6), [worker]).run()
    assert sorted(worker.done) == list(range(6))
    assert totals.retried_leases == 2
    assert worker.recoveries == totals.lost_workers >= 1


async def test_a_lost_worker_is_one_line_however_many_leases_it_had() -> None:
    worker = Mortal("a", leases_at_once=3, kills={0: 1, 1: 1, 2: 1})
    coordinator = Coordinator(some_leases(6), [worker])
    lines: list[str] = []
    coordinator.on_loss = lines.append
    totals = await coordinator.run()
    assert lines == ["killed; its 3 leases are handed out again"]
    assert totals.lost_workers == 1
    assert totals.retried_leases == 3


async def test_a_lease_that_lost_two_workers_runs_last_and_alone() -> None:
    worker = Mortal("a", kills={1: 3})
    totals = await Coordinator(some_leases(8), [worker]).run()
    assert sorted(worker.done) == list(range(8))
    assert worker.done[-1] == 1
    assert worker.alone == {1}
    assert totals.retried_leases == 3


async def test_suspects_run_beside_each_other_on_nodes_of_their_own_only() -> None:
    workers = [Mortal("a", kills={1: 1, 2: 1}), Mortal("b", kills={1: 1, 2: 1}), Mortal("c")]
    for worker in workers:
        worker.node = "one" if worker.worker_id == "a" else "two"
    await Coordinator(some_leases(8), list(workers)).run()
    assert sorted(lease for worker in workers for lease in worker.done) == list(range(8))
    assert sum(worker.most_alone > 1 for worker in workers) == 0
    assert sum(bool(worker.alone) for worker in workers if worker.node == "two") <= 1


async def test_a_lease_that_always_fails_ends_the_run_with_its_number() -> None:
    worker = Mortal("a", kills={1: 99})
    with pytest.raises(EngineError, match="lease 1 lost its worker"):
        await Coordinator(some_leases(3), [worker]).run()
    assert sorted(worker.done) == [0, 2]


async def test_a_worker_that_never_comes_back_leaves_its_leases_to_the_others() -> None:
    gone, other = Mortal("gone", kills={0: 1}, returns=False), Mortal("other")
    totals = await Coordinator(some_leases(30), [gone, other]).run()
    assert sorted(gone.done + other.done) == list(range(30))
    assert totals.leases == 30


async def test_without_any_worker_left_the_run_ends() -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        await Coordinator(some_leases(3), [Mortal("gone", kills={0: 1}, returns=False)]).run()
    assert isinstance(first_error(caught.value), EngineError)


async def test_stopped_it_hands_out_nothing_more_but_finishes_what_runs() -> None:
    worker = Mortal("a", leases_at_once=1)
    coordinator = Coordinator(some_leases(50), [worker])
    coordinator.on_report = lambda report: coordinator.stop() if report.lease == 4 else None
    totals = await coordinator.run()
    assert totals.leases == 5


async def test_leases_are_taken_lazily() -> None:
    taken: list[int] = []

    def watched() -> Iterator[Lease]:
        for lease in leases(100):
            taken.append(lease.number)
            yield lease

    worker = Mortal("a", leases_at_once=2)
    coordinator = Coordinator(IteratedLeases(watched()), [worker])
    seen: list[int] = []
    coordinator.on_report = lambda _: seen.append(len(taken))
    await coordinator.run()
    assert seen[0] <= 4


async def test_a_worker_that_joins_gets_leases() -> None:
    first, later = Mortal("first", leases_at_once=1), Mortal("later", leases_at_once=2)
    coordinator = Coordinator(some_leases(40), [first])
    coordinator.on_report = lambda report: coordinator.join(later) if report.lease == 3 else None
    totals = await coordinator.run()
    assert sorted(first.done + later.done) == list(range(40))
    assert len(later.done) > 15
    assert totals.leases == 40
    coordinator.join(Mortal("too late"))  # nothing left to do: no error


@dataclass
class Away(Mortal):
    """Lost with its first lease, and back only after the run."""

    async def recover(self) -> None:
        self.recoveries += 1
        await asyncio.sleep(3600)


async def test_a_run_does_not_wait_for_a_worker_that_stays_away() -> None:
    away, other = Away("away", kills={0: 1}), Mortal("other", leases_at_once=1)
    totals = await asyncio.wait_for(Coordinator(some_leases(6), [away, other]).run(), 10)
    assert sorted(away.done + other.done) == list(range(6))
    assert (totals.leases, totals.lost_workers) == (6, 1)


async def test_a_worker_that_does_not_come_back_is_told_and_the_others_do_the_rest() -> None:
    gone, other = Mortal("gone", kills={0: 1}, returns=False), Mortal("other", leases_at_once=1)
    coordinator, told = Coordinator(some_leases(60), [gone, other]), list[str]()
    coordinator.on_loss = told.append
    totals = await asyncio.wait_for(coordinator.run(), 10)
    assert sorted(gone.done + other.done) == list(range(60))
    assert (totals.leases, totals.lost_workers) == (60, 1)
    assert told[1:] == ["gone for good; the run goes on without it"]


@dataclass
class Following:
    """A `LeaseSource` of three leases for `small`, each of which has one for `large` follow when it is committed."""

    first: list[Lease] = field(default_factory=lambda: [Lease(2 * n, (), engine="small") for n in range(3)])
    then: list[Lease] = field(default_factory=list)

    @property
    def may_have_more(self) -> bool:
        return bool(self.first or self.then)

    def take(self, engine: str = "") -> Lease | None:
        waiting = self.first if engine == "small" else self.then
        return waiting.pop(0) if waiting else None

    def settle(self, report: LeaseReport) -> None:
        if report.lease % 2 == 0:
            self.then.append(Lease(report.lease + 1, (), engine="large"))


async def test_a_lease_goes_to_its_engine_and_what_follows_from_a_suspect_is_run_too() -> None:
    small, large = Mortal("s", engine_name="small", kills={2: 2}), Mortal("l", engine_name="large", kills={1: 1})
    totals = await asyncio.wait_for(Coordinator(Following(), [small, large]).run(), 10)
    assert sorted(small.done) == [0, 2, 4]
    assert sorted(large.done) == [1, 3, 5]
    assert small.alone == {2}, "it lost its worker twice"
    assert totals.lost_workers == 3


async def test_an_engine_that_is_gone_ends_the_run_though_others_work() -> None:
    small, large = Mortal("s", engine_name="small"), Mortal("l", engine_name="large", kills={1: 1}, returns=False)
    with pytest.raises((EngineError, ExceptionGroup)) as gone:
        await asyncio.wait_for(Coordinator(Following(), [small, large]).run(), 10)
    error = gone.value
    assert "gone for good" in str(first_error(error) if isinstance(error, ExceptionGroup) else error)


async def test_the_last_worker_of_an_engine_is_not_fenced() -> None:
    workers = [Mortal("a", engine_name="small"), Mortal("b", engine_name="large"), Mortal("c", engine_name="large")]
    coordinator = Coordinator(Following(), list(workers))
    assert not coordinator.fence("a")
    assert coordinator.fence("b")
    assert not coordinator.fence("c")
