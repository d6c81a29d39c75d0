"""Exports whole trees: one row a tree, each segment's tokens once, for trainers that pack a tree into one sequence.

    packed   one long sequence: the prompt, then the segments depth first; a column has a number a token, or a segment
    nodes    the same as a list of segments, each with its text, and the prompt apart

Segment 0 is the prompt. Token t of segment s may attend to token u of segment r where u comes before t in the sequence
and r <= s <= last[r], since depth first all that is below r lies in one piece. A response is the segments on the way
from 0 to its leaf; `docs/exports.md` has a reader that rebuilds every trajectory.

All checked and unchecked leaves are there, dropped ones too: each says whether it was kept, and why not.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from berry.pipeline.core.tree import TreeNode
from berry.pipeline.core.values.estimate import Value
from berry.pipeline.records import Ending, Message, ValueKind, ending
from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.export.base import (
    IDS,
    LOGPROBS,
    MASK,
    MESSAGES,
    VALUES,
    ColumnTypes,
    ExportContext,
    ExportFormat,
    Origin,
    layout,
    origin_of,
)

REWARDS = {Ending.PASS: 1.0, Ending.WRONG: 0.0}


@dataclass(frozen=True, slots=True)
class TreeSegment:
    """A stretch of tokens that its trajectories share. `parent`: number of the segment before it, -1 for the prompt;
    `position`: of its first token in the sequence that the model read; `last`: number of the last segment below it,
    its own where there is none; `trajectories`: leaves at or below it; `weight`: one over the chance with which it was
    kept once sampled, None where it is not one of the draws that values count (core/values)."""

    node: TreeNode
    tokens: array[int]
    parent: int
    position: int
    last: int
    trajectories: int
    value: Value
    weight: float | None

    @property
    def trainable(self) -> bool:
        """Whether the model sampled it: all but the prompt and what tools said."""
        return self.parent >= 0 and self.node.given is None


@dataclass(frozen=True, slots=True)
class TreeRecord:
    """A tree. `segments`: depth first, the prompt first; `leaves`: structs of `_LEAF`."""

    origin: Origin
    messages: list[Message]
    segments: Sequence[TreeSegment]
    leaves: pa.StructArray

    @property
    def starts(self) -> array[int]:
        """Where each segment begins in the packed sequence."""
        starts, at = array("i"), 0
        for segment in self.segments:
            starts.append(at)
            at += len(segment.tokens)
        return starts

    @property
    def logprobs(self) -> array[float] | None:
        """Nats, one a token of the packed sequence, 0 for the prompt's and for what tools said; None where the run did
        not store them."""
        joined = array("f", bytes(4 * len(self.segments[0].tokens)))
        for segment in self.segments[1:]:
            if segment.node.given is not None:
                joined.extend([0.0] * len(segment.tokens))
                continue
            if segment.node.logprobs is None and len(segment.tokens):
                return None
            joined.extend(segment.node.logprobs or ())
        return joined


def records(stored: StoredTree, context: ExportContext) -> Iterator[TreeRecord]:
    """One for each tree that has a leaf."""
    del context
    ids = stored.trajectories.column("leaf").to_pylist()
    if all(leaf is None for leaf in ids):
        return
    order = list(stored.tree.walk())
    number = {node.node_id: at for at, node in enumerate(order)}
    places = [None if leaf is None else number[str(leaf)] for leaf in ids]
    through = array("i", bytes(4 * len(order)))
    for at in places:
        if at is not None:
            through[at] += 1
    last = array("i", range(len(order)))
    for at in range(len(order) - 1, 0, -1):
        above = number[_parent(order[at]).node_id]
        through[above] += through[at]
        last[above] = max(last[above], last[at])
    prompt = stored.tree.prompt_ids
    is_pooled = any(stored.values[node.node_id].kind is ValueKind.POOLED for node in order)  # no weights were stored
    segments = [
        TreeSegment(
            node=node,
            tokens=node.tokens if at else prompt,
            parent=number[_parent(node).node_id] if at else -1,
            position=len(prompt) + node.end - len(node.tokens) if at else 0,
            last=last[at],
            trajectories=through[at],
            value=stored.values[node.node_id],
            weight=None if at and is_pooled else node.weight,
        )
        for at, node in enumerate(order)
    ]
    yield TreeRecord(origin_of(stored, stored.problem_id), stored.messages, segments, _leaves(stored, places))


def _parent(node: TreeNode) -> TreeNode:
    assert node.parent is not None, "only the root has none"
    return node.parent


_LEAF = pa.struct(
    [
        ("segment", pa.int32()),
        ("trajectory_id", pa.string()),
        ("verdict", pa.string()),
        ("outcome", pa.string()),  # records.Ending: what is neither right nor wrong apart
        ("reward", pa.float32()),  # 1 right, 0 wrong, null where it is neither
        ("answer", pa.string()),
        ("kept", pa.bool_()),
        ("drop_reason", pa.string()),
        ("orm", pa.float64()),
    ]
)
_LEAVES = pa.list_(_LEAF)


def _leaves(stored: StoredTree, places: Sequence[int | None]) -> pa.StructArray:
    """What is known of each trajectory; `places`: the segments in which they end, None of one without a tree."""
    told = (stored.trajectories.column(name).to_pylist() for name in ("verdict", "verdict_reason", "finish"))
    outcomes = [ending(*of_leaf) for of_leaf in zip(*told, strict=True)]
    made = {
        "segment": pa.array(places, pa.int32()),
        "outcome": pa.array(outcomes, pa.string()),
        "reward": pa.array([REWARDS.get(outcome) for outcome in outcomes], pa.float32()),
    }
    others = {f.name: stored.trajectories.column(f.name) for f in _LEAF.fields if f.name not in made}
    columns = made | {name: column.combine_chunks() for name, column in others.items()}
    rows = pa.StructArray.from_arrays([columns[f.name].cast(f.type) for f in _LEAF.fields], fields=_LEAF.fields)
    return rows.filter(made["segment"].is_valid())


_OF_SEGMENT: tuple[tuple[str, pa.DataType, Any], ...] = (
    ("parent", pa.int32(), lambda s: s.parent),
    ("depth", pa.int32(), lambda s: s.node.depth),
    ("last", pa.int32(), lambda s: s.last),
    ("trajectories", pa.int32(), lambda s: s.trajectories),
    ("value", pa.float64(), lambda s: s.value.value),
    ("value_low", pa.float64(), lambda s: None if s.value.value is None else s.value.low),
    ("value_high", pa.float64(), lambda s: None if s.value.value is None else s.value.high),
    ("value_n", pa.int32(), lambda s: s.value.n),
    ("value_mass", pa.float64(), lambda s: s.value.mass),
    ("value_kind", pa.string(), lambda s: s.value.kind),
    ("weight", pa.float64(), lambda s: s.weight),
    ("weights_version", pa.string(), lambda s: s.node.weights_version if s.trainable else None),
)
_PACKED: ColumnTypes = (
    ("prompt", MESSAGES),
    ("input_ids", IDS),
    ("position_ids", IDS),
    ("loss_mask", MASK),
    ("logprobs", LOGPROBS),
    ("starts", IDS),
    *((name, pa.list_(kind)) for name, kind, _ in _OF_SEGMENT),
    ("leaves", _LEAVES),
)


def _packed(record: TreeRecord) -> Row:
    ids, positions, mask = array("i"), array("i"), array("b")
    for segment in record.segments:
        n = len(segment.tokens)
        ids.extend(segment.tokens)
        positions.extend(range(segment.position, segment.position + n))
        mask.extend([segment.trainable] * n)
    return {
        "prompt": record.messages,
        "input_ids": ids,
        "position_ids": positions,
        "loss_mask": mask,
        "logprobs": record.logprobs,
        "starts": record.starts,
        **{name: [of(segment) for segment in record.segments] for name, _, of in _OF_SEGMENT},
        "leaves": record.leaves,
    }


_NODES: ColumnTypes = (
    ("prompt", MESSAGES),
    (
        "nodes",
        pa.list_(
            pa.struct(
                [
                    ("token_ids", IDS),
                    ("text", pa.string()),
                    ("trainable", pa.bool_()),
                    ("logprobs", LOGPROBS),
                    *((name, kind) for name, kind, _ in _OF_SEGMENT),
                ]
            )
        ),
    ),
    ("leaves", _LEAVES),
)


def _nodes(record: TreeRecord) -> Row:
    return {
        "prompt": record.messages,
        "nodes": [
            {
                "token_ids": segment.tokens,
                "text": segment.node.text if segment.trainable else None,
                "trainable": segment.trainable,
                "logprobs": segment.node.logprobs if segment.trainable else None,
                **{name: of(segment) for name, _, of in _OF_SEGMENT},
            }
            for segment in record.segments
        ],
        "leaves": record.leaves,
    }


_PACKED_LAYOUT = layout(_PACKED, _packed)
TREE = ExportFormat(
    records,
    {"packed": _PACKED_LAYOUT, "nodes": layout(_NODES, _nodes)},
    nothing="no problem was searched; `berry run CONFIG` goes on with a run that was stopped",
    tokens=_PACKED_LAYOUT,
    labels=f"Every segment has its value, null where none is known, and its kind. {VALUES}",
)
