"""Exports whole trees: one row a tree, each segment's tokens once, for trainers that pack a tree into one sequence.

    packed   one long sequence: the prompt, then the segments depth first; a column has a number a token, or a segment
    nodes    the same as a list of segments, each with its text, and the prompt apart

Segment 0 is the prompt. Token t of segment s may attend to token u of segment r where u comes before t in the sequence
and r <= s <= last[r], since depth first all that is below r lies in one piece. A response is the segments on the way
from 0 to its leaf; `docs/exports.md` has a reader that rebuilds every trajectory.

All checked and unchecked leaves are there, dropped ones too: each says whether it was kept, and why not.

A tree of more than MOST_TOKENS tokens or MOST_LEAVES trajectories is cut between branches into several rows, each a
tree with all that its trajectories need: prefixes of several rows are in each, and `trajectories` counts those of the
row, so that a loss that is weighted by it adds up to that of the whole tree. A row is in memory as columns, and what is
told of the leaves of the others lies in a temporary file.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa

from berry.pipeline.core.values.estimate import Value
from berry.pipeline.records import Message, ValueKind
from berry.pipeline.stages.dataset.read_tree import ReadNode
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
from berry.pipeline.stages.export.tree_leaves import LEAF, TreeLeaves
from berry.pipeline.storage.parquet.list_columns import numbers_of

MOST_TOKENS = 1 << 20
MOST_LEAVES = 4096
"""Of one row, what is on the way to a single leaf apart."""


@dataclass(frozen=True, slots=True)
class TreeSegment:
    """A stretch of tokens that its trajectories share. `parent`: number of the segment before it, -1 for the prompt;
    `last`: number of the last segment below it, its own where there is none; `trajectories`: leaves at or below it;
    `weight`: one over the chance with which it was kept once sampled, None where it is not one of the draws that values
    count (core/values)."""

    node: ReadNode
    parent: int
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
    """A tree, or one of the `parts` that it is cut into. `order`: its nodes by number, depth first; by segment,
    `parents`, `last` and `trajectories` as in TreeSegment; `are_weighed`: whether the run stored what branches weigh;
    `leaves`: structs of `LEAF`."""

    origin: Origin
    messages: list[Message]
    stored: StoredTree
    part: int
    parts: int
    order: array[int]
    parents: array[int]
    last: array[int]
    trajectories: array[int]
    are_weighed: bool
    leaves: pa.StructArray

    @property
    def segments(self) -> Iterator[TreeSegment]:
        """Depth first, the prompt first."""
        tree, values = self.stored.tree, self.stored.values
        for at, number in enumerate(self.order):
            node = ReadNode(tree, number)
            weight = node.weight if self.are_weighed or not at else None
            numbers = self.parents[at], self.last[at], self.trajectories[at]
            yield TreeSegment(node, *numbers, values[node.node_id], weight)

    def tokens(self, segment: TreeSegment) -> array[int]:
        """Of a segment, the prompt's for the first."""
        return segment.node.tokens if segment.parent >= 0 else self.stored.tree.prompt_ids

    @property
    def starts(self) -> array[int]:
        """Where each segment begins in the packed sequence."""
        starts, at = array("i"), 0
        for segment in self.segments:
            starts.append(at)
            at += segment.node.n_tokens if segment.parent >= 0 else len(self.stored.tree.prompt_ids)
        return starts

    @property
    def logprobs(self) -> array[float] | None:
        """Nats, one a token of the packed sequence, 0 for the prompt's and for what tools said; None where the run did
        not store them."""
        joined = array("f")
        for segment in self.segments:
            known = segment.node.logprobs if segment.trainable else array("f", bytes(4 * len(self.tokens(segment))))
            if known is None and segment.node.n_tokens:
                return None
            joined.extend(known or ())
        return joined


@dataclass(frozen=True, slots=True)
class _WholeTree:
    """All segments of a tree, depth first: their nodes' numbers, the places of those before them (-1 for the prompt),
    and how many trajectories end in each."""

    order: array[int]
    parents: array[int]
    ending: array[int]

    def cuts(self, stored: StoredTree) -> list[tuple[int, int]]:
        """The stretches of segments that become a row each, cut where a branch has ended."""
        tree, found = stored.tree, list[tuple[int, int]]()
        start, tokens, leaves = 0, len(tree.prompt_ids), 0
        for first, stop in self._branches():
            new, ends = sum(ReadNode(tree, n).n_tokens for n in self.order[first:stop]), sum(self.ending[first:stop])
            if first and (tokens + new > MOST_TOKENS or leaves + ends > MOST_LEAVES):
                found.append((start, first))
                above = ReadNode(tree, self.order[self.parents[first]])
                start, tokens, leaves = first, len(tree.prompt_ids) + above.end, 0
            tokens += new
            leaves += ends
        return [*found, (start, len(self.order))]

    def _branches(self) -> Iterator[tuple[int, int]]:
        """The stretches of segments of which each is the first child of the one before."""
        first = 0
        for at in range(1, len(self.order)):
            if self.parents[at] != at - 1:
                yield first, at
                first = at
        yield first, len(self.order)

    def above(self, at: int) -> list[int]:
        """The places on the way to this one, the prompt's first."""
        found = []
        while (at := self.parents[at]) >= 0:
            found.append(at)
        return found[::-1]


