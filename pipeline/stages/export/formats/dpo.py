"""Exports preferences between whole answers: a kept one that passes over one that fails, to the same problem.

Each text appears at least once and no pair twice: with g passing and b failing texts there are max(g, b) rows. With
`--from trajectories` a chosen answer may be one that a pruning rule dropped.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from berry.pipeline.records import Ending
from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.export.alike import Alike
from berry.pipeline.stages.export.base import (
    ExportContext,
    ExportFormat,
    Origin,
    Sampled,
    origin_of,
    sampled_of,
)
from berry.pipeline.stages.export.formats.preferences import text_layout, token_layout
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
    passing, failing = Alike(), Alike()
    for number, row in enumerate(stored.trajectories):
        outcome = ending_of(row) if row["response"] else None
        if outcome is Ending.PASS and (row["kept"] or context.source == "trajectories"):
            passing.add(number, row["leaf"], [row["response"]])
        elif outcome is Ending.WRONG:
            failing.add(number, row["leaf"], [row["response"]])
    good, bad = _latest_first(passing), _latest_first(failing)
    if not good or not bad:
        return
    ids = stored.trajectories.column("trajectory_id")
    chance = random.Random(stored.problem_id)
    chance.shuffle(good)
    chance.shuffle(bad)
    for i in range(max(len(good), len(bad))):
        chosen, rejected = good[i % len(good)], bad[i % len(bad)]
        origin = origin_of(stored, f"{ids[passing.rows[chosen]]}>{ids[failing.rows[rejected]]}")
        of_chosen, of_rejected = str(passing.leaves[chosen]), str(failing.leaves[rejected])
        yield DpoRecord(origin, sampled_of(stored, of_chosen), sampled_of(stored, of_rejected))


def _latest_first(found: Alike) -> array[int]:
    """The first place of each text, in the order in which the texts came last, from the end."""
    by_last = sorted((group[-1], group[0]) for group in found.groups())
    return array("i", (first for _, first in reversed(by_last)))


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
