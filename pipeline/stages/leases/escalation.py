"""Makes the leases of problems that go on from one mode to the next, from what was committed of the leases before.

    lease k·S + s - 1 committed ─► LeaseReport.goes_on ─► StepLeases.take ─► lease k·S + s, with those of its problems

A lease before it that is still searched is waited for, and others are taken meanwhile; where the number of problems
that go on is limited, they are taken in order, so that it follows from what is committed which do.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.routing import EscalateRouting
from berry.pipeline.core.assignment.modes import AT, engine_of, given_id
from berry.pipeline.core.assignment.routing import allowed, order_of, steps_of
from berry.pipeline.stages.leases.lease import Lease, LeaseReport


@dataclass(slots=True)
class Outcomes:
    """Of each committed lease of a round the problems that go on, by their given ids; and the leases that were handed
    out and are not committed. `is_over`: none will be any more."""

    known: MutableMapping[int, list[str]]
    open: set[int] = field(default_factory=set)
    is_over: bool = False

    def settle(self, report: LeaseReport) -> None:
        """Takes what a committed lease reports."""
        self.open.discard(report.lease)
        self.known[report.lease] = report.goes_on

    def was_handed_out(self, lease: int) -> bool:
        """Whether a lease is searched, or has been."""
        return self.is_over or lease in self.known or lease in self.open


class StepLeases:
    """The leases of one step of a run that escalates: of the problems that go on to the mode `step` of its order.

    `base`: all leases of the round that follow from no other, in order; `done`: leases that are committed already."""

    def __init__(
        self,
        config: RunConfig,
        step: int,
        base: Iterator[Lease],
        outcomes: Outcomes,
        *,
        done: Container[int],
        journalled: Container[int] = (),
    ) -> None:
        assert isinstance(config.routing, EscalateRouting)
        self._routing = config.routing
        self._step = step
        self._first, self._mode = order_of(config)[0], order_of(config)[step]
        self._base = base
        self._outcomes = outcomes
        self._done = done
        self._journalled = journalled
        self._peeked: Lease | None = None  # the first of `base` whose lease before was not handed out yet
        self._waiting: list[Lease] = []  # of `base`, in order: their leases before are being searched
        self._next: Lease | None = None
        self.taken = 0  # problems that have gone on
        self.engine = engine_of(config, f"{AT}{self._mode}")
        self._steps = steps_of(config)

    @property
    def may_have_more(self) -> bool:
        """Whether a lease can be taken now."""
        if self._next is None:
            self._next = self._find()
        return self._next is not None

    def take(self) -> Lease | None:
        """The next lease; None where none can be made at the moment."""
        lease = self._next or self._find()
        self._next = None
        if lease is not None:
            self._outcomes.open.add(lease.number)
        return lease

    def take_of(self, base: int) -> Lease | None:
        """The lease that follows from the lease `base` and its followers, all of them committed; None where it was
        taken already, or is not there."""
        if self._next is None:
            self._next = self._find()
        if self._next is None or self._next.number // self._steps != base // self._steps:
            return None
        return self.take()

    def _find(self) -> Lease | None:
        while True:
            lease = self._first_ready()
            if lease is not None:
                if lease.number not in self._done:
                    return lease
            elif not self._advance():
                return None

    def _first_ready(self) -> Lease | None:
        """The first lease that can be made of those whose lease before was handed out."""
        for at, base in enumerate(self._waiting):
            asked = self._outcomes.known.get(base.number + self._step - 1)
            if asked is not None:
                del self._waiting[at]
                return self._following(base, allowed(self._routing, asked, self.taken))
            if self._routing.max_problems is not None:
                return None
        return None

    def _advance(self) -> bool:
        """Goes on to the next lease of `base`; False where its lease before was not handed out, or there is none."""
        base = self._peeked or next(self._base, None)
        if base is None or not self._outcomes.was_handed_out(base.number + self._step - 1):
            self._peeked = base
            return False
        self._peeked = None
        self._waiting.append(base)
        return True

    def _following(self, base: Lease, ids: Sequence[str]) -> Lease:
        self.taken += len(ids)
        wanted, number = set(ids), base.number + self._step
        problems = [
            problem.renamed(f"{given}{AT}{self._mode}", variant_of=problem.variant_of or given)
            for problem in base.problems
            if (given := given_id(problem.id, self._first)) in wanted
        ]
        return Lease(
            number,
            tuple(problems),
            resumed=number in self._journalled,
            round_index=base.round_index,
            engine=self.engine,
        )
