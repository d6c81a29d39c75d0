"""Cuts problems into leases, in order and always the same way: a lease's number alone says which problems it holds.

problem sources ─► iter_leases ─► Lease 0, 1, 2 …          AllLeases: those of a round that are not committed yet
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Collection, Container, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from typing import Protocol

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.problems import ProblemSource
from berry.pipeline.core.modes import in_modes
from berry.pipeline.records import Problem
from berry.pipeline.stages.leases.lease import IteratedLeases, Lease, LeaseSource
from berry.pipeline.stages.problems.screening import screened_out
from berry.pipeline.stages.problems.sources import InModes, as_it_is, iter_problems
from berry.pipeline.storage.parquet import shard_files
from berry.pipeline.storage.run import segments
from berry.pipeline.storage.run.directory import RunDir
from berry.verifiers.specs.shipping import with_source_inlined


def iter_leases(
    sources: Sequence[ProblemSource],
    *,
    size: int,
    skip: Container[int],
    left_out: Container[str] = frozenset(),
    journalled: Container[int] = (),
    round_index: int = 0,
    in_modes: InModes = as_it_is,
) -> Iterator[Lease]:
    """Yields the leases of a round: lease k holds problems k·size … (k+1)·size - 1 of those whose ids are not in
    `left_out`, each as `in_modes` gives it. Passes over leases in `skip` (committed already); those in `journalled` go
    on from their journals. Holds one lease's problems at a time."""
    given: Iterator[Problem] = (p for p in iter_problems(sources) if p.id not in left_out)
    problems = chain.from_iterable(map(in_modes, given))
    number = 0
    while batch := tuple(islice(problems, size)):
        if number not in skip:
            yield Lease(number, batch, resumed=number in journalled, round_index=round_index)
        number += 1


def lease_count(problems: int, size: int) -> int:
    """Leases that so many problems make, `size` problems each."""
    return math.ceil(problems / size)


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
        self._source = IteratedLeases(iter(()))
        self.committed_before: set[int] = set()
        self.is_shared = False

    @property
    def may_have_more(self) -> bool:
        return self._source.may_have_more

    def take(self) -> Lease | None:
        return self._source.take()

    def begin_round(self, round_index: int) -> None:
        """Removes what no commit covers, and begins with the round's first lease that is not committed."""
        shard_files.remove_uncommitted(self._run.location, round_index)
        self.committed_before, journalled = round_state(self._run, round_index)
        self._source = IteratedLeases(
            iter_leases(
                self._config.problems,
                size=self._config.storage.lease_problems,
                skip=self._skipped(round_index),
                left_out=left_out(self._run),
                journalled=journalled,
                round_index=round_index,
                in_modes=partial(in_modes, self._config),
            )
        )

    def _skipped(self, round_index: int) -> Container[int]:
        """The leases of a round that are not handed out."""
        del round_index
        return self.committed_before

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


class LabelledLeases(AllLeases):
    """The leases of a run that labels another: those that the other has committed (`RoundLeases`)."""

    def __init__(self, run: RunDir, config: RunConfig, source: RunDir) -> None:
        super().__init__(run, config)
        self._labelled = source

    def _skipped(self, round_index: int) -> Container[int]:
        return AllBut(self._labelled.committed(round_index) - self.committed_before)


class AllBut:
    """Contains every lease but these, as they are at the moment."""

    def __init__(self, wanted: Collection[int]) -> None:
        self._wanted = wanted

    def __contains__(self, number: object) -> bool:
        return number not in self._wanted


def round_state(run: RunDir, round_index: int) -> tuple[set[int], set[int]]:
    """The leases of a round that are committed, and those that are not and have a journal. Removes journals of
    committed leases, whose worker was killed before it did."""
    committed, journalled = run.committed(round_index), run.journalled(round_index)
    for lease in journalled & committed:
        segments.remove(run.location, segments.folder(lease, round_index))
    return committed, journalled - committed
