"""Diverse verifier tree search (Beeching, Tunstall and Rush 2024): beam search falls in love with one prefix, so
grow `subtrees` of them that never compete.

    in each subtree, at each depth: the best of `width` next steps goes on

Only a subtree waits for its own candidates. Degenerate cases: one subtree is beam search with one beam; width = 1 is
best_of_n, step by step.
"""

from __future__ import annotations

from berry.pipeline.config.policies import Dvts
from berry.pipeline.core.search.beam import BeamSearch


class DvtsSearch(BeamSearch):
    @property
    def _shape(self) -> tuple[int, int, int]:
        assert isinstance(self.rollout.policy, Dvts)
        return self.rollout.policy.subtrees, 1, self.rollout.policy.width

    @property
    def _scorer(self) -> str:
        assert isinstance(self.rollout.policy, Dvts)
        return self.rollout.policy.scorer
