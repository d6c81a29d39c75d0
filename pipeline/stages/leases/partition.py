"""Cuts problems into leases, in order and always the same way: a lease's number alone says which problems it holds.

problem sources ─► iter_leases ─► Lease 0, 1, 2 …, each for one engine          run_leases: those of a run
                                        └─► AllLeases: those of a round that are not committed yet, by engine
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Awaitable, Callable, Collection, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, Protocol

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.problems import ProblemSource
from berry.pipeline.config.sections.routing import EscalateRouting, SourceRouting
from berry.pipeline.core.assignment.modes import engine_of, in_modes, splits_problems
from berry.pipeline.core.assignment.routing import order_of, steps_of
from berry.pipeline.records import Problem
from berry.pipeline.stages.leases.escalation import Outcomes, StepLeases
from berry.pipeline.stages.leases.lease import IteratedLeases, Lease, LeaseReport, LeaseSource
from berry.pipeline.stages.leases.reports import read_reports
from berry.pipeline.stages.problems.asked import Changes, changes, hash_of
from berry.pipeline.stages.problems.base import Passing
from berry.pipeline.stages.problems.screening import screened_out
from berry.pipeline.stages.problems.sources import InModes, Survey, as_it_is, iter_problems, one_engine, survey
from berry.pipeline.storage.parquet import shard_files
from berry.pipeline.storage.run import segments
from berry.pipeline.storage.run.directory import RunDir
from berry.verifiers.judges import unknown_judge
from berry.verifiers.specs.shipping import with_source_inlined

MOST_PASSED = 4096
"""Leases passed over at once: `skip` may hold every number."""


def iter_leases(
    sources: Sequence[ProblemSource],
    *,
    size: int,
    skip: Container[int],
    left_out: Container[str] = frozenset(),
    journalled: Container[int] = (),
    round_index: int = 0,
    in_modes: InModes = as_it_is,
    engine_of: Callable[[str], str] = one_engine,
    steps: int = 1,
    times: int | None = None,
) -> Iterator[Lease]:
    """Yields the leases of a round, `size` problems each, of those whose ids are not in `left_out`, each as `in_modes`
    gives it, in the order in which they are full; each holds problems of one engine. The k-th has the number
    k·`steps`: others between them follow from what these give. Passes over leases in `skip` (committed already); those
    in `journalled` go on from their journals. Holds one lease's problems of each engine at a time.

    `times`: how often `in_modes` gives each problem, where that is the same for all and there is one engine. Then the
    numbers of the leases to pass over say how many problems they hold, and the sources don't make those."""
    passing = Passing()
    given: Iterator[Problem] = (p for p in iter_problems(sources, passing) if p.id not in left_out)
    open_leases: dict[str, list[Problem]] = {}
    number = 0

    def lease(engine: str) -> Lease | None:
        nonlocal number
        its, problems = number, tuple(open_leases.pop(engine))
        number += steps
        if its in skip:
            return None
        return Lease(its, problems, resumed=its in journalled, round_index=round_index, engine=engine)

    def pass_over() -> None:
        nonlocal number
        if times is None or left_out or open_leases or number // steps * size % times:
            return
        at_once = math.lcm(size, times) // size  # leases that hold whole problems
        passed = 0
        while passed < MOST_PASSED and all(number + (passed + i) * steps in skip for i in range(at_once)):
            passed += at_once
        passing.count = passed * size // times
        number += passed * steps

    pass_over()
    for problem in chain.from_iterable(map(in_modes, given)):
        engine = engine_of(problem.id)
        of_engine = open_leases.setdefault(engine, [])
        of_engine.append(problem)
        if len(of_engine) == size:
            if (full := lease(engine)) is not None:
                yield full
            pass_over()
    for engine in list(open_leases):
        if (rest := lease(engine)) is not None:
            yield rest


def survey_run(config: RunConfig, fault: Callable[[Problem], str | None] | None) -> Survey:
    """Validates every problem of a run, and counts them as they are searched first; `fault`: as `survey` takes it.
    Raises what that raises."""

    def its_fault(problem: Problem) -> str | None:
        lacking = unknown_judge(problem.verifier, config.verification)
        return lacking if lacking is not None or fault is None else fault(problem)

    return survey(
        config.problems,
        config.screening,
        its_fault,
        partial(in_modes, config),
        partial(engine_of, config) if config.engines else one_engine,
    )


