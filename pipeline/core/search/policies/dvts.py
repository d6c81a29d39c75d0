"""Grows `subtrees` beams that never compete, since one beam search soon holds variants of one prefix: diverse
verifier tree search (Beeching, Tunstall and Rush 2024).

    in each subtree, at each depth: the best of `width` next steps goes on

Only a subtree waits for its own candidates. Degenerate cases: one subtree is beam search with one beam; width = 1 is
best_of_n, step by step.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berry.pipeline.config.sections.rollout.policies import PolicyConfig
from berry.pipeline.core.search.policies.beam import FrontierSearch


class Dvts(PolicyConfig):
    """Diverse verifier tree search: independent subtrees, in each the best step goes on (Beeching et al. 2024)."""

    type: Literal["dvts"] = "dvts"
    subtrees: int = Field(default=4, ge=1)
    """Independent subtrees a problem."""
    width: int = Field(default=4, ge=1)
    """Next steps sampled in each of them at every depth."""
    scorer: str = "prm"
    """Value model that ranks the candidates."""
    spare: float = Field(default=0.05, ge=0, le=1)
    """Share of what is given up that is finished all the same, drawn at random, one continuation each, and then weighs
    1/spare: with it values and pass rates stay unbiased. 0: values are those of survivors, and no labels. Candidates
    are given up at every depth, so that it adds some spare * depth / 2 to the tokens: lower it for long answers."""


class DvtsSearch(FrontierSearch[Dvts]):
    """Runs beam searches that never look at each other."""

    config = Dvts

    @classmethod
    def dimensions(cls, policy: Dvts) -> tuple[int, int, int]:
        return policy.subtrees, 1, policy.width

    @classmethod
    def scorer(cls, policy: Dvts) -> str:
        return policy.scorer

    @classmethod
    def spared_share(cls, policy: Dvts) -> float:
        return policy.spare
