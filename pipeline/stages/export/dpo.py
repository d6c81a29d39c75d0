"""Exports preferences between whole answers: a kept one that passes over one that fails, to the same problem.

Each text appears at least once and no pair twice: with g passing and b failing texts there are max(g, b) rows. With
`--from trajectories` a chosen answer may be one that a pruning rule dropped.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from berry.pipeline.records import Ending
from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.export.base import ExportContext, ExportFormat, Origin, Sampled, origin_of, sampled_of
from berry.pipeline.stages.export.preferences import text_layout, token_layout
from berry.pipeline.stages.training.step_labels import ending_of


@dataclass(frozen=True, slots=True)
class DpoRecord:
    """A kept answer and a failing one to the same problem."""

    origin: Origin
    chosen: Sampled
    rejected: Sampled
    shared: int = 0


def records(stored: StoredTree, context: ExportContext) -> Iterator[DpoRecord]:
    """Passing over wrong answers of one tree, paired at random (seeded by the problem)."""
    passing = [r for r in stored.trajectories if ending_of(r) is Ending.PASS and (r["kept"] or _all(context))]
    failing = [r for r in stored.trajectories if ending_of(r) is Ending.WRONG]
    chance = random.Random(stored.problem_id)
    good, bad = _distinct(passing), _distinct(failing)
    if not good or not bad:
        return
    chance.shuffle(good)
    chance.shuffle(bad)
    for i in range(max(len(good), len(bad))):
        chosen, rejected = good[i % len(good)], bad[i % len(bad)]
        origin = origin_of(stored, f"{chosen['trajectory_id']}>{rejected['trajectory_id']}")
        yield DpoRecord(origin, sampled_of(stored, chosen), sampled_of(stored, rejected))


def _all(context: ExportContext) -> bool:
    return context.source == "trajectories"


def _distinct(rows: Iterable[Row]) -> list[Row]:
    """Each text once."""
    return list({row["response"]: row for row in reversed(list(rows)) if row["response"]}.values())


_LAYOUT = text_layout((), lambda _: {})
DPO = ExportFormat(
    records,
    {"trl": _LAYOUT, "openrlhf": _LAYOUT},
    nothing="no problem has both a kept passing answer and a failing one; `--from trajectories` takes passing answers "
    "that were dropped too, and more trajectories a problem (rollout.policy) make both likelier",
    tokens=token_layout((), lambda _: {}),
    sampled=lambda r: [r.chosen, r.rejected],
    labels="The chosen response passed the problem's verifier, the rejected one failed it; pairs are drawn at random.",
)
