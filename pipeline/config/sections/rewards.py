"""Configures reward models: which are served during a run, and how `berry train` makes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from berry.pipeline.config.reading.base import Section


class FreshBackbone(Section):
    """A small transformer of our own with random weights, over the generator's token ids."""

    type: Literal["fresh"] = "fresh"
    layers: int = Field(default=2, ge=1)
    """Transformer layers."""
    hidden: int = Field(default=64, ge=8)
    """Width of the layers."""
    heads: int = Field(default=4, ge=1)
    """Attention heads."""
    max_tokens: int = Field(default=4096, ge=16)
    """Longest sequence it can read."""

    @model_validator(mode="after")
    def _heads_divide(self) -> FreshBackbone:
        if self.hidden % (2 * self.heads):
            raise ValueError(f"hidden {self.hidden} must be a multiple of twice the heads ({self.heads})")
        return self


class PretrainedBackbone(Section):
    """A causal language model that becomes a value model: its output layer is replaced by one number."""

    type: Literal["pretrained"] = "pretrained"
    model: str = Field(default="generator", min_length=1)
    """Alias, folder or Hugging Face id; `generator`: the model that generates in the run."""


BackboneConfig = Annotated[PretrainedBackbone | FreshBackbone, Field(discriminator="type")]


class Lora(Section):
    """Low-rank adapters in place of training all weights (Hu et al. 2021); merged into the weights at the end."""

    rank: int = Field(default=16, ge=1)
    """Rank of the adapters."""
    alpha: int = Field(default=32, ge=1)
    """Scale of the adapters: they count `alpha / rank`."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the adapters' inputs dropped in training."""
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"
    """Modules that get adapters; `all-linear`: every linear layer but the output."""


class RewardTraining(Section):
    """How a PRM or ORM is trained (`berry train`, and between rounds)."""

    backbone: BackboneConfig | None = None
    """null: the generator's own model; a fresh one where the generator is synthetic."""
    lora: Lora | None = None
    """Train adapters in place of all weights; null: all weights."""
    targets: Literal["soft", "hard"] = "soft"
    """Of a PRM: the estimated chance that a continuation of the step passes, or whether any has. An ORM's target is the
    verdict."""
    labels: tuple[Literal["estimate", "survivors", "pooled"], ...] = ("estimate",)
    """Kinds of values that a PRM learns from. Only `estimate` is unbiased: `survivors` (of branches that were not cut,
    in runs without spared ones) and `pooled` (runs of earlier versions) are too high or too low, and have to be asked
    for."""
    balance: bool = True
    """Weigh labels so that good and bad ones count the same."""
    blend: bool = True
    """Join the model's value with the log-probability that the engine recorded for what it wrote
    (`pipeline/rewards/model/blend.py`), wherever that is known."""
    weigh_by_visits: bool = True
    """Weigh a step's label by how sure it is: the inverse variance of an estimate from so many leaves."""
    min_visits: int = Field(default=1, ge=1)
    """Leave out steps with fewer independent continuations behind their label. Refused above 1 where
    branches were cut: how many are left says how good they looked (docs/labels.md)."""
    min_each: int = Field(default=8, ge=1)
    """Fewest positive, and negative, trajectories to train on; with less, training is refused."""
    per_problem: int = Field(default=64, ge=1)
    """Most trajectories of one problem, drawn at random."""
    most: int | None = Field(default=None, ge=1)
    """Most trajectories to train on; null: no limit. Files are drawn at random and read until there are so many."""
    sample_size: int = Field(default=10_000, ge=1)
    """Most held-out, and as many validation and training trajectories, that lie in memory: the report's figures, the
    blend and the threshold are from them. Of more, problems are drawn by their ids."""
    processes: int = Field(default=1, ge=1)
    """Processes that train together, through Ray Train, each with a share of every step: a GPU each where the cluster
    has some, else a core. The weights are those of one process, to rounding."""
    heldout_share: float = Field(default=0.2, gt=0, lt=0.9)
    """Share of problems never trained on, picked by their ids; the report's figures are from them."""
    validation_share: float = Field(default=0.1, gt=0, lt=0.5)
    """Share of problems for early stopping, the blend and the choice of the threshold."""
    split_seed: int = Field(default=0, ge=0)
    """Another seed holds out other problems."""
    epochs: float = Field(default=8.0, gt=0)
    """At most; early stopping may end sooner."""
    learning_rate: float | None = Field(default=None, gt=0)
    """null: 1e-3 for a fresh backbone, 3e-4 below 100 million parameters or with LoRA, else 1e-5."""
    head_learning_rate: float | None = Field(default=None, gt=0)
    """Of the new output layer; null: ten times learning_rate."""
    warmup_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the steps in which the learning rate rises."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay of AdamW."""
    batch_size: int = Field(default=16, ge=1)
    """Trajectories a batch, of all processes together."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are added up before a step."""
    packing: Literal["auto", "always", "never"] = "auto"
    """Whether trajectories that share a prefix are one sequence in which it is computed once: `auto`, where this
    model's gradients over a small tree are the same either way (tried before training); `always` refuses the model
    otherwise. A batch then holds four neighbourhoods of trees in place of as many strangers as it has
    trajectories; `never` brings those back."""
    pack_tokens: int = Field(default=8192, ge=16)
    """Most tokens of one packed pass; a trajectory that is longer is one by itself."""
    evaluate_every: float = Field(default=0.5, gt=0, le=1)
    """Validate, and save a checkpoint, after each such share of an epoch."""
    patience: int = Field(default=3, ge=1)
    """Validations without a better loss after which training ends."""
    max_tokens: int = Field(default=4096, ge=16)
    """Longer trajectories are left out, and counted."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the weights in training."""
    seed: int = Field(default=0, ge=0)
    """Of the order of examples, fresh weights and dropout."""

    @model_validator(mode="after")
    def _something_is_left(self) -> RewardTraining:
        if self.heldout_share + self.validation_share >= 0.95:
            raise ValueError("heldout_share and validation_share together leave nothing to train on")
        return self


