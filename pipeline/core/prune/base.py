"""What a pruning rule is and says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pipeline.records import DropReason, Trajectory


@dataclass(frozen=True, slots=True)
class Decision:
    """Keep or drop one trajectory, and why it is dropped."""

    keep: bool
    reason: DropReason | None = None


class Rule(Protocol):
    """Looks at the trajectories of one problem that are still in, and at all of them (`everyone`: dropped ones too,
    since a pass rate is over those), and names those that go. The order of the trajectories is the tree's own, so ties
    fall the same way whatever the order of arrival."""

    def drops(self, alive: Sequence[Trajectory], everyone: Sequence[Trajectory]) -> Mapping[str, DropReason]:
        """trajectory_id ─► reason, for those that go."""
        ...
