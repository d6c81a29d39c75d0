"""Grows a tree with set branch factors: every node at depth d has b_d children, each one step long.

    leaves = b_0 · b_1 · … · b_{D-1}; past the list each node has one child

Past the list a node is completed in one request, since nothing branches there any more (step by step only if
an in-loop cut is to look at the steps). Degenerate cases: [n] is best_of_n; a list of ones is one chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Literal

from pydantic import field_validator

from berry.pipeline.config.sections.rollout.policies import PolicyConfig
from berry.pipeline.config.sections.rollout.rollout import Rollout, TokensStep
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.tree import TreeNode


class Fixed(PolicyConfig):
    """A tree with set branch factors per depth."""

    type: Literal["fixed"] = "fixed"
    branching: tuple[int, ...] = (4, 2, 2)
    """Children of every node at depth 0, 1, 2 …; past the list each node has one child."""

    @field_validator("branching")
    @classmethod
    def _at_least_one_child(cls, branching: tuple[int, ...]) -> tuple[int, ...]:
        if not branching or min(branching) < 1:
            raise ValueError(f"branching must be a list of numbers >= 1, got {list(branching)}")
        return branching


class FixedSearch(Search[Fixed]):
    """Grows every node by the branching of its depth."""

    config = Fixed

    @classmethod
    def width(cls, policy: Fixed) -> int:
        return policy.branching[0]

    @classmethod
    def planned_leaves(cls, policy: Fixed) -> int:
        return prod(policy.branching)

    @classmethod
    def conflicts(cls, policy: Fixed, rollout: Rollout) -> Iterator[str]:
        depths, step = len(policy.branching), rollout.step
        if depths > rollout.budget.max_depth:
            yield (
                f"rollout.policy.branching has {depths} depths, rollout.budget.max_depth allows "
                f"{rollout.budget.max_depth}"
            )
        if isinstance(step, TokensStep):
            fit = -(-rollout.sampling.max_tokens // step.tokens)
            if depths > fit > 1:
                yield (
                    f"rollout.policy.branching has {depths} depths, but steps of {step.tokens} tokens fit {fit} times "
                    f"into rollout.sampling.max_tokens = {rollout.sampling.max_tokens}"
                )

    def begin(self) -> None:
        self._branch(self.tree.root)

    def _branch(self, node: TreeNode) -> None:
        branching = self.policy.branching
        n = branching[node.steps] if node.steps < len(branching) else 1
        last = node.steps + 1 >= len(branching) and self.rollout.cut is None
        self.grow(node, n, to_end=last)

    def on_step(self, node: TreeNode) -> None:
        self._branch(node)