def records(stored: StoredTree, context: ExportContext) -> Iterator[TreeRecord]:
    """One for each tree that has a leaf, or as many as it is cut into."""
    del context
    tree, ids = stored.tree, stored.trajectories.column("leaf")
    if ids.null_count == len(ids):
        return
    order = array("i", (node.number for node in tree.walk()))
    place = array("i", bytes(4 * len(order)))
    for at, number in enumerate(order):
        place[number] = at
    ends = array("i", (-1 if leaf is None else place[leaf] for chunk in ids.iterchunks() for leaf in chunk.to_pylist()))
    del ids
    ending = array("i", bytes(4 * len(order)))
    for at in ends:
        if at >= 0:
            ending[at] += 1
    parents = array("i", (place[above.number] if (above := ReadNode(tree, n).parent) else -1 for n in order))
    shape = _WholeTree(order, parents, ending)
    is_pooled = any(stored.values[str(number)].kind is ValueKind.POOLED for number in order)
    cuts = shape.cuts(stored)
    leaves = TreeLeaves(stored.trajectories, ends, [start for start, _ in cuts])
    del place, ends
    for part, (start, stop) in enumerate(cuts):
        above = shape.above(start)
        parents, last, through = _part(shape, above, start, stop)
        yield TreeRecord(
            origin=origin_of(stored, stored.problem_id),
            messages=stored.messages,
            stored=stored,
            part=part,
            parts=len(cuts),
            order=array("i", (order[at] for at in chain(above, range(start, stop)))),
            parents=parents,
            last=last,
            trajectories=through,
            are_weighed=not is_pooled,  # of values that are pooled, no weights were stored
            leaves=leaves.of(part, len(above)),
        )


def _part(shape: _WholeTree, above: Sequence[int], start: int, stop: int) -> tuple[array[int], array[int], array[int]]:
    """By segment of one row, `parents`, `last` and `trajectories`; `above`: the places on the way to its first."""
    size = len(above) + stop - start
    parents = array("i", range(-1, len(above) - 1))
    where = {place: at for at, place in enumerate(above)}
    for place in shape.parents[start:stop]:
        parents.append(where[place] if place in where else place if place < 0 else place - start + len(above))
    through = array("i", bytes(4 * len(above)))
    through.extend(shape.ending[start:stop])
    last = array("i", range(size))
    for at in range(size - 1, 0, -1):
        through[parents[at]] += through[at]
        last[parents[at]] = max(last[parents[at]], last[at])
    return parents, last, through


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
_OF_ROW: ColumnTypes = (("part", pa.int32()), ("parts", pa.int32()), ("prompt", MESSAGES))
_PACKED: ColumnTypes = (
    *_OF_ROW,
    ("input_ids", IDS),
    ("position_ids", IDS),
    ("loss_mask", MASK),
    ("logprobs", LOGPROBS),
    ("starts", IDS),
    *((name, pa.list_(kind)) for name, kind, _ in _OF_SEGMENT),
    ("leaves", pa.list_(LEAF)),
)


def _packed(record: TreeRecord) -> Row:
    ids, positions, mask = array("i"), array("i"), array("b")
    for segment in record.segments:
        tokens = record.tokens(segment)
        position = len(record.stored.tree.prompt_ids) + segment.node.end - len(tokens) if segment.parent >= 0 else 0
        ids.extend(tokens)
        positions.extend(range(position, position + len(tokens)))
        mask.extend([segment.trainable] * len(tokens))
    return {
        **_of_row(record),
        "input_ids": ids,
        "position_ids": positions,
        "loss_mask": mask,
        "logprobs": record.logprobs,
        "starts": record.starts,
        **{name: _column(record, kind, of) for name, kind, of in _OF_SEGMENT},
        "leaves": record.leaves,
    }


def _of_row(record: TreeRecord) -> Row:
    return {"part": record.part, "parts": record.parts, "prompt": record.messages}


def _column(record: TreeRecord, kind: pa.DataType, of: Callable[[TreeSegment], Any]) -> pa.Array:
    return pa.array(map(of, record.segments), kind)


_NODE_COLUMNS: tuple[tuple[str, pa.DataType, Any], ...] = (
    ("text", pa.string(), lambda s: s.node.text if s.trainable else None),
    ("trainable", pa.bool_(), lambda s: s.trainable),
    *_OF_SEGMENT,
)
_NODE = pa.struct(
    [("token_ids", IDS), ("logprobs", LOGPROBS), *((name, kind) for name, kind, _ in _NODE_COLUMNS)],
)
_NODES: ColumnTypes = (*_OF_ROW, ("nodes", pa.list_(_NODE)), ("leaves", pa.list_(LEAF)))


def _nodes(record: TreeRecord) -> Row:
    columns = [
        numbers_of(map(record.tokens, record.segments), "i").arrow(),
        numbers_of((s.node.logprobs if s.trainable else None for s in record.segments), "f").arrow(),
        *(_column(record, kind, of) for _, kind, of in _NODE_COLUMNS),
    ]
    nodes = pa.StructArray.from_arrays(columns, fields=_NODE.fields)
    return {**_of_row(record), "nodes": nodes, "leaves": record.leaves}


_PACKED_LAYOUT = layout(_PACKED, _packed)
TREE = ExportFormat(
    records,
    {"packed": _PACKED_LAYOUT, "nodes": layout(_NODES, _nodes)},
    nothing="no problem was searched; `berry run CONFIG` goes on with a run that was stopped",
    tokens=_PACKED_LAYOUT,
    labels=f"Every segment has its value, null where none is known, and its kind. {VALUES}",
)
