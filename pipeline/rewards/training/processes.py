"""Lets the processes of one training agree on numbers; one process alone agrees with itself.

torch.distributed, where a process group was begun ─► rank, count, summed, largest
"""

from __future__ import annotations

import torch
from torch import distributed


def is_shared() -> bool:
    """Whether this process is one of several that train."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def rank() -> int:
    """This process's number; 0 where it is alone."""
    return distributed.get_rank() if is_shared() else 0


def count() -> int:
    """How many processes train; 1 where this one is alone."""
    return distributed.get_world_size() if is_shared() else 1


def summed(*values: float) -> list[float]:
    """Each number, added up over all processes. Every process has to ask."""
    if not is_shared():
        return list(values)
    numbers = torch.tensor(values, dtype=torch.float64, device=_device())
    distributed.all_reduce(numbers)
    return numbers.tolist()


def largest(value: int) -> int:
    """The largest that any process names. Every process has to ask."""
    if not is_shared():
        return value
    number = torch.tensor([value], device=_device())
    distributed.all_reduce(number, op=distributed.ReduceOp.MAX)
    return int(number)


def wait_for_all() -> None:
    """Returns once every process has come here."""
    if is_shared():
        distributed.barrier()


def _device() -> str:
    return "cuda" if distributed.get_backend() == "nccl" else "cpu"
