"""Trains a value model on labelled prefixes: an item of the trainer's data set is a step (step_trainer.py).

    rows (stored_rows.py) ─► groups of neighbours, in an order drawn anew for each epoch ─► a step's groups, this
    process's share of them ─► passes ─► logits at the labelled positions ─► weighted cross-entropy with soft targets
                                                                       └─► the weights of the best validation loss

The loss of a row is the weighted sum over its labels divided by the mean weight a row has, so that a step's loss does
not depend on how many labels its rows happen to carry. Rows are read as their step is due. Resumes from the last whole
checkpoint of the same data and settings. Where several processes train each calls this with the same arguments.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from transformers import EarlyStoppingCallback, PrinterCallback, TrainerCallback, TrainingArguments

from berry.pipeline.config.sections.rewards import FreshBackbone, RewardTraining
from berry.pipeline.errors import ResourceError
from berry.pipeline.rewards.model.value_model import ValueModel
from berry.pipeline.rewards.packing.layout import packed_tokens, pad
from berry.pipeline.rewards.packing.model_check import choose_packing
from berry.pipeline.rewards.training import checkpoints, processes
from berry.pipeline.rewards.training.examples import LabelBalance, TrainingSequence
from berry.pipeline.rewards.training.packed_batches import (
    GROUPS_A_BATCH,
    LabelledPass,
    logits_at,
    passes,
    why_values_not_packed,
)
from berry.pipeline.rewards.training.step_trainer import StepTrainer
from berry.pipeline.rewards.training.trainer_parts import CheckpointMarker, RowDataset, with_adapters

TrainingProgress = Callable[[float, str], None]
SMALL_MODEL_PARAMETERS = 100_000_000
STRETCH = 64  # groups that are read at once where all rows are gone through


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
    data: str,
    balance: LabelBalance = LabelBalance(),  # noqa: B008 - frozen
    progress: TrainingProgress = lambda _share, _text: None,
) -> Trained:
    """Trains `model` in place and leaves it with the weights of the best validation loss; adapters are merged. Rows
    that share prefixes lie beside each other. `work` holds the checkpoints, `data` is a digest of the rows. Raises
    ConfigError where packs are demanded of a model that can't read them, ResourceError when memory does not suffice,
    InputError where a loss is no number."""
    why_not = why_not_packed(model, config)
    pack_tokens, size = (None, 1) if why_not else (config.pack_tokens, max(1, config.batch_size // GROUPS_A_BATCH))
    order = Order(
        groups=math.ceil(len(rows) / size),
        groups_a_step=config.batch_size // size * config.accumulate,
        seed=config.seed,
        epochs=config.epochs,
    )
    resumed = checkpoints.Resumed(None, 0)
    if processes.rank() == 0:
        resumed = checkpoints.prepare(work, plan(model, data, config, balance))
    processes.wait_for_all()
    checkpoint = checkpoints.last_whole(work)
    if checkpoint is not None:
        progress(0.0, f"going on from step {checkpoints.step_of(checkpoint)} of an interrupted training")
    torch.manual_seed(config.seed)
    adapters = None if config.lora is None else with_adapters(model.inner, config.lora, "SEQ_CLS")
    trainer = _RewardTrainer(
        model=model,
        args=_arguments(model, order, config, work),
        train_dataset=RowDataset(range(order.total)),
        eval_dataset=RowDataset(range(1)),  # which the library asks for; `evaluate` reads `validation`
        callbacks=[CheckpointMarker(), _LossReporter(progress), EarlyStoppingCallback(config.patience)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.rows, trainer.validation, trainer.order, trainer.group_size = rows, validation, order, size
    trainer.batch_size, trainer.pack_tokens, trainer.balance = config.batch_size, pack_tokens, balance
    tokens, computed, weight = _measure(rows, size)
    trainer.row_weight = weight / len(rows)
    trainer.head_rate = config.head_learning_rate or 10 * rate(model, config)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library's, on pinned memory and schedulers
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
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
        epochs=trainer.state.global_step / order.steps_an_epoch,
        best_loss=trainer.state.best_metric,
        history=tuple(losses),
        resumed_from=None if checkpoint is None else checkpoints.step_of(checkpoint),
        removed_checkpoints=resumed.removed,
        packed=why_not is None,
        why_not_packed=why_not,
        tokens=tokens,
        computed_tokens=computed,
    )


def save_weights(model: ValueModel, path: Path) -> None:
    """Writes the weights of a model, as the processes of a training hand them on."""
    torch.save(model.state_dict(), path)


def load_weights(model: ValueModel, path: Path, balance: LabelBalance) -> None:
    """Gives a model of the same shape the weights that `save_weights` wrote, on this process's device, and takes the
    balance of classes back out of its values."""
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    model.logit_mean = balance.logit_mean
    model.to_device().eval()


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


def plan(model: ValueModel, data: str, config: RewardTraining, balance: LabelBalance) -> str:
    """Digest of everything a checkpoint depends on; `data`: of the rows."""
    shape = sorted((name, tuple(p.shape)) for name, p in model.named_parameters())
    text = repr((data, config.model_dump_json(), balance, shape))
    return blake2b(text.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Order:
    """Which groups each step learns from: all of them once an epoch, in an order that the seed draws anew. Steps are
    numbered from 0 over all epochs."""

    groups: int
    groups_a_step: int
    seed: int
    epochs: float

    @property
    def steps_an_epoch(self) -> int:
        return math.ceil(self.groups / self.groups_a_step)

    @property
    def total(self) -> int:
        return max(1, round(self.epochs * self.steps_an_epoch))

    def step(self, number: int) -> list[int]:
        epoch, at = divmod(number, self.steps_an_epoch)
        return self._drawn(epoch)[at * self.groups_a_step : (at + 1) * self.groups_a_step].tolist()

    @lru_cache(maxsize=1)  # noqa: B019 - one order is one training
    def _drawn(self, epoch: int) -> np.ndarray:
        return np.random.default_rng((self.seed, epoch)).permutation(self.groups).astype(np.int32)


def _measure(rows: Sequence[TrainingSequence], size: int) -> tuple[int, int, float]:
    """Tokens of the rows, tokens with what each group of `size` neighbours shares once, and what all labels weigh."""
    tokens, computed, weight = 0, 0, 0.0
    for start in range(0, len(rows), size * STRETCH):
        stretch = rows[start : start + size * STRETCH]
        ids = [np.array(row.ids, np.int64) for row in stretch]
        tokens += sum(map(len, ids))
        computed += sum(packed_tokens(ids[at : at + size]) for at in range(0, len(ids), size))
        weight += sum(sum(row.weights) for row in stretch)
    return tokens, computed, weight


def _arguments(model: ValueModel, order: Order, config: RewardTraining, work: Path) -> TrainingArguments:
    every = max(1, round(order.steps_an_epoch * config.evaluate_every))
    return TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=1,
        max_steps=order.total,
        learning_rate=rate(model, config),
        warmup_steps=round(config.warmup_share * order.total),
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
        use_cpu=not torch.cuda.is_available(),
        bf16=config.dtype == "bfloat16" and torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        restore_callback_states_from_checkpoint=True,
        seed=config.seed,
        ddp_find_unused_parameters=False,
    )


class _RewardTrainer(StepTrainer):
    """Takes steps of `order` over groups of `group_size` neighbouring rows, `batch_size` rows at once."""

    key = "rewards.training"
    rows: Sequence[TrainingSequence]
    validation: Sequence[TrainingSequence]
    order: Order
    group_size: int
    batch_size: int
    balance: LabelBalance
    pack_tokens: int | None
    row_weight: float
    head_rate: float

    def read_step(self, number: int) -> tuple[float, list[LabelledPass]]:
        mine = self.order.step(number)[processes.rank() :: processes.count()]
        groups = [self.rows[at * self.group_size : (at + 1) * self.group_size] for at in mine]
        rows = [row for group in groups for row in group]
        return len(rows) * self.row_weight, list(self._passes(rows))

    def _passes(self, rows: Sequence[TrainingSequence]) -> Iterator[LabelledPass]:
        for at in range(0, len(rows), self.batch_size):
            yield from passes(rows[at : at + self.batch_size], pack_tokens=self.pack_tokens)

    def loss_of(self, model: Any, one: LabelledPass, number: int, at: int) -> torch.Tensor:
        del number, at
        return weighted_loss(logits_at(model, one.pack, one.places), one, self.balance)

    def without_effect(self, model: Any) -> torch.Tensor:
        return logits_at(model, pad([np.array([0, 0], np.int64)]), torch.tensor([0])).sum() * 0.0

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The mean loss of a validation row, of which each process reads a share."""
        model: Any = self.model
        model.eval()
        total = 0.0
        share = self.batch_size * processes.count()
        with torch.no_grad():
            for start in range(self.batch_size * processes.rank(), len(self.validation), share):
                for one in self._passes(self.validation[start : start + self.batch_size]):
                    total += float(self.loss_of(model, one, 0, 0))
        [of_all] = processes.summed(total)
        found = {"eval_loss": of_all / len(self.validation) / self.row_weight}
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

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
