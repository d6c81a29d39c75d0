"""Takes the steps of a training with transformers' Trainer: an item of its data set is a step, read in several passes.

    a step's trees ─► passes (packs) ─► objective.loss / mass of the step ─► gradients added up ─► AdamW

The gradient of a step is that of its sequences read one by one, however they are packed, and however they are divided
among processes: the mass is the whole step's, and gradients are added up over processes with the last pass. Processes
make equally many passes, since each is a meeting of all of them where the model is divided (FSDP); one that has read
its share makes the others without effect.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments

from berry.pipeline.config.sections.rounds import PolicyTraining
from berry.pipeline.errors import InputError
from berry.pipeline.rewards.packing.layout import pad
from berry.pipeline.rewards.policy.batches import Passes, batches
from berry.pipeline.rewards.policy.examples import sequence
from berry.pipeline.rewards.policy.objectives.base import Batch, Objective, logprobs_of, wanted_tokens
from berry.pipeline.rewards.policy.reference import ReferenceModel
from berry.pipeline.rewards.policy.step_reader import StepReader
from berry.pipeline.rewards.training import processes
from berry.pipeline.rewards.training.step_order import StepOrder

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
    """What a trainer needs to take a step by its number."""

    reader: StepReader
    objective: Objective
    passes: Passes
    reference: ReferenceModel | None
    figures: Figures


class StepTrainer(Trainer):
    """transformers' Trainer, whose `plan` says what a step learns from."""

    plan: StepPlan

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The numbers of the steps, in order, the same for every process."""
        assert self.train_dataset is not None
        return DataLoader(self.train_dataset, batch_size=1, shuffle=False, collate_fn=self.data_collator)  # type: ignore[arg-type]

    def training_step(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
        """Adds up the gradients of a step's passes; the loss is the step's. Raises InputError where it is no number."""
        model.train()
        plan, number = self.plan, int(inputs["step"])
        trees = plan.reader.read(number)
        [mass] = processes.summed(sum(plan.objective.mass(tree.sequences, tree.pairs) for tree in trees))
        mine = list(batches(trees, plan.passes))
        count = processes.largest(len(mine))
        total = torch.zeros((), device=self.args.device)
        for at in range(count):
            is_last = at == count - 1
            with nullcontext() if is_last or not processes.is_shared() else model.no_sync():
                loss = self._loss(model, mine[at], number, at) if at < len(mine) else _without_effect(model)
                loss = loss * processes.count() / mass  # the gradients of processes are averaged
                self.accelerator.backward(loss)
            total += loss.detach()
        [wrong] = processes.summed(0.0 if torch.isfinite(total) else 1.0)
        if wrong:
            raise InputError(
                f"the loss of step {self.state.global_step + 1} is {float(total)}: the new weights are thrown away; "
                "lower rounds.policy.learning_rate"
            )
        return total

    def _loss(self, model: Any, batch: Batch, step: int, at: int) -> torch.Tensor:
        plan = self.plan
        if plan.reference is not None:
            batch = plan.reference.add_to(batch, step, at)
        plan.figures.computed_tokens += batch.pack.computed
        plan.figures.trained_tokens += sum(one.trained_tokens for one in batch.sequences)
        return plan.objective.loss(model, batch)


def _without_effect(model: Any) -> torch.Tensor:
    """The loss of a pass that other processes make and this one has nothing for: zero, and so is its gradient."""
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
