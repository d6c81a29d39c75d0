"""Trains the generator on trees with transformers' Trainer: an item of its data set is a step, read in several passes.

    steps ─► passes (packs) ─► objective.loss / mass of the step ─► gradients added up ─► AdamW ─► weights

The gradient of a step is that of its sequences read one by one, however they are packed. Resumes from the last whole
checkpoint of the same data and settings.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from berry.pipeline.config.sections.rounds import (
    DpoTraining,
    PolicyGradientTraining,
    PolicyTraining,
    SftTraining,
)
from berry.pipeline.errors import EngineError, InputError, ResourceError
from berry.pipeline.rewards.model.quiet import quiet_transformers
from berry.pipeline.rewards.packing.layout import Floats, Pack
from berry.pipeline.rewards.packing.model_check import choose_packing, why_not_packed
from berry.pipeline.rewards.policy.batches import Passes, batches, steps
from berry.pipeline.rewards.policy.examples import PolicyTree, digest, sequence
from berry.pipeline.rewards.policy.objectives.base import Batch, Objective
from berry.pipeline.rewards.policy.objectives.clipped_ratio import ClippedRatio
from berry.pipeline.rewards.policy.objectives.dpo import Dpo
from berry.pipeline.rewards.policy.objectives.sft import Sft
from berry.pipeline.rewards.policy.reference import gap, reference_logprobs
from berry.pipeline.rewards.training import checkpoints
from berry.pipeline.rewards.training.trainer_parts import CheckpointMarker, RowDataset, with_adapters

SMALL_MODEL_PARAMETERS = 100_000_000
GAP_STEPS = 4  # whose stored log-probabilities are compared with those of the first weights


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
        return {name: float(getattr(self, name)) for name in self.__slots__}


def objective_of(settings: PolicyTraining) -> Objective:
    """What a policy step is trained for."""
    if isinstance(settings, SftTraining):
        return Sft()
    if isinstance(settings, PolicyGradientTraining):
        return ClippedRatio(settings)
    assert isinstance(settings, DpoTraining), f"no objective for {type(settings).__name__}"
    return Dpo(settings.beta)


def finetune(
    folder: str,
    trees: Sequence[PolicyTree],
    settings: PolicyTraining,
    *,
    work: Path,
    base: str | None = None,
    temperature: float = 1.0,
    progress: Callable[[float, str], None] = lambda _share, _text: None,
) -> tuple[Any, Figures]:
    """The model in `folder` after training on `trees`, and how it went. `base`: the model that `kl` is measured from,
    by default the same. `temperature`: that the trajectories were sampled with. Resumes from the last whole checkpoint
    in `work`. Raises ConfigError, EngineError, ResourceError, and InputError where a step went astray: then the weights
    are left as they were."""
    torch.manual_seed(settings.seed)
    model = _load(folder, settings)
    objective = objective_of(settings)
    passes = _passes(model, settings, trees)
    if isinstance(settings, PolicyGradientTraining):
        passes = replace(passes, temperature=temperature)
    size = settings.batch_size * settings.accumulate
    items = [[trees[number] for number in step] for step in steps(trees, size=size, seed=settings.seed)]
    items = [step for step in items if _mass(objective, step) > 0]
    if not items:
        raise InputError("no trajectory teaches anything: all of a problem came out alike, or no step has a value")
    figures = Figures(
        packed=passes.tokens is not None, problems=len(trees), trajectories=sum(len(t.sequences) for t in trees)
    )
    if isinstance(settings, PolicyGradientTraining):
        _check_gap(model, items[:GAP_STEPS], passes, settings, figures)
    reference = None
    if objective.needs_reference:
        other = base if isinstance(settings, PolicyGradientTraining) and base != folder else None
        reference = _read_reference(model if other is None else _load(other, settings), items, passes, figures)
    work_plan = blake2b(f"{digest(folder, trees)}/{settings.model_dump_json()}/{base}".encode(), digest_size=16)
    resumed = checkpoints.prepare(work, work_plan.hexdigest())
    adapters = None if settings.lora is None else with_adapters(model, settings.lora, "CAUSAL_LM")
    trainer = _StepTrainer(
        model=model if adapters is None else adapters,
        args=_arguments(model, len(items), settings, work),
        train_dataset=RowDataset(list(range(len(items)))),
        data_collator=lambda numbers: {"step": numbers[0]},
        callbacks=[CheckpointMarker(), _StepReporter(progress)],
    )
    trainer.plan = _TrainingPlan(items, objective, passes, reference, figures)
    trainer.remove_callback(PrinterCallback)
    try:
        with warnings.catch_warnings(), quiet_transformers():
            warnings.simplefilter("ignore")  # the library's, on pinned memory and schedulers
            done = trainer.train(resume_from_checkpoint=None if resumed.checkpoint is None else str(resumed.checkpoint))
    except RuntimeError as error:
        if "memory" not in str(error).lower():
            raise
        raise ResourceError(
            f"not enough memory to train {folder} with rounds.policy.pack_tokens {settings.pack_tokens}: lower it, set "
            f"lora or dtype: bfloat16 ({str(error).splitlines()[0]})"
        ) from error
    figures.steps, figures.loss = done.global_step, done.training_loss
    if adapters is not None:
        model = adapters.merge_and_unload()
    return model.eval(), figures


Reference = list[list[list[Floats]]]
"""By step, batch and sequence: the log-probability of each token under weights that are not trained."""


def _read_reference(model: Any, items: Sequence[Sequence[PolicyTree]], passes: Passes, figures: Figures) -> Reference:
    model.eval()
    found: Reference = []
    for step in items:
        found.append([])
        for batch in batches(step, passes):
            found[-1].append(reference_logprobs(model, batch))
            figures.reference_tokens += batch.pack.computed
    return found


@dataclass(slots=True)
class _TrainingPlan:
    items: Sequence[Sequence[PolicyTree]]
    objective: Objective
    passes: Passes
    reference: Reference | None
    figures: Figures

    def batches(self, number: int) -> Iterable[Batch]:
        for at, batch in enumerate(batches(self.items[number], self.passes)):
            yield batch if self.reference is None else replace(batch, reference=self.reference[number][at])


class _StepTrainer(Trainer):
    plan: _TrainingPlan

    def training_step(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
        """Adds up the gradients of a step's passes; the loss is the step's. Raises InputError where it is no number."""
        model.train()
        plan, number = self.plan, int(inputs["step"])
        mass = _mass(plan.objective, plan.items[number])
        total = torch.zeros((), device=self.args.device)
        for batch in plan.batches(number):
            loss = plan.objective.loss(model, batch) / mass
            if not torch.isfinite(loss):
                raise InputError(
                    f"the loss of step {self.state.global_step + 1} is {float(loss)}: the new weights are thrown away; "
                    "lower rounds.policy.learning_rate"
                )
            self.accelerator.backward(loss)
            total += loss.detach()
            plan.figures.computed_tokens += batch.pack.computed
            plan.figures.trained_tokens += sum(one.trained_tokens for one in batch.sequences)
        return total


def _mass(objective: Objective, step: Sequence[PolicyTree]) -> float:
    return sum(objective.mass(tree.sequences, tree.pairs) for tree in step)


def _check_gap(
    model: Any,
    items: Sequence[Sequence[PolicyTree]],
    passes: Passes,
    settings: PolicyGradientTraining,
    figures: Figures,
) -> None:
    """Refuses trajectories that weights other than these have sampled."""
    model.eval()
    apart, tokens = 0.0, 0
    for step in items:
        for batch in batches(step, passes):
            more, counted = gap(batch, reference_logprobs(model, batch))
            apart, tokens = apart + more, tokens + counted
            figures.reference_tokens += batch.pack.computed
    mean = apart / max(tokens, 1)
    if not mean <= settings.max_gap:
        raise InputError(
            f"the stored log-probabilities are {mean:.2f} nats a token away from those of the weights that training "
            f"starts from, rounds.policy.max_gap is {settings.max_gap:g}: other weights, another chat template or "
            "another temperature made these trajectories; set rounds.policy.start: latest, or use type: sft"
        )


def check_reads_packs(folder: str, settings: PolicyTraining) -> None:
    """Loads the model and tries it. Raises ConfigError where packs are demanded and it can't read them, EngineError
    where it can't be loaded."""
    _reads_packs(_load(folder, settings), settings)


