"""Holds a stored tree in columns: some 80 bytes a node whatever its texts are, a twentieth of what a growing one takes.

    node rows, leaf rows ─► ReadTree ─► ReadNode, made each time it is asked for      node_contents.py keeps the texts

It is read as `core.tree.Tree` is (core/tree_view.py). A node's id is its number as text, and its number the place of
its row. Nodes are equal where they are one node of one tree.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from math import isnan, nan
from typing import Any

import msgspec.structs
import numpy as np
from msgspec import Struct

from berry.pipeline.core.events import Called
from berry.pipeline.core.values.stored import given_of
from berry.pipeline.errors import StorageError
from berry.pipeline.records import ASSISTANT, DropReason, Finish
from berry.pipeline.stages.dataset.node_contents import NodeContents
from berry.pipeline.stages.dataset.rows import Row, node_of
from berry.verifiers.base import Outcome, Reason, Verdict


class _CommonFields(Struct, frozen=True, gc=False):
    """What a node has in common with most others."""

    finish: Finish = Finish.STEP
    engine_id: str = ""
    weights_version: str = ""
    weight: float | None = 1.0
    has_logprobs: bool = False
    has_text: bool = True


class _LeafFate(Struct, frozen=True):
    """What became of a leaf."""

    verdict: Verdict | None = None
    drop: DropReason | None = None


class ReadTree:
    """The nodes of one problem as they were stored."""

    def __init__(self, problem_id: str, rows: Iterable[Row], leaves: Iterable[Row] = ()) -> None:
        """`rows`: of the nodes, the root first and parents before children, each used before the next is asked for;
        `leaves`: of its trajectories that end in a node. Raises StorageError where a node is not there."""
        self.problem_id = problem_id
        self.prompt_ids = array("i")
        self._contents = NodeContents()
        self._parents, self._index, self._depths, self._ends = array("i"), array("i"), array("i"), array("i")
        self._seeds, self._logprob_sums = array("q"), array("d")
        self._entropies, self._prms = array("f"), array("f")
        self._alike: list[_CommonFields] = []
        self._alike_codes, self._known_alike = array("i"), dict[_CommonFields, int]()
        self._given: dict[int, Called] = {}  # without tokens and texts
        self._inner_prms: dict[int, list[float | None]] = {}
        self.has_completions = False  # that were drawn only to label prefixes
        n_children = array("i")
        for row in rows:
            self._add(row, n_children)
        self._orms = array("f", [nan]) * len(self)
        self._leaf_codes, self._leaf_ends = array("i", bytes(4 * len(self))), [_LeafFate()]
        known_ends: dict[object, int] = {}
        for row in leaves:
            self._tell(row, known_ends)

    def _add(self, row: Row, n_children: array[int]) -> None:
        number, tokens, logprobs, text = len(self), row["token_ids"], row["logprobs"], row["text"]
        if row["node_id"] != str(number):
            raise missing_node(self.problem_id, str(number))
        above, depth, start, alike = -1, 0, 0, _CommonFields()
        if not number:
            self.prompt_ids, tokens, logprobs, text = tokens, array("i"), None, ""
        else:
            above = int(row["parent_id"] or 0)
            if not 0 <= above < number:
                raise missing_node(self.problem_id, f"{above} above node {number}")
            depth, start = self._depths[above] + 1, self._ends[above]
            weight = 1.0 if row["sample"] is None else row["weight"]
            made_by = row["engine_id"], row["weights_version"]
            alike = _CommonFields(Finish(row["finish"]), *made_by, weight, logprobs is not None, text is not None)
        self._contents.add(tokens, logprobs, text)
        self._parents.append(above)
        place = n_children[above] if number else 0
        self._index.append(place if row["sample"] is None else row["sample"])
        self._depths.append(depth)
        self._ends.append(start + len(tokens))
        self._seeds.append(row["seed"] or 0)
        self._logprob_sums.append(_or_nan(row["logprob_sum"] if number else None))
        self._entropies.append(_or_nan(row["mean_entropy"]))
        self._prms.append(_or_nan(row["prm"]))
        if row["inner_prm"]:
            self._inner_prms[number] = row["inner_prm"]
        self._alike_codes.append(self._known_alike.setdefault(alike, len(self._alike)))
        if len(self._known_alike) > len(self._alike):
            self._alike.append(alike)
        n_children.append(0)
        if number:
            n_children[above] += 1
        if row["role"] not in (None, ASSISTANT):
            called = given_of(node_of({**row, "token_ids": (), "text": ""}))
            assert called is not None, "a tool's role is not the assistant's"
            self._given[number] = called

    def _tell(self, row: Row, known: dict[object, int]) -> None:
        if row["leaf"] not in self:
            raise missing_node(self.problem_id, row["leaf"])
        drop = DropReason.ANNOTATION if row["drop_reason"] == DropReason.ANNOTATION else None
        self.has_completions = self.has_completions or drop is not None
        said = row["verdict"], row["verdict_reason"], row["answer"], drop
        code = known.setdefault(said, len(self._leaf_ends))
        if code == len(self._leaf_ends):
            is_checked = row["verdict"] is not None
            verdict = Verdict(Outcome(said[0]), Reason(said[1]), answer=said[2]) if is_checked else None
            self._leaf_ends.append(_LeafFate(verdict, drop))
        self._leaf_codes[int(row["leaf"])] = code
        self._orms[int(row["leaf"])] = _or_nan(row["orm"])

    @cached_property
    def _children(self) -> tuple[array[int], array[int]]:
        """The numbers of all children, of node after node, and where those of each begin."""
        parents = np.frombuffer(self._parents, np.int32)
        order = np.argsort(parents, kind="stable")[1:].astype(np.int32)  # the root, below none, comes first
        starts = np.zeros(len(self) + 1, np.int32)
        np.cumsum(np.bincount(parents[1:], minlength=len(self)), out=starts[1:])
        return array("i", order.tobytes()), array("i", starts.tobytes())

    # ---- reading, as of core.tree.Tree ---------------------------------------------------------------------

    @property
    def root(self) -> ReadNode:
        return ReadNode(self, 0)

    def __len__(self) -> int:
        return len(self._parents)

    def __contains__(self, node_id: str) -> bool:
        return node_id.isdecimal() and int(node_id) < len(self)

    def __getitem__(self, node_id: str) -> ReadNode:
        if node_id not in self:
            raise KeyError(node_id)
        return ReadNode(self, int(node_id))

    def path(self, node: ReadNode) -> list[ReadNode]:
        """Nodes from the first segment to `node`; the root is left out."""
        nodes: list[ReadNode] = []
        number, parents = node.number, self._parents
        while number:
            nodes.append(ReadNode(self, number))
            number = parents[number]
        nodes.reverse()
        return nodes

    def response_ids(self, node_id: str) -> list[int]:
        """The path's token ids without the prompt."""
        return [token for node in self.path(self[node_id]) for token in node.tokens]

    def walk(self, node: ReadNode | None = None) -> Iterator[ReadNode]:
        """`node` (the root) and all below, parents first, siblings by sample index."""
        stack = array("i", (0 if node is None else node.number,))
        index = self._index
        while stack:
            number = stack.pop()
            yield ReadNode(self, number)
            below = self._below(number)
            if below:
                stack.extend(sorted(below, key=lambda child: (index[child], child))[::-1])

    def nodes(self) -> list[ReadNode]:
        """All nodes in the order of `walk`."""
        return list(self.walk())

    def leaves(self) -> Iterator[ReadNode]:
        """The nodes without children, in the order of `walk`."""
        return (node for node in self.walk() if not node.children)

    def _below(self, number: int) -> array[int]:
        order, starts = self._children
        return order[starts[number] : starts[number + 1]]


