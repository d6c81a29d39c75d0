"""Configures rounds: generate, learn from what was generated, take the new weights, generate again."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.sections.rewards import Lora


class PolicyTraining(Section):
    """Fine-tuning of the generator on what it kept (rejection sampling; Zelikman et al. 2022, Yuan et al. 2023)."""

    start: Literal["base", "latest"] = "base"
    """Weights that each fine-tuning starts from: `base`, those that `engine` names, anew after every round (STaR,
    Zelikman et al. 2022; rejection sampling, Yuan et al. 2023), or `latest`, those of the round before."""
    epochs: float = Field(default=2.0, gt=0)
    """Passes over the trajectories."""
    learning_rate: float | None = Field(default=None, gt=0)
    """null: 3e-4 below 100 million parameters or with LoRA, else 1e-5."""
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    batch_size: int = Field(default=16, ge=1)
    """Trajectories a step."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are added up before a step of the optimiser."""
    per_problem: int = Field(default=8, ge=1)
    """Most trajectories of one problem, distinct texts, so that easy problems do not crowd out the others."""
    all_rounds: bool | None = None
    """Learn from the trajectories of every round so far, or of the last alone; null: of every round where `start` is
    `base`, of the last where it is `latest`, since those weights have learned from the earlier rounds already."""
    learn_from: Literal["kept", "all"] = "kept"
    """`all`: from every complete trajectory, dropped ones too: the control that shows what pruning is worth."""
    most: int | None = Field(default=None, ge=1)
    """Most trajectories in all, drawn at random; null: no limit."""
    lora: Lora | None = None
    """Train adapters in place of all weights; null: all weights."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the weights in training."""
    min_kept: int = Field(default=16, ge=1)
    """With fewer trajectories to learn from the generator stays as it is."""
    seed: int = Field(default=0, ge=0)
    """Of the order of examples and dropout."""

    @property
    def learns_from_all_rounds(self) -> bool:
        """Whether the trajectories of earlier rounds are learned from again."""
        return self.start == "base" if self.all_rounds is None else self.all_rounds


class Rounds(Section):
    """Generate, learn from what was generated, take the new weights, generate again."""

    count: int = Field(default=1, ge=1)
    """How many times to generate."""
    train: tuple[Literal["prm", "orm"], ...] = ("prm",)
    """Reward models to train after each round but the last, and to use from the next one on."""
    policy: PolicyTraining | None = None
    """Fine-tune the generator too; null: it stays as it is."""
