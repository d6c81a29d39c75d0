"""Says which problems are for training, validation and held-out figures: by their ids alone, the same in every round.

    a run's configuration ─► split_of ─► Split ─► reward training, fine-tuning, blend, audits, reports, exports

A variant goes with the problem it was made from, so that no paraphrase of a held-out problem is ever trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rewards import RewardTraining

SplitPart = Literal["train", "validation", "heldout"]


@dataclass(frozen=True, slots=True)
class Split:
    """How problem families are divided. Shares are of all families, in [0, 1); `seed` draws another division."""

    heldout_share: float = 0.0
    validation_share: float = 0.0
    seed: int = 0

    def part(self, family: str) -> SplitPart:
        """The part of a problem family (`variant_of`, else the problem's own id)."""
        drawn = draw(family, self.seed)
        if drawn < self.heldout_share:
            return "heldout"
        return "validation" if drawn < self.heldout_share + self.validation_share else "train"


def split_of(config: RunConfig) -> Split:
    """The one split of a run: that of its reward training, or of the defaults where it has none."""
    return split_of_training(RewardTraining() if config.rewards is None else config.rewards.training)


def split_of_training(settings: RewardTraining) -> Split:
    """The split that the settings of a training name."""
    return Split(settings.heldout_share, settings.validation_share, settings.split_seed)


def draw(family: str, seed: int = 0) -> float:
    """Draws a fixed, even number in [0, 1) for a problem family."""
    digest = blake2b(f"{seed}\x00{family}".encode(), digest_size=8, person=b"berry-split").digest()
    return int.from_bytes(digest, "big") / 2**64
