"""What a part of the check is given, and what it gives.

Here (device, folder, sizes) ─► part ─► [Figure] ─► judged ─► Result ─► table for the eye, JSON for everything
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from rich.table import Table

# ---- what a part is given; on cores the check is there to prove itself, so it does little ----------------------------

Device = Literal["cuda", "cpu"]


@dataclass(frozen=True)
class Sizes:
    """How much each part does. `seqs`: decoded at once; `fewer_seqs`: the second number at which occupancy is measured.
    `layers`: of the models in other models' shapes, None: all."""

    seqs: int
    fewer_seqs: int
    tiny_problems: int
    smollm2_problems: int  # of each of the demo's drawn kinds
    smollm2_chains: int  # of each of its trees, each with two forks
    smollm2_tokens: int  # of an answer, at most
    layers: int | None
    overhead_rounds: int
    overhead_problems: int
    overhead_tokens: int
    search_problems: int
    search_tokens: int
    search_repeats: int
    epochs: int
    swaps: int
    leaves: int  # of the trees that are trained on
    killed_problems: int
    probed: int  # answers whose log-probabilities are computed again


SIZES: dict[str, Sizes] = {
    "cuda": Sizes(
        seqs=512,
        fewer_seqs=448,
        tiny_problems=3000,
        smollm2_problems=150,
        smollm2_chains=4,
        smollm2_tokens=256,
        layers=None,
        overhead_rounds=2,
        overhead_problems=128,
        overhead_tokens=256,
        search_problems=96,
        search_tokens=256,
        search_repeats=1,
        epochs=4,
        swaps=10,
        leaves=64,
        killed_problems=2000,
        probed=64,
    ),
    "cpu": Sizes(
        seqs=32,
        fewer_seqs=28,
        tiny_problems=96,
        smollm2_problems=1,
        smollm2_chains=4,
        smollm2_tokens=256,
        layers=2,
        overhead_rounds=1,
        overhead_problems=8,
        overhead_tokens=32,
        search_problems=8,
        search_tokens=32,
        search_repeats=1,
        epochs=1,
        swaps=3,
        leaves=64,
        killed_problems=96,
        probed=16,
    ),
}
SIZES["quick"] = replace(
    SIZES["cpu"],
    seqs=16,
    fewer_seqs=14,
    tiny_problems=32,
    smollm2_chains=2,
    smollm2_tokens=96,
    layers=1,
    overhead_problems=2,
    overhead_tokens=16,
    search_problems=2,
    search_tokens=16,
    leaves=16,
    killed_problems=48,
    probed=8,
)


@dataclass(frozen=True)
class Here:
    """What a part is given. `work` is the folder for runs and weights, shared by the parts of one check. `quick`: as
    little as there can be, on cores."""

    device: Device
    work: Path
    quick: bool = False

    @property
    def sizes(self) -> Sizes:
        return SIZES["quick" if self.quick else self.device]

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


# ---- what it gives --------------------------------------------------------------------------------------------------


class Status(StrEnum):
    OK = "ok"
    UNHEALTHY = "unhealthy"  # it ran, and a figure is not what it should be
    FAILED = "failed"  # it did not run to its end
    NOT_RUN = "not run"  # what it needs is not here: neither good nor bad


@dataclass(frozen=True)
class Figure:
    """`healthy` says in words what the value should be, empty where nothing is expected; `good` None: not judged."""

    name: str
    value: float | int | str | None
    healthy: str = ""
    good: bool | None = None

    def __str__(self) -> str:
        if isinstance(self.value, float):
            shown = f"{self.value:,.0f}" if abs(self.value) >= 1000 else f"{self.value:.3g}"
        else:
            shown = f"{self.value:,}" if isinstance(self.value, int) else str(self.value)
        return f"{self.name} {shown}" + ("" if self.good is not False else f" (should be {self.healthy})")


def at_least(name: str, value: float | None, bound: float, *, judged: bool = True) -> Figure:
    """`judged` False: the figure depends on the device, and is not expected of this one."""
    return Figure(name, value, f">= {bound:g}", (value is not None and value >= bound) if judged else None)


def at_most(name: str, value: float | None, bound: float, *, judged: bool = True) -> Figure:
    return Figure(name, value, f"<= {bound:g}", (value is not None and value <= bound) if judged else None)


@dataclass(frozen=True)
class Result:
    part: str
    status: Status
    figures: tuple[Figure, ...] = ()
    why: str = ""
    wall_s: float = 0.0
    raw: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "status": self.status.value}


def judged(part: str, figures: Sequence[Figure], *, wall_s: float, raw: dict[str, Any]) -> Result:
    """ok unless a figure is not good."""
    bad = [f.name for f in figures if f.good is False]
    status = Status.UNHEALTHY if bad else Status.OK
    return Result(part, status, tuple(figures), ", ".join(bad), wall_s, raw)


def from_dict(raw: dict[str, Any]) -> Result:
    figures = tuple(Figure(**f) for f in raw["figures"])
    return Result(**{**raw, "status": Status(raw["status"]), "figures": figures})


def exit_code(results: Sequence[Result]) -> int:
    """0 all well; 1 something is not; 3 nothing bad, but parts could not be run."""
    statuses = {r.status for r in results}
    if statuses & {Status.FAILED, Status.UNHEALTHY}:
        return 1
    return 3 if Status.NOT_RUN in statuses else 0


def table(results: Sequence[Result], title: str) -> Table:
    """One row a part."""
    out = Table(title=title, title_justify="left", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("part", "result", "figures"):
        out.add_column(name, overflow="fold")
    for result in results:
        status = f"{result.status}: {result.why}" if result.why and not result.figures else str(result.status)
        shown = "  ".join(str(f).replace(" ", "\N{NO-BREAK SPACE}") for f in result.figures)
        out.add_row(result.part, status, shown or f"after {result.wall_s:.0f} s" if result.wall_s else shown)
    return out


def to_json(results: Sequence[Result], machine: dict[str, Any]) -> str:
    return json.dumps({"machine": machine, "parts": [r.to_dict() for r in results]}, indent=1)
