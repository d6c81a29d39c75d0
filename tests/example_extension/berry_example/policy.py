"""Sample in pairs: two answers at once, and two more as long as neither of the last two passes.

    y_1, y_2 ~ policy(· | prompt); stop when one passes, or after `pairs` pairs

Degenerate case: pairs = 1 is two independent samples.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berry.pipeline.config.sections.rollout.policies import PolicyConfig
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.tree import TreeNode


class PairsOfSamples(PolicyConfig):
    """Samples two by two until one passes."""

    type: Literal["pairs_of_samples"] = "pairs_of_samples"
    pairs: int = Field(default=2, ge=1)
    """Pairs a problem, at most."""


class PairsOfSamplesSearch(Search[PairsOfSamples]):
    """Asks for the next pair when both of the last one are checked."""

    config = PairsOfSamples
    works_on_steps = False

    @classmethod
    def width(cls, policy: PairsOfSamples) -> int:
        """Sequences of one problem that run at once."""
        return 2

    @classmethod
    def planned_leaves(cls, policy: PairsOfSamples) -> int:
        """Trajectories a problem, at most."""
        return 2 * policy.pairs

    def begin(self) -> None:
        """Asks for the first pair."""
        self._asked = 0
        self._ask()

    def _ask(self) -> None:
        self._asked += 1
        self.grow(self.tree.root, 2, to_end=True)

    def on_verdict(self, node: TreeNode) -> None:
        """Goes on when the pair is checked and neither passes."""
        if self.checked == 2 * self._asked and not self.passed and self._asked < self.policy.pairs:
            self._ask()

    def policy_state(self) -> object:
        """What the digest of a replay covers besides the tree."""
        return self._asked
