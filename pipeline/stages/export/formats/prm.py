"""Exports process labels: responses as steps, each with the estimated value of the prefix that ends with it.

A step whose label is not sure enough is joined to the next that is. Equal step sequences of a problem are one row: a
step's evidence is then that of all places of the tree in which it ends, each counted once and weighted by its
independent continuations n:

    value = Σ n·value / Σ n        mass = Σ n·mass / Σ n        n = Σ n        label = value / mass
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
from msgspec.structs import replace

from berry.pipeline.core.labels import only
from berry.pipeline.core.values.estimate import Draws, Scheme, Value, value_of
from berry.pipeline.records import ValueKind
from berry.pipeline.stages.dataset.read_tree import ReadNode
from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.dataset.steps import Cutter, label_of, path_step_ends
from berry.pipeline.stages.export.alike import Alike
from berry.pipeline.stages.export.base import (
    IDS,
    VALUES,
    ColumnTypes,
    ExportContext,
    ExportFormat,
    Origin,
    Sampled,
    layout,
    origin_of,
    sampled_of,
)
from berry.pipeline.stages.training.step_labels import is_checked

NodeEnd = tuple[str, bool]  # a node, and whether the step ends with it
STEP_TAG = "ки"  # OpenRLHF's customary placeholder behind each step


@dataclass(frozen=True, slots=True)
class PrmRecord:
    """A response in labelled steps.

    `ends`: token offsets in the response at which the steps end. `soft`: the estimated chance that a continuation
    passes, `hard` whether any did, `visits` the independent continuations behind it, `weights` what the label weighs (1
    unless branches were cut: labels of trees with cuts are unbiased only so weighted). `first_error`: index of the
    first step from which nothing passes, None if there is none. `samples`: trajectories with these steps.
    """

    origin: Origin
    sampled: Sampled
    prompt: str
    steps: list[str]
    ends: list[int]
    soft: list[float]
    hard: list[bool]
    visits: list[int]
    weights: list[float]
    confidence: list[float]
    first_error: int | None
    samples: int


@dataclass(frozen=True, slots=True)
class _LabelledSteps:
    """The leaves of the trajectories that have one sequence of steps, and the first trajectory's id."""

    trajectory_id: str
    leaves: list[str]


def records(stored: StoredTree, context: ExportContext) -> Iterator[PrmRecord]:
    """One for each distinct sequence of steps among the checked trajectories that has a label."""
    prompt = _prompt(stored, context)
    cutter = Cutter(context.step, context.thinking)
    for steps in _gathered(stored, cutter):
        record = _labelled(stored, steps, prompt, context, cutter)
        if record is not None:
            yield record


def _gathered(stored: StoredTree, cutter: Cutter) -> Iterator[_LabelledSteps]:
    found = Alike()
    for number, row in enumerate(stored.trajectories):
        if is_checked(row) and row["leaf"] in stored.tree:
            found.add(number, row["leaf"], cutter.cut(_path(stored, row["leaf"]))[0])
    ids = stored.trajectories.column("trajectory_id")
    for group in found.groups():
        yield _LabelledSteps(ids[found.rows[group[0]]].as_py(), [str(found.leaves[at]) for at in group])


def _path(stored: StoredTree, leaf: str) -> list[ReadNode]:
    return stored.tree.path(stored.tree[leaf])


def _evidence(stored: StoredTree, steps: _LabelledSteps, cutter: Cutter) -> tuple[list[str], list[list[Value]]]:
    """The texts of the steps, and for each the values of the places of the tree in which it ends, each place once."""
    found: list[dict[NodeEnd, Value]] = []
    texts: list[str] = []
    for leaf in steps.leaves:
        texts, ends = cutter.cut(_path(stored, leaf))
        found = found or [{} for _ in texts]
        for values, end in zip(found, ends, strict=True):
            values[end.node.node_id, end.whole] = label_of(stored.values, end)
    return texts, [list(values.values()) for values in found]


