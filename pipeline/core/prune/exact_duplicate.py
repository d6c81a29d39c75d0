"""Keeps the first of responses that are equal up to white space, across all problems pruned with the same `seen`. Drops
as `duplicate`.

Only what is still alive when this rule comes is remembered, so that put after `verdict` a wrong copy hides no right
one. Short responses ("42") are left alone: they are equal by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import ClassVar, Literal

from pydantic import Field

from berry.pipeline.config.sections.rollout.pruning import RuleConfig
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.records import DropReason, Trajectory


class ExactDuplicateRule(RuleConfig):
    """Keep one of responses that are equal up to white space, across problems: of a lease while the run goes on, since
    leases are committed apart; of the whole run, all rounds, in `berry reprune`."""

    type: Literal["exact_duplicate"] = "exact_duplicate"
    min_tokens: int = Field(default=64, ge=0)
    """Shorter responses are left alone: they can be equal by chance."""


class ExactDuplicates:
    """Drops responses that were kept before."""

    config: ClassVar = ExactDuplicateRule

    def __init__(self, config: ExactDuplicateRule) -> None:
        self.rule = config

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        """Drops each response whose words, spaces aside, an earlier one of the pool had."""
        dropped: dict[str, DropReason] = {}
        for trajectory in alive:
            if trajectory.n_tokens < self.rule.min_tokens:
                continue
            key = blake2b(" ".join(trajectory.response.split()).encode(), digest_size=16).digest()
            if key in pool.seen:
                dropped[trajectory.trajectory_id] = DropReason.DUPLICATE
            else:
                pool.seen.add(key)
        return dropped
