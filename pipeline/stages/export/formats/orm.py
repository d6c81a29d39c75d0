"""Exports whole responses with their verdict: one row a distinct response of a problem, with how often it was sampled.

Equal responses whose checks differ (a verifier that is not deterministic) take the verdict of most of them; ties are
left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.export.alike import Alike
from berry.pipeline.stages.export.base import (
    IDS,
    MASK,
    MESSAGES,
    ColumnTypes,
    ExportContext,
    ExportFormat,
    Origin,
    Sampled,
    assistant,
    layout,
    origin_of,
    sampled_of,
)
from berry.pipeline.stages.training.step_labels import is_checked
from berry.verifiers.base import Outcome


@dataclass(frozen=True, slots=True)
class OrmRecord:
    """A response and whether it passes: it was drawn and checked `samples` times, and passed `passes` times."""

    origin: Origin
    sampled: Sampled
    passed: bool
    samples: int
    passes: int


def records(stored: StoredTree, context: ExportContext) -> Iterator[OrmRecord]:
    """One for each distinct response that was checked, in the order of their first appearance."""
    del context
    checked, passed = Alike(), bytearray()
    for number, row in enumerate(stored.trajectories):
        if is_checked(row) and row["leaf"] in stored.tree:
            checked.add(number, row["leaf"], [row["response"] or ""])
            passed.append(row["verdict"] == Outcome.PASS)
    ids = stored.trajectories.column("trajectory_id")
    for group in checked.groups():
        passes, first = sum(passed[at] for at in group), group[0]
        if 2 * passes != len(group):
            origin = origin_of(stored, ids[checked.rows[first]].as_py())
            sampled = sampled_of(stored, str(checked.leaves[first]))
            yield OrmRecord(origin, sampled, 2 * passes > len(group), len(group), passes)


_COLUMNS: ColumnTypes = (("samples", pa.int32()), ("passes", pa.int32()))


def _columns(r: OrmRecord) -> Row:
    return {"samples": r.samples, "passes": r.passes}


ORM = ExportFormat(
    records,
    {
        "trl": layout(
            [("prompt", MESSAGES), ("completion", MESSAGES), ("label", pa.bool_()), *_COLUMNS],
            lambda r: {
                "prompt": r.sampled.messages,
                "completion": assistant(r.sampled.text),
                "label": r.passed,
                **_columns(r),
            },
        ),
        "openrlhf": layout(
            [("input", MESSAGES), ("output", MESSAGES), ("label", pa.int32()), *_COLUMNS],
            lambda r: {
                "input": r.sampled.messages,
                "output": assistant(r.sampled.text),
                "label": int(r.passed),
                **_columns(r),
            },
        ),
    },
    nothing="no trajectory has a verdict; `berry reverify RUN` checks them again",
    tokens=layout(
        [("input_ids", IDS), ("loss_mask", MASK), ("label", pa.bool_()), *_COLUMNS],
        lambda r: {
            "input_ids": r.sampled.input_ids,
            "loss_mask": r.sampled.loss_mask,
            "label": r.passed,
            **_columns(r),
        },
    ),
    sampled=lambda r: [r.sampled],
    labels="A label is the verdict of the problem's verifier. `samples` is how often the response was drawn and "
    "checked, `passes` how often it passed; where checks of equal responses differ, most of them decide.",
)