class StepTag(Section):
    """For published PRMs that score at a tag put after every step."""

    tag: str = Field(default="<extra_0>", min_length=1)
    """One token of the model's tokenizer."""
    good: str | None = None
    """For language models that answer a tag with a token: the one for a good step ("+"); null: the model has a head."""
    bad: str | None = None
    """Token of the tag's place that stands for a bad step; null: there is none."""

    @model_validator(mode="after")
    def _both_or_none(self) -> StepTag:
        if (self.good is None) != (self.bad is None):
            raise ValueError("good and bad belong together: give both, or neither")
        return self


class ServedReward(Section):
    """A reward model in the run."""

    model: str = Field(min_length=1)
    """Folder that `berry train` wrote, or of a published PRM or ORM (sequence classifier); or its Hugging Face id."""
    backend: Literal["auto", "transformers", "vllm"] = "auto"
    """`transformers` keeps prefixes itself; `vllm` is its pooling engine. auto: vllm on GPUs for models that it serves
    with its prefix cache, else transformers."""
    activation: Literal["sigmoid", "identity"] = "sigmoid"
    """Of a single output: identity for classifiers whose output is to be taken as it is."""
    blend: bool = True
    """Join its value with the engine's log-probabilities, where `berry train` has found how; false: the model alone."""
    step_tag: StepTag | None = None
    """Set for published PRMs with step tags."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of the weights."""
    max_batch: int = Field(default=64, ge=1)
    """Requests scored together."""
    max_wait_ms: float = Field(default=5.0, ge=0)
    """Longest wait of a lone request for company."""
    batch_tokens: int = Field(default=8192, ge=16)
    """Places of one forward pass, kept prefixes included."""
    keep_tokens: int = Field(default=65536, ge=0)
    """Tokens whose keys and values are kept (transformers)."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Passed on to vLLM's AsyncEngineArgs."""


class NamedReward(ServedReward):
    """A reward model among several, by name."""

    what: Literal["prm", "orm"]
    """prm: scores every step, in place of `rewards.prm`; orm: scores whole trajectories, in place of `rewards.orm`."""


RewardName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=40)]
OTHER_ROLES = ("prm", "orm", "policy", "generator")
"""Names that stand for something else where weights and models are told by name."""


class Rewards(Section):
    """The reward models of a run. `prm` answers in-loop scores, `orm` scores finished trajectories."""

    prm: ServedReward | None = None
    """Process reward model: scores every step."""
    orm: ServedReward | None = None
    """Outcome reward model: scores whole trajectories."""
    models: dict[RewardName, NamedReward] = Field(default_factory=dict)
    """Reward models by name, each with weights of its own, for `rollout.prm`, `rollout.orm` and those of modes."""
    training: RewardTraining = RewardTraining()
    """How rounds and `berry train` make new ones."""

    @field_validator("models")
    @classmethod
    def _names_are_free(cls, models: dict[str, NamedReward]) -> dict[str, NamedReward]:
        taken = next((name for name in OTHER_ROLES if name in models), None)
        if taken is not None:
            raise ValueError(f"{taken!r} stands for something else: give the model another name")
        return models

    @property
    def each(self) -> dict[str, ServedReward]:
        """The models that the run asks, by name: `prm` and `orm`, and those that have names of their own."""
        unnamed = {name: model for name, model in (("prm", self.prm), ("orm", self.orm)) if model is not None}
        return {**unnamed, **self.models}

    @property
    def served(self) -> tuple[str, ...]:
        """Names of the models that the run asks."""
        return tuple(self.each)

    def key_of(self, name: str) -> str:
        """The configuration's key of the model of this name."""
        return f"rewards.models.{name}" if name in self.models else f"rewards.{name}"
