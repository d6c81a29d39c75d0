"""Annotates every step of a solution with completions sampled from it (Math-Shepherd, Wang et al. 2024).

    soft label of step i = share of the k completions from its end that reach the right answer        (eq. 4)
    hard label of step i = whether any of them does                                                    (eq. 3)

Solutions are sampled to the end, cut at their step ends, and completed k times from each but the last, whose value is
the verdict. Rollouts: chains · (1 + (steps - 1) · k). `labels.step_labels` reads the estimates; the solution's own
continuation is one more sample of each prefix it runs through.

Degenerate case: a solution of one step gets no completions, its label is the verdict; truncated ones get none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from berry.pipeline.config.sections.rollout.policies import PolicyConfig
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.tree import TreeNode


class Shepherd(PolicyConfig):
    """Labels every step of a solution by completions sampled from it (Math-Shepherd, Wang et al. 2024)."""

    type: Literal["shepherd"] = "shepherd"
    chains: int = Field(default=1, ge=1)
    """Solutions a problem to annotate."""
    completions: int = Field(default=8, ge=1)
    """Completions sampled from each step."""
    max_steps: int | None = Field(default=None, ge=1)
    """Annotate only the first so many steps; null: all."""


class ShepherdSearch(Search[Shepherd]):
    """Completes every step of each chain."""

    config = Shepherd
    needs_steps = True
    keeps_detail = True
    wants_token_ends = True
    cuts = False
    leaves_known = False  # completions follow the solutions' steps

    @classmethod
    def width(cls, policy: Shepherd) -> int:
        return policy.chains

    @classmethod
    def planned_leaves(cls, policy: Shepherd) -> int:
        """For solutions of one step: how many more follow is known once the solutions are there."""
        return policy.chains

    @classmethod
    def conflicts(cls, policy: Shepherd, rollout: Rollout) -> Iterator[str]:
        most = rollout.budget.max_leaves
        if most is not None and policy.chains + policy.completions > most:
            yield (
                f"rollout.policy (shepherd): {policy.chains} chains and {policy.completions} completions of one step "
                f"are more than rollout.budget.max_leaves = {most}: not one step would be annotated"
            )

    def begin(self) -> None:
        self.grow(self.tree.root, self.policy.chains, to_end=True)

    def on_leaf(self, node: TreeNode) -> None:
        if self.source(node) is not self.tree.root or node.drop is not None:
            for part in self.sample(node):
                self.tree.forget_detail(part)
            return
        pieces = self.cut_into_steps(node)[:-1]
        for piece in pieces[: self.policy.max_steps]:
            self.grow(piece, self.policy.completions, to_end=True)
