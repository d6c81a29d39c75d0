"""Defines what a pruning rule is and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from msgspec import Struct

from berry.pipeline.core.values.estimate import UNKNOWN, Value
from berry.pipeline.records import DropReason, Trajectory


class Decision(Struct, frozen=True, gc=False):
    """Keep or drop one trajectory, and why it is dropped."""

    keep: bool
    reason: DropReason | None = None


class Digests(Protocol):
    """The digests of responses kept so far, in memory or, of very many, on a disk (`storage.digest_set`)."""

    def __contains__(self, digest: bytes, /) -> bool:
        """Whether it was added before."""
        ...

    def add(self, digest: bytes, /) -> None:
        """Adds one that is not there yet."""
        ...


@dataclass(frozen=True, slots=True)
class Pool:
    """What a rule may look at beside the living: all trajectories of the problem, dropped ones too (a pass rate is
    over those), the digests of responses kept in other problems, and the unbiased value of the problem's root with its
    interval, whose `value` is None where there is none."""

    everyone: Sequence[Trajectory]
    seen: Digests = field(default_factory=set[bytes])
    value: Value = UNKNOWN

    @property
    def pass_rate(self) -> float | None:
        """The problem's pass rate; None: there is no unbiased estimate of it. It may exceed 1 where branches were
        spared."""
        return self.value.value


class Rule(Protocol):
    """Names those of one problem's living trajectories that go. They come in the tree's own order, so that ties fall
    the same way whatever the order of arrival. A rule's class has the class that configures it as `config`, and is made
    with an instance of that."""

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        """trajectory_id ─► reason, for those that go."""
        ...