def changed_problems(run: RunDir, config: RunConfig, hashes: array[int] | None = None) -> Changes | None:
    """The problems that are not what they were when a run began; None where all are, or the run did not store it.
    `hashes`: of the problems as they are now, where a survey has found them. Raises StorageError, and ProblemFileError
    where they can't be read."""
    without = left_out(run)

    def searched() -> Iterator[Problem]:
        given = (problem for problem in iter_problems(config.problems) if problem.id not in without)
        return chain.from_iterable(map(partial(in_modes, config), given))

    now = array("Q", map(hash_of, searched())) if hashes is None else hashes
    return changes(run.location, now, (problem.id for problem in searched()))


def run_leases(
    config: RunConfig,
    *,
    skip: Container[int],
    left_out: Container[str] = frozenset(),
    journalled: Container[int] = (),
    round_index: int = 0,
) -> Iterator[Lease]:
    """Yields the leases of a round of a run that follow from no other (`iter_leases`)."""
    return iter_leases(
        config.problems,
        size=config.storage.lease_problems,
        skip=skip,
        left_out=left_out,
        journalled=journalled,
        round_index=round_index,
        in_modes=partial(in_modes, config),
        engine_of=partial(engine_of, config) if config.engines else one_engine,
        steps=steps_of(config),
        times=_times(config),
    )


def _times(config: RunConfig) -> int | None:
    """How often each problem of a run is searched; None where that depends on the problem, or engines share them."""
    if config.engines:
        return None
    if not splits_problems(config) or isinstance(config.routing, EscalateRouting | SourceRouting):
        return 1
    return len(config.rollout.modes)


def searched_leases(
    run: RunDir, config: RunConfig, round_index: int, *, skip: Container[int], left_out: Container[str] = frozenset()
) -> Iterator[Lease]:
    """Yields the leases of a round as they were searched, those included that follow from committed ones. Raises
    StorageError."""
    if not order_of(config):
        yield from run_leases(config, skip=skip, left_out=left_out, round_index=round_index)
        return
    known = {report.lease: report.goes_on for report in read_reports(run.location, round_index)}
    outcomes = Outcomes(known, is_over=True)
    base = list_again(config, left_out, round_index)
    steps = [StepLeases(config, step, base(), outcomes, done=()) for step in range(1, steps_of(config))]
    for lease in base():
        if lease.number not in skip:
            yield lease
        for step in steps:
            while (following := step.take_of(lease.number)) is not None:
                if following.number not in skip:
                    yield following


def list_again(config: RunConfig, left_out: Container[str], round_index: int) -> Callable[[], Iterator[Lease]]:
    """What yields all leases of a round that follow from no other, from the first again."""
    return lambda: run_leases(config, skip=(), left_out=left_out, round_index=round_index)


def lease_count(by_engine: Mapping[str, int], config: RunConfig) -> int:
    """Leases of a round that so many problems of each engine make."""
    size = config.storage.lease_problems
    return steps_of(config) * sum(math.ceil(problems / size) for problems in by_engine.values())


def stored_lease_count(problems: Mapping[str, Any], size: int) -> int:
    """Leases of a round of a stored run, by what its versions.json says of its problems."""
    return problems.get("leases") or math.ceil(problems.get("count", 0) / size)


def for_another_host(lease: Lease) -> Lease:
    """The lease with the source of the checks that its problems name on this host, so that it can be checked on any."""
    specs = [with_source_inlined(problem.verifier) for problem in lease.problems]
    if all(spec is problem.verifier for spec, problem in zip(specs, lease.problems, strict=True)):
        return lease
    problems = [p.model_copy(update={"verifier": spec}) for p, spec in zip(lease.problems, specs, strict=True)]
    return replace(lease, problems=tuple(problems))


@dataclass(frozen=True, slots=True)
class TrainingTurn:
    """A driver's turn at training on a round. `number`: among the sites that share the run; None without others."""

    number: int | None


class RoundLeases(LeaseSource, Protocol):
    """The leases of a run, round by round: of a driver that has the run to itself (`AllLeases`), or of one of several
    sites that share it (`runtime.driver.lease_claims.ClaimedLeases`)."""

    committed_before: set[int]
    """Leases of the round that were committed when it began."""
    is_shared: bool
    """Whether other drivers commit leases of the round too."""

    @property
    def went_on(self) -> int:
        """Problems that have gone on from one mode to another, and are searched again."""
        ...

    def begin_round(self, round_index: int) -> None:
        """Reads what is committed and what earlier drivers left of a round; `take` gives its other leases from now on.
        Raises StorageError."""
        ...

    async def work(self, wake: Callable[[], Awaitable[None]]) -> None:
        """Keeps leases coming while a coordinator hands them out; `wake` tells it that `take` may have one."""
        ...

    def end_round(self) -> None:
        """Gives back what was held of the round while a coordinator was at work."""
        ...

    def is_unfinished(self) -> bool:
        """Whether leases of the round are still to be committed when none could be taken any more."""
        ...

    async def turn_at_training(self, round_index: int, say: Callable[[str], None]) -> TrainingTurn | None:
        """This driver's turn at training on a round, once it has one; None where another site has trained on it, or a
        signal asked to stop."""
        ...


