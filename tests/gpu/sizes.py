"""How much the check does on which device. On cores it is there to prove the check itself, so it does little."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Device = Literal["cuda", "cpu"]


@dataclass(frozen=True)
class Sizes:
    """Sequences at once, problems of each part, rounds of benchmarks, weight swaps."""

    seqs: int
    tiny_problems: int
    smollm2_problems: int  # of each of the demo's drawn kinds
    overhead_rounds: int
    overhead_problems: dict[str, int]
    search_problems: dict[str, int]
    search_repeats: int
    search_parts: tuple[str, ...]
    epochs: int
    swaps: int


SIZES: dict[Device, Sizes] = {
    "cuda": Sizes(
        seqs=512,
        tiny_problems=3000,
        smollm2_problems=150,
        overhead_rounds=5,
        overhead_problems={"tiny-arithmetic": 1024, "smollm2-135m": 384},
        search_problems={"tiny-arithmetic": 600, "smollm2-135m": 160},
        search_repeats=2,
        search_parts=("trees", "occupancy"),
        epochs=4,
        swaps=10,
    ),
    "cpu": Sizes(
        seqs=32,
        tiny_problems=96,
        smollm2_problems=1,
        overhead_rounds=1,
        overhead_problems={"tiny-arithmetic": 24, "smollm2-135m": 2},
        search_problems={"tiny-arithmetic": 12, "smollm2-135m": 2},
        search_repeats=1,
        search_parts=("trees", "occupancy"),
        epochs=1,
        swaps=3,
    ),
}


@dataclass(frozen=True)
class Here:
    """What a part is given. `work` is the folder for runs and weights, shared by the parts of one check."""

    device: Device
    work: Path

    @property
    def sizes(self) -> Sizes:
        return SIZES[self.device]

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"


def cluster(here: Here, *, engines: int = 1) -> list[str]:
    """Overrides of the local cluster: all cores, and on a GPU one shared by `engines`."""
    if not here.on_gpu:
        return []
    cores = len(os.sched_getaffinity(0))
    share = 1 if engines == 1 else 1 / engines
    return [
        "cluster.nodes.laptop.gpus=1",
        f"cluster.nodes.laptop.cores={cores}",
        f"cluster.roles.rollout.gpus={share:g}",
        f"cluster.roles.rollout.max={engines}",
        f"cluster.roles.rollout.min={engines}",
        "cluster.roles.sandbox.slots=4",
        f"cluster.roles.sandbox.max={max(1, (cores - engines) // 2)}",
    ]
