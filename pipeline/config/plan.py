"""Configures a capacity plan: the work, and the factors by which hardware falls short of its sheet.

PlanConfig: workload (problems, lengths, policy, verifiers, rewards) + calibration ─► planning.capacity
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.sections.rollout.policies import Policy, default_policy

Dtype = Literal["fp32", "bf16", "fp8", "int8"]


class VerifierTime(Section):
    """One kind of check: how often, and how long a sandbox slot is held."""

    name: str
    """Name of the kind of check."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Share of the trajectories it checks."""
    mean_ms: float = Field(gt=0, le=86_400_000)
    """Mean time a slot is held, in ms."""
    p99_ms: float | None = Field(default=None, gt=0)
    """Time that 1% exceed, in ms; None: an exponential tail (4.6 × the mean)."""
    cpu_share: float = Field(default=1.0, gt=0, le=1)
    """Part of that time in which a core is busy; the rest is waiting."""


class CallTime(Section):
    """Tool calls that the model makes on the way: how many, and how long a sandbox slot is held by one."""

    per_trajectory: float = Field(gt=0, le=10_000)
    """Mean calls of one trajectory, those included that it shares with others of its tree."""
    made_share: float = Field(default=1.0, gt=0, le=1)
    """Share of a tree's calls that are made; the others repeat a sequence of calls that was made there before."""
    mean_ms: float = Field(gt=0, le=86_400_000)
    """Mean time a slot is held, in ms, the rebuilding of sessions included."""
    p99_ms: float | None = Field(default=None, gt=0)
    """Time that 1% exceed, in ms; None: an exponential tail (4.6 × the mean)."""
    cpu_share: float = Field(default=1.0, gt=0, le=1)
    """Part of that time in which a core is busy; the rest is waiting."""
    result_tokens: float = Field(default=32, ge=0)
    """Mean tokens that the model is given as a result; they count as part of a trajectory, and are not generated."""


class RewardUse(Section):
    """A value model on the reward actors."""

    name: str = "prm"
    """Name of the value model."""
    model: str
    """Model sheet, or the path of a config.json."""
    per: Literal["trajectory", "step"] = "trajectory"
    """Read each whole trajectory once, or score each step as it comes (earlier steps from the prefix
    cache)."""
    dtype: Dtype = "bf16"
    """Number format of its weights."""


class Paced(Section):
    """The synthetic engine's pace: GPU time is simulated, whatever the hardware."""

    tokens_per_s: float = Field(gt=0)
    """Decoding speed of each running sequence."""
    prefill_tokens_per_s: float | None = Field(default=None, gt=0)
    """Speed at which each sequence reads what is not cached; None: no time."""


class Workload(Section):
    """The work that is planned."""

    problems: int = Field(ge=1, le=10**12)
    """Problems."""
    model: str | None = None
    """Model sheet (configs/models), or the path of a config.json or of a folder with one."""
    paced: Paced | None = None
    """In place of a model: engines of a set pace (synthetic)."""
    weights: Dtype = "bf16"
    """Number format of the weights and of the arithmetic."""
    kv: Dtype = "bf16"
    """Number format of the KV cache."""
    prompt_tokens: float = Field(gt=0, le=10**7)
    """Mean tokens of a prompt."""
    output_tokens: float = Field(gt=0, le=10**7)
    """Mean tokens of one trajectory after the prompt, results of tools included."""
    output_scv: float = Field(default=0.5, ge=0, le=100)
    """Spread of the length: variance over squared mean."""
    output_within: float = Field(default=0.5, ge=0, le=1)
    """Share of that variance that lies within a problem, rather than between problems."""
    policy: Policy = Field(default_factory=lambda: default_policy(n=8))
    """Which search grows the trees."""
    step_tokens: float = Field(default=64, gt=0)
    """Mean tokens of a step."""
    max_depth: int = Field(default=64, ge=1)
    """Steps after which a tree no longer branches (rollout.budget.max_depth)."""
    pass_rate: float = Field(default=0.5, ge=0, le=1)
    """Chance that an independent answer passes."""
    pass_rate_alike: float = Field(default=0.3, ge=0, le=1)
    """How alike the trajectories of a problem are in passing (intraclass correlation): 0 where all problems are equally
    hard, 1 where each is always or never solved."""
    keep_rate: float = Field(default=1.0, gt=0, le=1)
    """Share of the passing ones that pruning keeps."""
    kept_share: float | None = Field(default=None, ge=0, le=1)
    """Share of all trajectories that is kept, as a run shows it; null: pass_rate times keep_rate. A search that gives
    weak branches up keeps more than that."""
    verifiers: tuple[VerifierTime, ...] = Field(min_length=1)
    """Kinds of checks; their shares sum to 1."""
    calls: CallTime | None = None
    """Tool calls; None: the model has no tools."""
    rewards: tuple[RewardUse, ...] = ()
    """Value models on the reward actors."""
    max_num_seqs: int = Field(default=256, ge=1)
    """Sequences an engine decodes at once, where memory allows."""
    in_flight: float = Field(default=1.5, ge=1, le=100)
    """Trajectories under way (generating, queued or being checked) for each sequence that an engine can
    decode."""
    verdict_wait_share: float = Field(default=0.1, gt=0)
    """Slots are enough when 99% of the checks wait no longer than this share of the time that a
    trajectory takes to generate: late verdicts delay early stops and hold trees open."""
    tokens_per_s_user: float | None = Field(default=None, gt=0)
    """Least speed of one sequence, in tokens/s; None: as slow as gives the most tokens."""
    block_size: int = Field(default=16, ge=1)
    """Tokens a block of the prefix cache."""
    prefix_caching: bool = True
    """Whether engines read shared prefixes once."""

    @property
    def kept(self) -> float:
        """Kept trajectories for each that is made, in [0, 1]."""
        return self.pass_rate * self.keep_rate if self.kept_share is None else self.kept_share

    @model_validator(mode="after")
    def _model_or_pace(self) -> Workload:
        if (self.model is None) == (self.paced is None):
            raise ValueError("needs a `model` (a sheet of configs/models), or `paced` for a synthetic engine")
        return self

    @model_validator(mode="after")
    def _results_leave_room(self) -> Workload:
        given = self.calls.per_trajectory * self.calls.result_tokens if self.calls else 0.0
        if given >= self.output_tokens:
            raise ValueError(
                f"calls: {given:g} tokens of results a trajectory are as many as output_tokens {self.output_tokens:g}, "
                "which includes them: the model has to write some itself"
            )
        return self

    @model_validator(mode="after")
    def _shares_sum_to_one(self) -> Workload:
        total = sum(v.share for v in self.verifiers)
        if abs(total - 1) > 1e-6:
            parts = " + ".join(f"{v.name} {v.share:g}" for v in self.verifiers)
            raise ValueError(f"verifiers[].share must sum to 1, got {parts} = {total:g}")
        return self


