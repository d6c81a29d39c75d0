"""Foretells the trainings that go on beside the rounds of a run (`rounds.overlap`): tokens, time, what bounds a round.

RunConfig, CapacityPlan ─► training_plan ─► TrainingPlan | None: hours of a training, GPUs held, round bound by

    tokens   = problems × trajectories learned from a problem × (prompt + output) × rounds learned from × epochs
    FLOP     = tokens × (2 + 4) × active parameters, and attention likewise    (+ one forward pass for a reference)
    hours    = FLOP / (processes × rate of one)

A backward pass is twice a forward pass. Sources: Kaplan et al. 2020 (6 FLOP a parameter and token); for the rate,
`train_tflops` of the hardware sheet, which was measured, or `calibration.train_efficiency` of its peak. Prefixes that
trajectories share count in each, as they are computed without packing, so that a packed training takes less.
"""

from __future__ import annotations

from dataclasses import dataclass

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rounds import DpoTraining, PolicyGradientTraining, PolicyTraining, SftTraining
from berry.pipeline.planning.capacity import CapacityPlan
from berry.pipeline.planning.formulas.roofline import token_flops
from berry.pipeline.planning.models import ModelSheet, model_sheet
from berry.pipeline.planning.sheets import Dtype, accelerator

_DTYPES: dict[str, Dtype] = {"float32": "fp32", "bfloat16": "bf16"}


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """The longest training that overlaps with a round, which is the last where each learns from all rounds before.

    `tokens`: read forward and backward in it; None where they can't be known. `hours`: of it, None where the tokens or
    the speed are not known; `why_unknown` says which then. `round_hours`: of the round that is generated beside it.
    `rewards_too`: reward models are trained after it, which takes time that is not in `hours`.
    """

    processes: int
    gpus: float
    cpus: float
    tokens: float | None
    hours: float | None
    round_hours: float
    why_unknown: str = ""
    rewards_too: bool = False

    @property
    def binds(self) -> str | None:
        """What a round's length follows: `generation` or `training`; None where the training's time is not known."""
        if self.hours is not None and self.hours > self.round_hours:
            return "training"
        return None if self.hours is None or self.rewards_too else "generation"


def train_flops(model: ModelSheet, length: float, *, reference: bool = False) -> float:
    """Computes the FLOP to learn from one token after `length` others: forward and backward, and forward once more
    through a reference."""
    return (4 if reference else 3) * token_flops(model, length)


def training_plan(config: RunConfig, made: CapacityPlan) -> TrainingPlan | None:
    """Plans the training beside a round; None for a run whose trainings do not overlap with its rounds."""
    rounds, role = config.rounds, made.cluster.roles.train
    if rounds is None or not rounds.overlap or rounds.count < 2:
        return None
    held = 0 if role is None else role.min
    gpus, cpus = (0.0, 0.0) if role is None else (held * role.gpus, held * role.cpus)

    def known(tokens: float | None, hours: float | None, why: str = "") -> TrainingPlan:
        return TrainingPlan(held, gpus, cpus, tokens, hours, made.totals.hours, why, rewards_too=bool(rounds.train))

    policy, w = rounds.policy, made.workload
    if role is None:
        return known(None, None, f"cluster {made.cluster.name} has no roles.train, so nothing says what it trains on")
    if policy is None:
        return known(None, None, "reward models alone are trained, whose steps are known when a round has been made")
    if isinstance(policy, DpoTraining):
        return known(None, None, "how many pairs a round gives follows from its values: nobody knows before")
    trajectories = _learned_from(policy, w.problems, made.tree.leaves, w.kept)
    trajectories *= rounds.count - 1 if policy.learns_from_all_rounds else 1
    trajectories = min(trajectories, policy.most or trajectories)
    length = w.prompt_tokens + w.output_tokens
    tokens = trajectories * length * policy.epochs
    if w.model is None:
        return known(tokens, None, "a synthetic engine has no model to count arithmetic of")
    rate, why = _rate(made, policy)
    if rate is None:
        return known(tokens, None, why)
    reference = isinstance(policy, PolicyGradientTraining) and policy.kl > 0
    flop = tokens * train_flops(model_sheet(w.model), length / 2, reference=reference)
    return known(tokens, flop / (policy.processes * rate) / 3600)


def _learned_from(policy: PolicyTraining, problems: float, leaves: float, kept: float) -> float:
    """Trajectories of one round that are learned from: the kept ones, or all; no more than `per_problem` of each."""
    of_kept = isinstance(policy, SftTraining) and policy.learn_from == "kept"
    return problems * min(policy.per_problem, leaves * (kept if of_kept else 1))


def _rate(made: CapacityPlan, policy: PolicyTraining) -> tuple[float | None, str]:
    """FLOP/s of one process that trains, or None and the reason."""
    role, share = made.cluster.roles.train, made.calibration.train_efficiency
    assert role is not None
    able = [n for n in made.cluster.nodes.values() if role.labels.items() <= n.labels.items() and n.gpus >= role.gpus]
    named = next((n.accelerator for n in able if n.accelerator and (n.gpus > 0) == (role.gpus > 0)), None)
    if named is None:
        return None, "no node that roles.train fits names its accelerator (for cores: accelerator: cpu-core)"
    sheet = accelerator(named)
    if share is not None:
        return share * sheet.flops(_DTYPES[policy.dtype]), ""
    if sheet.train_tflops is None:
        return None, (
            f"no training was measured on {named}: set calibration.train_efficiency (share of its peak), or "
            "train_tflops in its sheet"
        )
    return sheet.train_tflops * 1e12, ""
