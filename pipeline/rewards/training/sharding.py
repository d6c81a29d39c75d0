"""Divides a model's weights, gradients and optimiser state among the processes that train it (FSDP, torch's
`fully_shard`; Zhao et al. 2023), and puts them together again.

    model ─► shard ─► each process holds a part of every layer ─► whole_weights, whole_optimizer ─► the first process

A layer's weights are gathered when it is read and let go of after; gradients are added up over processes and divided
as they come. What is written is whole, so that what reads weights reads these too.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from berry.pipeline.rewards.training import processes

_GATHER = StateDictOptions(full_state_dict=True, cpu_offload=True)
_SPREAD = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)


def shard(model: Any) -> None:
    """Divides the model among all processes, in place. Every process has to ask, with the same weights."""
    mesh = init_device_mesh(next(model.parameters()).device.type, (processes.count(),))
    for layer in layers_of(model):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh)
    model._is_accelerate_prepared = True  # else accelerate would copy it to every process (DDP)


def is_sharded(model: Any) -> bool:
    """Whether this process holds a part of it."""
    return isinstance(model, FSDPModule)


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The blocks that a transformers model names as not to be cut; none where it names none."""
    names = set(getattr(model, "_no_split_modules", None) or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def whole_weights(model: Any) -> dict[str, Any]:
    """All weights by name, on cores: of the first process, the others get none. Every process has to ask."""
    return get_model_state_dict(model, options=_GATHER)


def whole_optimizer(model: Any, optimizer: Any) -> dict[str, Any]:
    """The optimiser's state by the names of the weights, as `whole_weights`."""
    return get_optimizer_state_dict(model, optimizer, options=_GATHER)


def spread_weights(model: Any, weights: dict[str, Any]) -> None:
    """Gives each process its part of what the first one has. Every process has to ask; of the others the argument is
    not read."""
    set_model_state_dict(model, weights, options=_SPREAD)


def spread_optimizer(model: Any, optimizer: Any, state: dict[str, Any]) -> None:
    """The same of an optimiser's state."""
    set_optimizer_state_dict(model, optimizer, state, options=_SPREAD)
