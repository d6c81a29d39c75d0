"""Trains a value model on labelled prefixes, with transformers' Trainer.

    samples ─► groups ─► passes ─► logits at the labelled positions ─► weighted cross-entropy with soft targets
                                                                       └─► the weights of the best validation loss

The loss of a row is the weighted sum over its labels divided by the mean weight a row has, so that a batch's loss does
not depend on how many labels its rows happen to carry. Resumes from the last whole checkpoint of the same data and
settings.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import EarlyStoppingCallback, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from berry.pipeline.config.sections.rewards import FreshBackbone, RewardTraining
from berry.pipeline.errors import ResourceError
from berry.pipeline.rewards.model.value_model import ValueModel
from berry.pipeline.rewards.packing.model_check import choose_packing
from berry.pipeline.rewards.training import checkpoints
from berry.pipeline.rewards.training.examples import LabelBalance, TrainingSequence, digest
from berry.pipeline.rewards.training.packed_batches import (
    GROUPS_A_BATCH,
    Group,
    LabelledPass,
    groups,
    logits_at,
    passes,
    why_values_not_packed,
)
from berry.pipeline.rewards.training.trainer_parts import CheckpointMarker, RowDataset, with_adapters

TrainingProgress = Callable[[float, str], None]
SMALL_MODEL_PARAMETERS = 100_000_000


@dataclass(frozen=True, slots=True)
class Trained:
    """How a training went; losses are per row. `history`: (optimiser step, validation loss). `packed`: whether shared
    prefixes were computed once, else `why_not_packed` says what spoke against it. `tokens`, `computed_tokens`: of the
    training rows in one epoch, as they are and as the model computed them."""

    steps: int
    epochs: float
    best_loss: float | None
    history: tuple[tuple[int, float], ...]
    resumed_from: int | None
    removed_checkpoints: int
    packed: bool = False
    why_not_packed: str | None = None
    tokens: int = 0
    computed_tokens: int = 0


def train(
    model: ValueModel,
    rows: Sequence[TrainingSequence],
    validation: Sequence[TrainingSequence],
    config: RewardTraining,
    *,
    work: Path,
    balance: LabelBalance = LabelBalance(),  # noqa: B008 - frozen
    progress: TrainingProgress = lambda _share, _text: None,
) -> Trained:
    """Trains `model` in place and leaves it with the weights of the best validation loss; adapters are merged. `work`
    holds the checkpoints. Raises ConfigError where packs are demanded of a model that can't read them, ResourceError
    when memory does not suffice."""
    why_not = why_not_packed(model, config)
    pack_tokens, size = (None, 1) if why_not else (config.pack_tokens, max(1, config.batch_size // GROUPS_A_BATCH))
    grouped = groups(rows, size)
    resumed = checkpoints.prepare(work, plan(model, rows, validation, config, balance))
    torch.manual_seed(config.seed)
    adapters = None if config.lora is None else with_adapters(model.inner, config.lora, "SEQ_CLS")
    trainer = _Trainer(
        model=model,
        args=_arguments(model, len(grouped), config, work, groups_a_batch=config.batch_size // size),
        train_dataset=RowDataset(grouped),
        eval_dataset=RowDataset(groups(validation, size)),
        data_collator=_join,
        callbacks=[CheckpointMarker(), _LossReporter(progress), EarlyStoppingCallback(config.patience)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.row_weight = sum(sum(row.weights) for row in rows) / len(rows)
    trainer.balance, trainer.pack_tokens = balance, pack_tokens
    trainer.head_rate = config.head_learning_rate or 10 * rate(model, config)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's, on pinned memory and schedulers
            trainer.train(resume_from_checkpoint=None if resumed.checkpoint is None else str(resumed.checkpoint))
    except RuntimeError as error:
        if "memory" not in str(error).lower():
            raise
        raise ResourceError(
            f"not enough memory to train with batch_size {config.batch_size}: lower batch_size (and raise accumulate), "
            f"set lora or dtype: bfloat16 ({str(error).splitlines()[0]})"
        ) from error
    model.logit_mean = balance.logit_mean
    if adapters is not None:
        model.inner = adapters.merge_and_unload()
    model.eval()
    losses = [(int(e["step"]), e["eval_loss"]) for e in trainer.state.log_history if "eval_loss" in e]
    return Trained(
        steps=trainer.state.global_step,
        epochs=trainer.state.epoch or 0.0,
        best_loss=trainer.state.best_metric,
        history=tuple(losses),
        resumed_from=None if resumed.checkpoint is None else int(resumed.checkpoint.name.rpartition("-")[2]),
        removed_checkpoints=resumed.removed,
        packed=why_not is None,
        why_not_packed=why_not,
        tokens=sum(len(row.ids) for row in rows),
        computed_tokens=sum(one.pack.computed for group in grouped for one in passes(group, pack_tokens=pack_tokens)),
    )


def why_not_packed(model: ValueModel, config: RewardTraining) -> str | None:
    """None where shared prefixes are to be computed once, else why they are not. Raises ConfigError where packs are
    demanded of a model that can't read them."""
    return choose_packing(model.inner, config.packing, lambda: why_values_not_packed(model), key="rewards.training")


