"""Takes the steps of a training with transformers' Trainer: an item of its data set is a step, read in several passes.

    a step's share ─► passes ─► loss of each / mass of the whole step ─► gradients added up ─► AdamW

The gradient of a step is that of its sequences read one by one, however they are packed, and however they are divided
among processes: the mass is the whole step's, and gradients are added up over processes with the last pass. Processes
make equally many passes, since each is a meeting of all of them; one that has read its share makes the others without
effect.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from transformers import Trainer

from berry.pipeline.errors import InputError
from berry.pipeline.rewards.training import processes, sharding

WEIGHTS, OPTIMIZER, SCHEDULER = "model*.safetensors", "optimizer.pt", "scheduler.pt"  # as transformers names them


class StepTrainer(Trainer):
    """transformers' Trainer, told by three methods what a step learns from. `key`: of the configuration."""

    key: ClassVar[str]

    @abstractmethod
    def read_step(self, number: int) -> tuple[float, Sequence[Any]]:
        """The mass of this process's share of a step, by which its loss is divided, and the passes over it."""
        ...

    @abstractmethod
    def loss_of(self, model: Any, one: Any, number: int, at: int) -> torch.Tensor:
        """The loss of a pass, added up: the one with this number of this step."""
        ...

    @abstractmethod
    def without_effect(self, model: Any) -> torch.Tensor:
        """The loss of a pass that other processes make and this one has nothing for: zero, and so is its gradient."""
        ...

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The numbers of the steps, in order, the same for every process."""
        assert self.train_dataset is not None
        return DataLoader(self.train_dataset, batch_size=1, shuffle=False, collate_fn=_number)  # type: ignore[arg-type]

    def training_step(self, model: Any, inputs: dict[str, Any], *_: Any, **__: Any) -> torch.Tensor:
        """Adds up the gradients of a step's passes; the loss is the step's. Raises InputError where it is no number."""
        model.train()
        number = int(inputs["step"])
        share, mine = self.read_step(number)
        [mass] = processes.summed(share)
        count = processes.largest(len(mine))
        total = torch.zeros((), device=self.args.device)
        for at in range(count):
            is_last = at == count - 1
            adds_up_later = processes.is_shared() and not is_last and not sharding.is_sharded(model)
            with model.no_sync() if adds_up_later else nullcontext():
                loss = self.loss_of(model, mine[at], number, at) if at < len(mine) else self.without_effect(model)
                loss = loss * processes.count() / mass  # the gradients of processes are averaged
                self.accelerator.backward(loss)
            total += loss.detach()
        [of_step] = processes.summed(float(total) / processes.count())
        if not math.isfinite(of_step):
            raise InputError(
                f"the loss of step {self.state.global_step + 1} is {of_step}: the new weights are thrown away; "
                f"lower {self.key}.learning_rate"
            )
        return total.new_tensor(of_step)

    # ---- checkpoints of a model that is divided among processes -----------------------------------------------------

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:  # noqa: FBT001, FBT002
        """Writes the weights, whole."""
        if not sharding.is_sharded(self.model):
            super().save_model(output_dir, _internal_call)
            return
        weights = sharding.whole_weights(self.model)
        if self.args.should_save:
            self._save(output_dir, state_dict=weights)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not sharding.is_sharded(self.model):
            super()._save_optimizer_and_scheduler(output_dir)
            return
        assert self.optimizer is not None
        assert self.lr_scheduler is not None
        state = sharding.whole_optimizer(self.model, _unwrapped(self.optimizer))
        if self.args.should_save:
            torch.save(state, Path(output_dir) / OPTIMIZER)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not sharding.is_sharded(self.model):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        weights = _read_weights(Path(resume_from_checkpoint)) if processes.rank() == 0 else {}
        sharding.spread_weights(self.model, weights)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or not sharding.is_sharded(self.model):
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        assert self.optimizer is not None
        assert self.lr_scheduler is not None
        state = torch.load(Path(checkpoint) / OPTIMIZER, weights_only=True) if processes.rank() == 0 else {}
        sharding.spread_optimizer(self.model, _unwrapped(self.optimizer), state)
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULER, weights_only=True))


def _read_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """All weights by name; those of a large model are in several files."""
    found: dict[str, torch.Tensor] = {}
    for path in sorted(checkpoint.glob(WEIGHTS)):
        found |= load_file(path)
    return found


def _unwrapped(optimizer: Any) -> Any:
    """Torch's own, of the one that accelerate has put around it."""
    return getattr(optimizer, "optimizer", optimizer)


def _number(steps: Sequence[int]) -> dict[str, Any]:
    return {"step": steps[0]}