class AllLeases:
    """The leases of a driver that has the run to itself (`RoundLeases`)."""

    def __init__(self, run: RunDir, config: RunConfig) -> None:
        self._run = run
        self._config = config
        self._sources: dict[str, IteratedLeases] = {}  # by engine
        self._steps: list[StepLeases] = []
        self._outcomes = Outcomes({})
        self.committed_before: set[int] = set()
        self.is_shared = False

    @property
    def may_have_more(self) -> bool:
        return any(one.may_have_more for one in (*self._sources.values(), *self._steps))

    @property
    def went_on(self) -> int:
        return sum(step.taken for step in self._steps)

    def take(self, engine: str = "") -> Lease | None:
        """What follows from leases that are committed comes first."""
        for step in reversed(self._steps):
            if step.engine == engine and (lease := step.take()) is not None:
                return lease
        source = self._sources.get(engine)
        lease = None if source is None else source.take()
        if lease is not None:
            self._outcomes.open.add(lease.number)
        return lease

    def settle(self, report: LeaseReport) -> None:
        self._outcomes.settle(report)

    def begin_round(self, round_index: int) -> None:
        """Removes what no commit covers, and begins with the round's first lease that is not committed."""
        self.committed_before, journalled = open_round(self._run, round_index)
        without, config, skip = left_out(self._run), self._config, self.committed_before

        def of(engine: str) -> Iterator[Lease]:
            leases = run_leases(config, skip=skip, left_out=without, journalled=journalled, round_index=round_index)
            return leases if not config.engines else (lease for lease in leases if lease.engine == engine)

        self._sources = {engine: IteratedLeases(of(engine)) for engine in config.engines or ("",)}
        known = read_reports(self._run.location, round_index) if order_of(config) else ()
        self._outcomes = Outcomes({report.lease: report.goes_on for report in known})
        again = list_again(config, without, round_index)
        self._steps = [
            StepLeases(config, step, again(), self._outcomes, done=self.committed_before, journalled=journalled)
            for step in range(1, steps_of(config))
        ]

    async def work(self, wake: Callable[[], Awaitable[None]]) -> None:
        """Nothing to do: every lease is there from the beginning."""

    def end_round(self) -> None:
        """Nothing to do: nothing is held."""

    def is_unfinished(self) -> bool:
        return False

    async def turn_at_training(self, round_index: int, say: Callable[[str], None]) -> TrainingTurn:
        del round_index, say
        return TrainingTurn(None)


def left_out(run: RunDir) -> Container[str]:
    """The ids of the problems that a run left out when it began. Raises StorageError for a damaged file."""
    return screened_out(run.versions().get("screening"))


class AllBut:
    """Contains every lease but these, as they are at the moment."""

    def __init__(self, wanted: Collection[int]) -> None:
        self._wanted = wanted

    def __contains__(self, number: object) -> bool:
        return number not in self._wanted


def open_round(run: RunDir, round_index: int) -> tuple[set[int], set[int]]:
    """Removes what no commit covers of a round; returns the leases that are committed, and those that are not and have
    a journal. Only where no worker is at work."""
    shard_files.remove_uncommitted(run.location, round_index)
    state = round_state(run, round_index)
    remove_batches(run, round_index)
    return state


def round_state(run: RunDir, round_index: int) -> tuple[set[int], set[int]]:
    """The leases of a round that are committed, and those that are not and have a journal. Removes journals of
    committed leases, whose worker was killed before it did."""
    committed, journalled = run.committed(round_index), run.journalled(round_index)
    for lease in journalled & committed:
        segments.remove(run.location, segments.folder(lease, round_index))
    return committed, journalled - committed


def remove_batches(run: RunDir, round_index: int) -> None:
    """Removes the batches of dead workers, once no journal needs them. Only where no worker is at work."""
    if not run.journalled(round_index):
        run.location.remove_folder(segments.batches(round_index))