def _passes(model: Any, settings: PolicyTraining, trees: Sequence[PolicyTree]) -> Passes:
    """How this model reads trees. A trajectory that is longer than a pack should be is a pass by itself."""
    if not _reads_packs(model, settings):
        return Passes(None, settings.batch_size)
    return Passes(
        max(settings.pack_tokens, *(len(one.ids) for tree in trees for one in tree.sequences)), settings.batch_size
    )


def _reads_packs(model: Any, settings: PolicyTraining) -> bool:
    vocabulary = model.get_input_embeddings().num_embeddings
    found = choose_packing(
        model, settings.packing, lambda: why_not_packed(model, _plain_loss, vocabulary=vocabulary), key="rounds.policy"
    )
    return found is None


def _plain_loss(model: Any, pack: Pack) -> torch.Tensor:
    rows = [sequence(ids[:1].tolist(), ids[1:].tolist()) for ids in (pack.ids.reshape(-1)[p] for p in pack.places)]
    return Sft().loss(model, Batch(pack, rows))


def _load(folder: str, settings: PolicyTraining) -> Any:
    dtype = torch.bfloat16 if settings.dtype == "bfloat16" else torch.float32
    try:
        with quiet_transformers():
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    except (OSError, ValueError, RuntimeError) as error:
        raise EngineError(
            f"the generator in {folder} can't be loaded to train it: {str(error).splitlines()[0]}"
        ) from error
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def _arguments(model: Any, count: int, settings: PolicyTraining, work: Path) -> TrainingArguments:
    small = sum(p.numel() for p in model.parameters()) < SMALL_MODEL_PARAMETERS
    rate = settings.learning_rate or (3e-4 if small or settings.lora is not None else 1e-5)
    return TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=1,
        num_train_epochs=settings.epochs,
        learning_rate=rate,
        warmup_steps=round(settings.warmup_share * count * settings.epochs),
        lr_scheduler_type="cosine",
        save_strategy="steps",
        save_steps=max(1, math.ceil(count / 2)),
        save_total_limit=1,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        use_cpu=not torch.cuda.is_available(),
        bf16=settings.dtype == "bfloat16" and torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=settings.seed,
    )


class _StepReporter(TrainerCallback):
    """Tells how many steps are done, at each checkpoint."""

    def __init__(self, progress: Callable[[float, str], None]) -> None:
        self._progress = progress

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        del args, control
        self._progress(state.global_step / max(state.max_steps, 1), f"step {state.global_step} of {state.max_steps}")