class Calibration(Section):
    """How far real hardware stays behind its sheet. Defaults are assumptions; `berry plan --calibrate
    RUN` sets them."""

    source: str = "defaults: assumptions, not measurements"
    """Where the factors come from."""
    compute_efficiency: float = Field(default=0.5, gt=0, le=1)
    """Share of peak FLOP/s in prefill and large batches (published serving and training figures: 0.3 to
    0.6)."""
    memory_efficiency: float = Field(default=0.7, gt=0, le=1)
    """Share of peak memory bandwidth in decoding (published serving figures: 0.6 to 0.8)."""
    step_overhead_ms: float = Field(default=2.0, ge=0)
    """Fixed time of one decoding step outside the model, in ms."""
    memory_share: float = Field(default=0.9, gt=0, le=1)
    """Share of device memory for weights and KV cache (vLLM's gpu_memory_utilization)."""
    engine_scale: float = Field(default=1.0, gt=0)
    """Measured over modelled speed of the engines: what one finished run can tell of all the above
    together."""
    device: str | None = None
    """Hardware sheet that `engine_scale` was measured on, and alone is used for; None: for all."""
    verify_scale: float = Field(default=1.0, gt=0)
    """Measured over stated verifier time."""
    verify_overhead_ms: float = Field(default=0.0)
    """Time that a slot is held beyond the verifier's stated time without computing, in ms: starting, sending, reading,
    on idle cores."""
    cpu_overhead_ms: float = Field(default=2.0)
    """CPU time of a check or a tool call beyond its stated time, in ms; counts where paced engines share cores with
    sandboxes."""
    orchestration_ms: float = Field(default=0.5, ge=0)
    """Time of a rollout actor's own thread for one trajectory, in ms, where the four keys below are not all set."""
    vllm_token_us: float | None = Field(default=13, ge=0)
    """Time of a rollout actor's thread in vLLM for a generated token, in µs. This key and the three that follow are
    measured by tests/benchmarks/feeder.py, on one shared EPYC core; null: unknown, and `orchestration_ms` stands for
    all. Paced engines have no such part."""
    vllm_request_us: float | None = Field(default=190, ge=0)
    """Time of a rollout actor's thread in vLLM for a request, which is one sampled sequence, in µs."""
    own_token_us: float | None = Field(default=18, ge=0)
    """Time of the same thread in Berry for a generated token, in µs: search, journal and files."""
    own_request_us: float | None = Field(default=410, ge=0)
    """Time of the same thread in Berry for a request, in µs."""
    train_efficiency: float | None = Field(default=None, gt=0, le=1)
    """Share of peak FLOP/s that a training beside rounds reaches (`rounds.overlap`); null: `train_tflops` of the
    hardware sheet where it was measured, else the time of a training is unknown."""
    arrival_scv: float = Field(default=1.0, ge=0)
    """Burstiness with which trajectories end: 1 for independent ones, more for siblings that end
    together."""
    bytes_scale: float = Field(default=1.0, gt=0)
    """Measured over modelled bytes on storage."""


class PlanConfig(Section):
    """A file that `berry plan` reads."""

    name: str = "plan"
    """Title of the plan."""
    workload: Workload
    """The work."""
    clusters: tuple[str, ...] = ("hgx-h100", "gb200-nvl72", "trainium2")
    """Shipped clusters, or paths, compared when --cluster is not given."""
    prices: Annotated[str, Field(min_length=1)] = "list"
    """Price sheet (configs/prices), or a path."""
    calibration: Calibration = Calibration()
    """How far real hardware stays behind its sheet."""
