"""Exports preferences between whole answers: a kept one that passes over one that fails, to the same problem.

Each text appears at least once and no pair twice: with g passing and b failing texts there are max(g, b) rows. With
`--from trajectories` a chosen answer may be one that a pruning rule dropped.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from berry.pipeline.records import Ending
from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.export.base import (
    ExportContext,
    ExportFormat,
    Origin,
    Sampled,
    origin_of,
    sampled_of,
    text_digest,
)
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
    passing, failing = _Distinct(), _Distinct()
    for row in stored.trajectories:
        outcome = ending_of(row)
        if outcome is Ending.PASS and (row["kept"] or context.source == "trajectories"):
            passing.add(row)
        elif outcome is Ending.WRONG:
            failing.add(row)
    good, bad = passing.latest_first(), failing.latest_first()
    if not good or not bad:
        return
    chance = random.Random(stored.problem_id)
    chance.shuffle(good)
    chance.shuffle(bad)
    for i in range(max(len(good), len(bad))):
        (chosen_id, chosen), (rejected_id, rejected) = good[i % len(good)], bad[i % len(bad)]
        origin = origin_of(stored, f"{chosen_id}>{rejected_id}")
        yield DpoRecord(origin, sampled_of(stored, chosen), sampled_of(stored, rejected))


class _Distinct:
    """Trajectories with different texts, each by its id and its leaf; of those with equal texts the first."""

    def __init__(self) -> None:
        self._found: dict[bytes, tuple[str, str]] = {}

    def add(self, row: Row) -> None:
        """Adds one, unless it has no text."""
        if row["response"]:
            key = text_digest(row["response"])
            self._found[key] = self._found.pop(key, (row["trajectory_id"], row["leaf"]))

    def latest_first(self) -> list[tuple[str, str]]:
        """In the order in which their texts came last, from the end."""
        return list(reversed(self._found.values()))


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
