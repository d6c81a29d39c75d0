"""Trains a value model on labelled prefixes, with transformers' Trainer.

    samples ─► collate ─► logits at the labelled positions ─► weighted cross-entropy with soft targets ─► best weights

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
from berry.pipeline.rewards.training import checkpoints
from berry.pipeline.rewards.training.examples import LabelBalance, TrainingSequence, digest
from berry.pipeline.rewards.training.trainer_parts import CheckpointMarker, RowDataset, with_adapters

TrainingProgress = Callable[[float, str], None]
SMALL_MODEL_PARAMETERS = 100_000_000


@dataclass(frozen=True, slots=True)
class Trained:
    """How a training went; losses are per row. `history`: (optimiser step, validation loss)."""

    steps: int
    epochs: float
    best_loss: float | None
    history: tuple[tuple[int, float], ...]
    resumed_from: int | None
    removed_checkpoints: int


def collate(rows: Sequence[TrainingSequence], pad_id: int = 0) -> dict[str, torch.Tensor]:
    """Right-padded ids and mask [B, T]; positions, targets, weights [B, L], weight 0 where a row has fewer labels."""
    longest, labels = max(len(r.ids) for r in rows), max(len(r.positions) for r in rows)
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    positions = torch.zeros((len(rows), labels), dtype=torch.long)
    targets, weights = torch.zeros((len(rows), labels)), torch.zeros((len(rows), labels))
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        mask[i, : len(row.ids)] = 1
        count = len(row.positions)
        positions[i, :count] = torch.tensor(row.positions)
        targets[i, :count] = torch.tensor(row.targets)
        weights[i, :count] = torch.tensor(row.weights)
    return {"input_ids": ids, "attention_mask": mask, "positions": positions, "targets": targets, "weights": weights}


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
    holds the checkpoints. Raises ResourceError when memory does not suffice."""
    resumed = checkpoints.prepare(work, plan(model, rows, validation, config, balance))
    torch.manual_seed(config.seed)
    adapters = None if config.lora is None else with_adapters(model.inner, config.lora, "SEQ_CLS")
    trainer = _Trainer(
        model=model,
        args=_arguments(model, rows, config, work),
        train_dataset=RowDataset(rows),
        eval_dataset=RowDataset(validation),
        data_collator=collate,
        callbacks=[CheckpointMarker(), _LossReporter(progress), EarlyStoppingCallback(config.patience)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.row_weight = sum(sum(row.weights) for row in rows) / len(rows)
    trainer.balance = balance
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
    )


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


def _arguments(
    model: ValueModel, rows: Sequence[TrainingSequence], config: RewardTraining, work: Path
) -> TrainingArguments:
    steps_an_epoch = math.ceil(math.ceil(len(rows) / config.batch_size) / config.accumulate)
    every = max(1, round(steps_an_epoch * config.evaluate_every))
    return TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=config.batch_size,
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
        label_names=["targets"],
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
    head_rate = 1e-3

    def compute_loss(  # type: ignore[override]  # the signature grows with the releases
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,  # noqa: FBT001, FBT002
        **_: Any,
    ) -> Any:
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        loss = weighted_loss(logits, inputs, self.balance) / self.row_weight
        return (loss, {"logits": logits}) if return_outputs else loss

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


def weighted_loss(logits: torch.Tensor, inputs: dict[str, torch.Tensor], balance: LabelBalance) -> torch.Tensor:
    """Mean over rows of the weighted, balanced binary cross-entropy, summed over a row's labels. `logits` [rows,
    labels, outputs]. One output: its logit; two: the difference of the good and the bad one's."""
    single = logits[..., 0] if logits.shape[-1] == 1 else logits[..., 1] - logits[..., 0]
    chosen = single.gather(1, inputs["positions"]).float()
    targets = inputs["targets"]
    losses = -balance.good * targets * functional.logsigmoid(chosen)
    losses = losses - balance.bad * (1 - targets) * functional.logsigmoid(-chosen)
    return (losses * inputs["weights"]).sum() / len(logits)


class _LossReporter(TrainerCallback):
    """Tells how far the training is, and the validation loss there."""

    def __init__(self, progress: TrainingProgress) -> None:
        self._progress = progress

    def on_evaluate(self, args: TrainingArguments, state: Any, control: Any, **values: Any) -> None:
        del args, control
        loss = (values.get("metrics") or {}).get("eval_loss")
        if loss is not None:
            self._progress(state.global_step / max(state.max_steps, 1), f"validation loss {loss:.4f}")