def rate(model: ValueModel, config: RewardTraining) -> float:
    """The learning rate, where the config leaves it open."""
    if config.learning_rate is not None:
        return config.learning_rate
    if isinstance(config.backbone, FreshBackbone):
        return 1e-3
    small = sum(p.numel() for p in model.parameters()) < SMALL_MODEL_PARAMETERS
    return 3e-4 if small or config.lora is not None else 1e-5


def plan(
    model: ValueModel,
    rows: Sequence[TrainingSequence],
    validation: Sequence[TrainingSequence],
    config: RewardTraining,
    balance: LabelBalance,
) -> str:
    """Digest of everything a checkpoint depends on."""
    shape = sorted((name, tuple(p.shape)) for name, p in model.named_parameters())
    text = repr((digest(rows), digest(validation), config.model_dump_json(), balance, shape))
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _join(some: Sequence[Group]) -> dict[str, Any]:
    rows = [row for group in some for row in group]
    return {"rows": rows, "count": torch.zeros(len(rows))}  # by its length the library weighs a batch's loss


def _arguments(
    model: ValueModel, count: int, config: RewardTraining, work: Path, *, groups_a_batch: int
) -> TrainingArguments:
    steps_an_epoch = math.ceil(math.ceil(count / groups_a_batch) / config.accumulate)
    every = max(1, round(steps_an_epoch * config.evaluate_every))
    return TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=groups_a_batch,
        per_device_eval_batch_size=groups_a_batch,
        gradient_accumulation_steps=config.accumulate,
        num_train_epochs=config.epochs,
        learning_rate=rate(model, config),
        warmup_steps=round(config.warmup_share * steps_an_epoch * config.epochs),
        weight_decay=config.weight_decay,
        lr_scheduler_type="cosine",
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        label_names=["count"],
        prediction_loss_only=True,
        use_cpu=not torch.cuda.is_available(),
        bf16=config.dtype == "bfloat16" and torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        restore_callback_states_from_checkpoint=True,
        seed=config.seed,
    )


class _Trainer(Trainer):
    row_weight = 1.0
    balance = LabelBalance()
    pack_tokens: int | None = None
    head_rate = 1e-3

    def compute_loss(  # type: ignore[override]  # the signature grows with the releases
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,  # noqa: FBT001, FBT002
        **_: Any,
    ) -> Any:
        rows: list[TrainingSequence] = inputs["rows"]
        parts = [
            weighted_loss(logits_at(model, one.pack, one.places), one, self.balance)
            for one in passes(rows, pack_tokens=self.pack_tokens)
        ]
        loss = torch.stack(parts).sum() / len(rows) / self.row_weight
        return (loss, {}) if return_outputs else loss

    def create_optimizer(self, *_: Any, **__: Any) -> torch.optim.Optimizer:
        """AdamW with a rate of its own for the head, which starts from nothing."""
        if self.optimizer is None:
            model: Any = self.model
            head = {id(p) for p in model.head.parameters()}
            trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
            flat = [p for _, p in trained if id(p) not in head and p.ndim < 2]
            deep = [p for _, p in trained if id(p) not in head and p.ndim >= 2]
            last = [p for _, p in trained if id(p) in head]
            self.optimizer = torch.optim.AdamW(
                [
                    {"params": deep, "weight_decay": self.args.weight_decay},
                    {"params": flat, "weight_decay": 0.0},
                    {"params": last, "weight_decay": 0.0, "lr": self.head_rate},
                ],
                lr=self.args.learning_rate,
            )
        return self.optimizer


def weighted_loss(logits: torch.Tensor, one: LabelledPass, balance: LabelBalance) -> torch.Tensor:
    """Weighted, balanced binary cross-entropy, summed over the labels of a pass; `logits` [L, n] are those there.
    One output: its logit; two: the difference of the good and the bad one's."""
    chosen = (logits[:, 0] if logits.shape[-1] == 1 else logits[:, 1] - logits[:, 0]).float()
    targets, weights = one.targets.to(chosen.device), one.weights.to(chosen.device)
    losses = -balance.good * targets * functional.logsigmoid(chosen)
    losses = losses - balance.bad * (1 - targets) * functional.logsigmoid(-chosen)
    return (losses * weights).sum()


class _LossReporter(TrainerCallback):
    """Tells how far the training is, and the validation loss there."""

    def __init__(self, progress: TrainingProgress) -> None:
        self._progress = progress

    def on_evaluate(self, args: TrainingArguments, state: Any, control: Any, **values: Any) -> None:
        del args, control
        loss = (values.get("metrics") or {}).get("eval_loss")
        if loss is not None:
            self._progress(state.global_step / max(state.max_steps, 1), f"validation loss {loss:.4f}")
