"""Configures rounds: generate, learn from what was generated, take the new weights, generate again."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.sections.rewards import Lora


class PolicyTraining(Section):
    """What every way of training the generator between rounds is told."""

    start: Literal["base", "latest"] = "base"
    """Weights that each training starts from: `base`, those that `engine` names, anew after every round (STaR,
    Zelikman et al. 2022; rejection sampling, Yuan et al. 2023), or `latest`, those of the round before."""
    epochs: float = Field(default=2.0, gt=0)
    """Passes over the trajectories."""
    learning_rate: float | None = Field(default=None, gt=0)
    """null: 3e-4 below 100 million parameters or with LoRA, else 1e-5."""
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    batch_size: int = Field(default=16, ge=1)
    """Trajectories a batch, at least: whole problems are taken until so many are there."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are added up before a step of the optimiser."""
    packing: Literal["auto", "always", "never"] = "auto"
    """Whether trajectories that share a prefix are one sequence in which it is computed once: `auto`, where the
    gradients of this model over a small tree are the same either way (tried before training); `always` refuses the
    model otherwise."""
    pack_tokens: int = Field(default=8192, ge=16)
    """Most tokens of one pass. Trees that are larger are cut at branches; a trajectory that is longer is a pass by
    itself."""
    per_problem: int = Field(default=8, ge=1)
    """Most trajectories of one problem, so that easy problems do not crowd out the others."""
    all_rounds: bool | None = None
    """Learn from the trajectories of every round so far, or of the last alone; null: of every round where `start` is
    `base`, of the last where it is `latest`, since those weights have learned from the earlier rounds already."""
    most: int | None = Field(default=None, ge=1)
    """Most trajectories in all; null: no limit. Files are drawn at random and read until there are so many, of the last
    one problems are drawn."""
    shuffle_buffer: int = Field(default=4096, ge=1)
    """Trajectories that lie in memory to be shuffled. Files are read in an order drawn at random, and trees are drawn
    from those that lie here: more mixes better, and takes more memory."""
    lora: Lora | None = None
    """Train adapters in place of all weights; null: all weights."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the weights in training."""
    processes: int = Field(default=1, ge=1)
    """Processes that train together, through Ray Train, each with a share of every step: a GPU each where the cluster
    has some, else a core. The weights are those of one process, to rounding."""
    sharding: Literal["none", "full"] = "none"
    """What each of several processes holds while they train: `none`, the whole model, its gradients and the optimiser's
    state (DDP); `full`, a part of each (FSDP), for models of which a GPU holds the weights, and not four times that."""
    min_kept: int = Field(default=16, ge=1)
    """With fewer trajectories to learn from the generator stays as it is."""
    seed: int = Field(default=0, ge=0)
    """Of the order of problems and dropout."""

    @model_validator(mode="after")
    def _shards_whole_weights(self) -> PolicyTraining:
        if self.sharding == "full" and self.lora is not None:
            raise ValueError(
                "sharding: full divides all weights, and lora trains adapters alone: leave one of them out"
            )
        return self

    @property
    def learns_from_all_rounds(self) -> bool:
        """Whether the trajectories of earlier rounds are learned from again."""
        return self.start == "base" if self.all_rounds is None else self.all_rounds


class SftTraining(PolicyTraining):
    """Fine-tuning of the generator on what it kept (rejection sampling; Zelikman et al. 2022, Yuan et al. 2023)."""

    type: Literal["sft"] = "sft"
    learn_from: Literal["kept", "all"] = "kept"
    """`all`: from every complete trajectory, dropped ones too: the control that shows what pruning is worth."""


