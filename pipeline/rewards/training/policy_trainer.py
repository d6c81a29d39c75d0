"""Fine-tunes the generator on what it kept: next-token loss on the responses alone, over the very ids it produced.

kept rows ─► SftExample(prompt ids, response ids) ─► transformers' Trainer ─► weights of the same architecture
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from berry.pipeline.config.sections.rounds import PolicyTraining
from berry.pipeline.errors import EngineError, ResourceError
from berry.pipeline.rewards.model.quiet import quiet_transformers
from berry.pipeline.rewards.training import checkpoints
from berry.pipeline.rewards.training.examples import SftExample
from berry.pipeline.rewards.training.trainer_parts import CheckpointMarker, RowDataset

SMALL_MODEL_PARAMETERS = 100_000_000
IGNORED = -100


def finetune(
    folder: str,
    rows: Sequence[SftExample],
    settings: PolicyTraining,
    *,
    work: Path,
    progress: Callable[[float, str], None] = lambda _share, _text: None,
) -> tuple[Any, dict[str, float]]:
    """The model in `folder` after training on `rows`, and how it went. Resumes from the last whole checkpoint in
    `work`. Raises EngineError, ResourceError."""
    torch.manual_seed(settings.seed)
    model = _load(folder, settings)
    plan = blake2b(repr((folder, rows, settings.model_dump_json())).encode(), digest_size=16).hexdigest()
    resumed = checkpoints.prepare(work, plan)
    adapters = _adapters(model, settings)
    trainer = Trainer(
        model=model if adapters is None else adapters,
        args=_arguments(model, rows, settings, work),
        train_dataset=RowDataset(rows),
        data_collator=collate,
        callbacks=[CheckpointMarker(), _StepReporter(progress)],
    )
    trainer.remove_callback(PrinterCallback)
    try:
        with warnings.catch_warnings(), quiet_transformers():
            warnings.simplefilter("ignore")  # the library's, on pinned memory and schedulers
            done = trainer.train(resume_from_checkpoint=None if resumed.checkpoint is None else str(resumed.checkpoint))
    except RuntimeError as error:
        if "memory" not in str(error).lower():
            raise
        raise ResourceError(
            f"not enough memory to fine-tune {folder} with rounds.policy.batch_size {settings.batch_size}: lower it "
            f"(and raise accumulate), set lora or dtype: bfloat16 ({str(error).splitlines()[0]})"
        ) from error
    if adapters is not None:
        model = adapters.merge_and_unload()
    return model.eval(), {
        "steps": float(done.global_step),
        "loss": done.training_loss,
        "trajectories": float(len(rows)),
    }


def collate(rows: Sequence[SftExample], pad_id: int = 0) -> dict[str, torch.Tensor]:
    """Right-padded ids, mask and labels [B, T]; labels leave out prompts and padding."""
    longest = max(len(r.prompt_ids) + len(r.response_ids) for r in rows)
    ids = torch.full((len(rows), longest), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
    for i, row in enumerate(rows):
        before, whole = len(row.prompt_ids), len(row.prompt_ids) + len(row.response_ids)
        ids[i, :whole] = torch.tensor((*row.prompt_ids, *row.response_ids))
        mask[i, :whole] = 1
        labels[i, before:whole] = ids[i, before:whole]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def _load(folder: str, settings: PolicyTraining) -> Any:
    dtype = torch.bfloat16 if settings.dtype == "bfloat16" else torch.float32
    try:
        with quiet_transformers():
            return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    except (OSError, ValueError, RuntimeError) as error:
        raise EngineError(
            f"the generator in {folder} can't be loaded to train it: {str(error).splitlines()[0]}"
        ) from error


def _adapters(model: Any, settings: PolicyTraining) -> Any:
    if settings.lora is None:
        return None
    from peft import LoraConfig, TaskType, get_peft_model

    lora = settings.lora
    return get_peft_model(
        model,
        LoraConfig(
            task_type=TaskType.CAUSAL_LM,
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        ),
    )


def _arguments(model: Any, rows: Sequence[SftExample], settings: PolicyTraining, work: Path) -> TrainingArguments:
    small = sum(p.numel() for p in model.parameters()) < SMALL_MODEL_PARAMETERS
    rate = settings.learning_rate or (3e-4 if small or settings.lora is not None else 1e-5)
    steps = math.ceil(math.ceil(len(rows) / settings.batch_size) / settings.accumulate)
    return TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.accumulate,
        num_train_epochs=settings.epochs,
        learning_rate=rate,
        warmup_steps=round(settings.warmup_share * steps * settings.epochs),
        lr_scheduler_type="cosine",
        save_strategy="steps",
        save_steps=max(1, steps // 2),
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
