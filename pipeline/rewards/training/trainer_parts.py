"""Gives transformers' Trainer what both trainings need: rows in memory as a data set, marks on whole checkpoints,
low-rank adapters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from torch.utils.data import Dataset
from transformers import TrainerCallback, TrainingArguments

from berry.pipeline.config.sections.rewards import Lora
from berry.pipeline.rewards.training import checkpoints, processes

R = TypeVar("R")


class RowDataset(Dataset[R]):
    """Serves rows that are in memory."""

    def __init__(self, rows: Sequence[R]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> R:
        return self.rows[index]


class CheckpointMarker(TrainerCallback):
    """Marks each checkpoint that was written to its end, so that a resumed training takes no half-written one."""

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **_: Any) -> None:
        """Marks the checkpoint that was just saved, by all processes that train."""
        del control
        processes.wait_for_all()
        if processes.rank() == 0:
            checkpoints.mark_whole(Path(args.output_dir or ".") / f"checkpoint-{state.global_step}")


def with_adapters(model: Any, lora: Lora, task: Literal["CAUSAL_LM", "SEQ_CLS"]) -> Any:
    """Puts low-rank adapters into a model in place (Hu et al. 2021); `merge_and_unload` of what is returned gives the
    trained model without them."""
    from peft import LoraConfig, TaskType, get_peft_model

    settings = LoraConfig(
        task_type=TaskType[task],
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
    )
    return get_peft_model(model, settings)