class ReadNode:
    """A segment, with the fields of `core.tree.TreeNode`. `number`: its place in its tree."""

    __slots__ = ("_tree", "number")

    def __init__(self, tree: ReadTree, number: int) -> None:
        self._tree, self.number = tree, number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ReadNode) and self.number == other.number and self._tree is other._tree

    def __hash__(self) -> int:
        return hash(self.number)

    def __repr__(self) -> str:
        return f"ReadNode({self.number}, depth={self.depth}, tokens={self.n_tokens}, {self.finish.value})"

    @property
    def node_id(self) -> str:
        return str(self.number)

    @property
    def parent(self) -> ReadNode | None:
        return ReadNode(self._tree, self._tree._parents[self.number]) if self.number else None

    @property
    def children(self) -> Sequence[ReadNode]:
        return [ReadNode(self._tree, number) for number in self._tree._below(self.number)]

    @property
    def tip(self) -> ReadNode:
        """The result of the call with which it ends, else itself."""
        children = self.children
        return children[0] if children and children[0].given is not None else self

    @property
    def index(self) -> int:
        return self._tree._index[self.number]

    @property
    def depth(self) -> int:
        return self._tree._depths[self.number]

    @property
    def end(self) -> int:
        return self._tree._ends[self.number]

    @property
    def n_tokens(self) -> int:
        """How many tokens it has, without reading them."""
        tree = self._tree
        return tree._ends[self.number] - tree._ends[tree._parents[self.number]] if self.number else 0

    @property
    def tokens(self) -> array[int]:
        return self._tree._contents.tokens(self.number, self.n_tokens)

    @property
    def logprobs(self) -> array[float] | None:
        if not self._as_others.has_logprobs:
            return None
        return self._tree._contents.logprobs(self.number, self.n_tokens)

    @property
    def text(self) -> str | None:
        alike = self._as_others
        if not alike.has_text:
            return None
        return self._tree._contents.text(self.number, self.n_tokens * (1 + alike.has_logprobs))

    @property
    def finish(self) -> Finish:
        return self._as_others.finish

    @property
    def engine_id(self) -> str:
        return self._as_others.engine_id

    @property
    def weights_version(self) -> str:
        return self._as_others.weights_version

    @property
    def weight(self) -> float | None:
        return self._as_others.weight

    @property
    def seed(self) -> int:
        return self._tree._seeds[self.number]

    @property
    def logprob_sum(self) -> float | None:
        return _known(self._tree._logprob_sums[self.number])

    @property
    def mean_entropy(self) -> float | None:
        return _known(self._tree._entropies[self.number])

    @property
    def prm(self) -> float | None:
        return _known(self._tree._prms[self.number])

    @property
    def inner_prm(self) -> Sequence[float | None] | None:
        return self._tree._inner_prms.get(self.number)

    @property
    def orm(self) -> float | None:
        return _known(self._tree._orms[self.number])

    @property
    def verdict(self) -> Verdict | None:
        return self._fate.verdict

    @property
    def drop(self) -> DropReason | None:
        return self._fate.drop

    @property
    def given(self) -> Called | None:
        called = self._tree._given.get(self.number)
        if called is None:
            return None
        text = self.text or ""
        return msgspec.structs.replace(called, token_ids=tuple(self.tokens), text=text, result=text)

    @property
    def _as_others(self) -> _CommonFields:
        return self._tree._alike[self._tree._alike_codes[self.number]]

    @property
    def _fate(self) -> _LeafFate:
        return self._tree._leaf_ends[self._tree._leaf_codes[self.number]]


def missing_node(problem_id: str, node_id: str) -> StorageError:
    """The error of a tree that lacks a node."""
    return StorageError(f"problem {problem_id}: node {node_id} is not there; `berry check` says more")


def _or_nan(number: float | None) -> float:
    return nan if number is None else number


def _known(number: Any) -> float | None:
    return None if isnan(number) else number