class PolicyGradientTraining(PolicyTraining):
    """What the two policy gradients share: the clipped ratio to the policy that sampled (Schulman et al. 2017)."""

    start: Literal["base", "latest"] = "latest"
    """Weights that each training starts from: `latest`, those that sampled the round, which a gradient of their own
    samples needs; or `base`, those that `engine` names."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the trajectories. Each further one is further from the policy that sampled them."""
    per_problem: int = Field(default=64, ge=1)
    """Most trajectories of one problem."""
    clip_low: float = Field(default=0.2, gt=0, lt=1)
    """A ratio below one less this teaches nothing more where the advantage is negative."""
    clip_high: float = Field(default=0.2, gt=0)
    """A ratio above one and this teaches nothing more where the advantage is positive; DAPO (Yu et al. 2025) has
    0.28."""
    max_ratio: float = Field(default=3.0, gt=1)
    """Ratios are cut here where the advantage is negative, which the clip leaves unbounded (Ye et al. 2020)."""
    loss_mean: Literal["token", "sequence"] = "token"
    """`token`: every token of a step weighs the same (DAPO); `sequence`: every trajectory does (GRPO as published,
    Shao et al. 2024), which favours short right answers and long wrong ones."""
    kl: float = Field(default=0.0, ge=0)
    """Weight of the divergence from the weights that `engine` names (Schulman's estimator of low variance)."""
    max_gap: float = Field(default=0.5, gt=0)
    """Nats a token by which the stored log-probabilities may differ, in the mean, from those of the weights that
    training starts from. Beyond it the trajectories are another policy's, and training is refused."""


class GrpoTraining(PolicyGradientTraining):
    """Group-relative policy optimisation: a trajectory's advantage is its reward less the mean of its problem's."""

    type: Literal["grpo"] = "grpo"
    scale: Literal["deviation", "none"] = "deviation"
    """Divide advantages by the standard deviation of a problem's rewards (GRPO), or not (Dr. GRPO, Liu et al. 2025)."""


class TreeTraining(PolicyGradientTraining):
    """Policy gradient of steps: a segment's advantage is the value at its end less that at its beginning."""

    type: Literal["tree"] = "tree"


class DpoTraining(PolicyTraining):
    """Direct preference optimisation (Rafailov et al. 2023) on siblings: of two responses that share a prefix the one
    whose next step is worth more is preferred."""

    type: Literal["dpo"] = "dpo"
    start: Literal["base", "latest"] = "latest"
    """Weights that each training starts from, and is compared with."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the pairs."""
    per_problem: int = Field(default=16, ge=1)
    """Most pairs of one problem."""
    beta: float = Field(default=0.1, gt=0)
    """How much a difference in log-probability counts."""
    min_margin: float = Field(default=0.0, ge=0, le=1)
    """By how much the values of two siblings must differ."""
    min_visits: int = Field(default=1, ge=1)
    """Independent continuations that must stand behind each of the two values."""
    certain: bool = False
    """Only siblings whose 95% intervals do not overlap."""


PolicyStep = Annotated[SftTraining | GrpoTraining | TreeTraining | DpoTraining, Field(discriminator="type")]


class Rounds(Section):
    """Generate, learn from what was generated, take the new weights, generate again."""

    count: int = Field(default=1, ge=1)
    """How many times to generate."""
    train: tuple[Literal["prm", "orm"], ...] = ("prm",)
    """Reward models to train after each round but the last, and to use from the next one on."""
    policy: PolicyStep | None = None
    """Train the generator too; null: it stays as it is."""
    overlap: bool = False
    """Train on a round while the next one generates, in processes with resources of their own
    (`cluster.roles.train`), so that no engine waits for a training. A round is then made with weights that have not
    learned from the last `max_staleness` rounds before it."""
    max_staleness: int = Field(default=1, ge=1)
    """With `overlap`: trainings by which the weights of a round are behind those that it would have without. A round
    waits where the training that it needs goes on yet, and takes no newer one, so that a run that was killed makes the
    rounds that an undisturbed one makes."""

    @model_validator(mode="after")
    def _something_overlaps(self) -> Rounds:
        if self.overlap and self.policy is None and not self.train:
            raise ValueError(
                "overlap: true, and nothing is trained: give policy, or reward models in train, or leave overlap out"
            )
        return self

    def trainings_behind(self, round_index: int) -> int:
        """How many trainings the weights have been through that a round is made with: one after each round before it,
        but the last `max_staleness` where they overlap."""
        return max(0, round_index - (self.max_staleness if self.overlap else 0))

    @field_validator("policy", mode="before")
    @classmethod
    def _sft_by_default(cls, given: Any) -> Any:
        return {"type": "sft", **given} if isinstance(given, dict) else given