def _labelled(
    stored: StoredTree, steps: _LabelledSteps, prompt: str, context: ExportContext, cutter: Cutter
) -> PrmRecord | None:
    """None where no step is sure enough, or of several the last alone, whose label is the verdict."""
    filters = context.filters
    all_texts, all_evidence = _evidence(stored, steps, cutter)
    all_ends = _token_ends(stored, steps, len(all_texts), context)
    texts: list[str] = []
    ends: list[int] = []
    labels: list[Value] = []
    held = ""
    for index, (text, evidence) in enumerate(zip(all_texts, all_evidence, strict=True)):
        held += text
        value = only(_joined(evidence, stored.values.scheme), filters.kinds)
        if value.label is None or not filters.lets_through(value):
            continue
        texts.append(held)
        labels.append(value)
        ends.extend(all_ends[index : index + 1])
        held = ""
    if not texts or (len(all_texts) > 1 and texts == ["".join(all_texts)]):
        return None
    hard = [bool(value.reached) for value in labels]
    return PrmRecord(
        origin=origin_of(stored, steps.trajectory_id),
        sampled=sampled_of(stored, steps.leaves[0]),
        prompt=prompt,
        steps=texts,
        ends=ends,
        soft=[value.label or 0.0 for value in labels],
        hard=hard,
        visits=[value.n for value in labels],
        weights=[value.mass for value in labels],
        confidence=[value.confidence for value in labels],
        first_error=next((i for i, h in enumerate(hard) if not h), None),
        samples=len(steps.leaves),
    )


def _joined(values: Sequence[Value], scheme: Scheme) -> Value:
    """One value of the same prefix from several places of a tree; what is unknown adds nothing."""
    known = [value for value in values if value.value is not None and value.n]
    if len(known) < 2:
        return known[0] if known else values[0]
    n = sum(value.n for value in known)
    total = sum(value.n * (value.value or 0.0) for value in known)
    draws = Draws(total / n, sum(value.n * value.mass for value in known) / n, n)
    reached = any(value.reached for value in known)
    survivors = any(v.kind is ValueKind.SURVIVORS for v in known)
    joined = value_of(draws, Scheme(survivors=survivors, cuts=scheme.cuts), reached)
    return replace(joined, kind=ValueKind.POOLED) if any(v.kind is ValueKind.POOLED for v in known) else joined


def _token_ends(stored: StoredTree, steps: _LabelledSteps, count: int, context: ExportContext) -> list[int]:
    """Token offsets of all `count` steps; none where the run's tokenizer can't be had, or finds another number."""
    if context.decode is None:
        return []
    ends = path_step_ends(_path(stored, steps.leaves[0]), context.step, context.thinking, context.decode)
    return ends if len(ends) == count else []


def _prompt(stored: StoredTree, context: ExportContext) -> str:
    """A single message is given as it is. Several are given as the chat template renders them, special tokens included,
    since a system prompt has no other place in a text."""
    messages = stored.messages
    if len(messages) == 1:
        return messages[0]["content"]
    if context.rendered is not None:
        return context.rendered(stored.tree.prompt_ids)
    return "\n\n".join(message["content"] for message in messages)


_COLUMNS: ColumnTypes = (
    ("soft", pa.list_(pa.float64())),
    ("visits", pa.list_(pa.int32())),
    ("weights", pa.list_(pa.float64())),
    ("confidence", pa.list_(pa.float64())),
    ("first_error", pa.int32()),
    ("samples", pa.int32()),
)


def _columns(r: PrmRecord) -> Row:
    return {
        "soft": r.soft,
        "visits": r.visits,
        "weights": r.weights,
        "confidence": r.confidence,
        "first_error": r.first_error,
        "samples": r.samples,
    }


def _tagged(prompt: str, steps: Sequence[str]) -> str:
    return prompt + "\n" + "".join(f"{step.rstrip()} {STEP_TAG}\n" for step in steps)


PRM = ExportFormat(
    records,
    {
        "trl": layout(
            [
                ("prompt", pa.string()),
                ("completions", pa.list_(pa.string())),
                ("labels", pa.list_(pa.bool_())),
                *_COLUMNS,
            ],
            lambda r: {"prompt": r.prompt, "completions": r.steps, "labels": r.hard, **_columns(r)},
        ),
        "openrlhf": layout(
            [("input", pa.string()), ("label", pa.list_(pa.string())), *_COLUMNS],
            lambda r: {
                "input": _tagged(r.prompt, r.steps),
                "label": ["+" if h else "-" for h in r.hard],
                **_columns(r),
            },
        ),
    },
    nothing="no step before the last has a label that passes the filters: lower min-visits and min-confidence, or make "
    "labels with more continuations behind them (`berry annotate`)",
    needs_labels=True,
    tokens=layout(
        [("input_ids", IDS), ("step_ends", IDS), ("labels", pa.list_(pa.bool_())), *_COLUMNS],
        lambda r: {
            "input_ids": r.sampled.input_ids,
            "step_ends": [len(r.sampled.prompt_ids) + end - 1 for end in r.ends],
            "labels": r.hard,
            **_columns(r),
        },
    ),
    labels="A step's label is whether any continuation of the prefix that ends with it passed; `soft` is the prefix's "
    f"value, `visits` the independent continuations behind it, `weights` what the label weighs. {VALUES}",
)
