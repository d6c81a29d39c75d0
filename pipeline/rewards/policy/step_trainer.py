"""Takes the steps of the generator's training (training/step_trainer.py), and counts what they read.

a step's trees ─► passes (packs) ─► objective.loss ─► PolicyTrainer ─► Figures, in every checkpoint
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments

from berry.pipeline.config.sections.rounds import PolicyTraining
from berry.pipeline.rewards.packing.layout import pad
from berry.pipeline.rewards.policy.batches import Passes, batches
from berry.pipeline.rewards.policy.examples import sequence
from berry.pipeline.rewards.policy.objectives.base import Batch, Objective, logprobs_of, wanted_tokens
from berry.pipeline.rewards.policy.reference import ReferenceModel
from berry.pipeline.rewards.policy.step_reader import StepReader
from berry.pipeline.rewards.training import processes
from berry.pipeline.rewards.training.step_order import StepOrder
from berry.pipeline.rewards.training.step_trainer import StepTrainer

SMALL_MODEL_PARAMETERS = 100_000_000
MOST_STEPS_UNSAVED = 500
REPORT_S = 5.0  # between two words on how far it is


@dataclass(slots=True)
class Figures:
    """How a training went, as its card has it. `trained_tokens`: through which a gradient went, each as often as a
    trajectory has it, all epochs; `computed_tokens`: that the model read for them; `reference_tokens`: that weights
    which are not trained read."""

    steps: int = 0
    loss: float = 0.0
    trajectories: int = 0
    problems: int = 0
    trained_tokens: int = 0
    computed_tokens: int = 0
    reference_tokens: int = 0
    packed: bool = False

    def as_numbers(self) -> dict[str, float]:
        """For a card, whose metrics are numbers."""
        return {name: float(value) for name, value in asdict(self).items()}

    def add_up(self) -> None:
        """Adds the tokens of all processes."""
        found = processes.summed(self.trained_tokens, self.computed_tokens, self.reference_tokens)
        self.trained_tokens, self.computed_tokens, self.reference_tokens = map(int, found)

    def note_in(self, checkpoint: Path) -> None:
        """Writes what this process has counted beside the weights, which a resumed training goes on from."""
        (checkpoint / f"figures-{processes.rank()}.json").write_text(json.dumps(asdict(self)))

    def go_on_from(self, checkpoint: Path) -> None:
        """Begins with what the processes before had counted, whichever they were."""
        if processes.rank():
            return
        for path in checkpoint.glob("figures-*.json"):
            counted = json.loads(path.read_text())
            self.trained_tokens += counted["trained_tokens"]
            self.computed_tokens += counted["computed_tokens"]
            self.reference_tokens += counted["reference_tokens"]


@dataclass(slots=True)
class StepPlan:
    """What a PolicyTrainer needs to take a step by its number."""

    reader: StepReader
    objective: Objective
    passes: Passes
    reference: ReferenceModel | None
    figures: Figures


class PolicyTrainer(StepTrainer):
    """Takes the steps that its `plan` says."""

    key = "rounds.policy"
    plan: StepPlan

    def read_step(self, number: int) -> tuple[float, list[Batch]]:
        trees = self.plan.reader.read(number)
        mass = sum(self.plan.objective.mass(tree.sequences, tree.pairs) for tree in trees)
        return mass, list(batches(trees, self.plan.passes))

    def loss_of(self, model: Any, one: Batch, number: int, at: int) -> torch.Tensor:
        plan = self.plan
        if plan.reference is not None:
            one = plan.reference.add_to(one, number, at)
        plan.figures.computed_tokens += one.pack.computed
        plan.figures.trained_tokens += sum(s.trained_tokens for s in one.sequences)
        return plan.objective.loss(model, one)

    def without_effect(self, model: Any) -> torch.Tensor:
        two = sequence([0], [0])
        made = pad([two.ids])
        return logprobs_of(model, Batch(made, [two]), wanted_tokens(made.add_up([two.trained]))).sum() * 0.0


def arguments(model: Any, order: StepOrder, settings: PolicyTraining, work: Path) -> TrainingArguments:
    """What transformers' Trainer is told: so many steps of one item each, and a checkpoint after half an epoch or
    MOST_STEPS_UNSAVED steps."""
    small = sum(p.numel() for p in model.parameters()) < SMALL_MODEL_PARAMETERS
    rate = settings.learning_rate or (3e-4 if small or settings.lora is not None else 1e-5)
    return TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=1,
        max_steps=order.total,
        learning_rate=rate,
        warmup_steps=round(settings.warmup_share * order.total),
        lr_scheduler_type="cosine",
        save_strategy="steps",
        save_steps=min(MOST_STEPS_UNSAVED, max(1, math.ceil(order.steps_an_epoch / 2))),
        save_total_limit=2,  # the one before, while a new one is not yet marked as whole
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=not torch.cuda.is_available(),
        bf16=settings.dtype == "bfloat16" and torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=settings.seed,
        ddp_find_unused_parameters=False,
    )


class StepReporter(TrainerCallback):
    """Tells how many steps are done, and notes figures in each checkpoint."""

    def __init__(self, progress: Callable[[float, str], None], figures: Figures) -> None:
        self._progress = progress
        self._figures = figures
        self._told = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        del args, control
        if time.monotonic() - self._told > REPORT_S:
            self._told = time.monotonic()
            self._tell(state)

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        del control
        self._figures.note_in(Path(args.output_dir or ".") / f"checkpoint-{state.global_step}")
        self._tell(state)

    def _tell(self, state: Any) -> None:
        self._progress(state.global_step / max(state.max_steps, 1), f"step {state.global_step} of {state.max_steps}")
