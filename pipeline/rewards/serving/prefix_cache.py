"""Keeps keys and values of prefixes in a radix tree over token ids: no token is computed twice while it is kept.

    insert(ids) ─► nodes without keys ─► waves (parents first) ─► fill ─► trim to `capacity` tokens, oldest leaves first

A node holds a run of tokens, the keys and values of all layers for them, and the value at each of them. Where two
sequences part a node is split. A tree of reasoning steps has the same shape: scoring a step computes its own tokens.
Keys and values of layers of one shape lie in one tensor, so that a batch's pasts are gathered by few operations
(serving.key_values).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

Kept = list[Any]  # a tensor a shape of layers: [2 * layers of it, heads, tokens, head dimension], keys before values


class PrefixNode:
    """A run of tokens below `parent`; `start` is how many tokens come before it."""

    __slots__ = ("children", "ids", "layers", "parent", "start", "values")

    def __init__(self, ids: tuple[int, ...], parent: PrefixNode | None) -> None:
        self.ids = ids
        self.parent = parent
        self.start = 0 if parent is None else parent.start + len(parent.ids)
        self.children: dict[int, PrefixNode] = {}
        self.layers: Kept | None = None
        self.values: list[float] | None = None

    @property
    def end(self) -> int:
        """The position, in tokens from the prompt's start, behind its last token."""
        return self.start + len(self.ids)

    def path(self) -> list[PrefixNode]:
        """Nodes from the first below the root to this one."""
        nodes: list[PrefixNode] = []
        node: PrefixNode | None = self
        while node is not None and node.parent is not None:
            nodes.append(node)
            node = node.parent
        return nodes[::-1]


class PrefixCache:
    """`capacity` in tokens; 0 keeps nothing beyond one batch."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.root = PrefixNode((), None)
        self._recent: OrderedDict[PrefixNode, None] = OrderedDict()  # oldest first; a parent after its children
        self.tokens = 0

    def insert(self, ids: Sequence[int]) -> PrefixNode:
        """The node that ends where `ids` end, made where it is missing."""
        node, done = self.root, 0
        while done < len(ids):
            child = node.children.get(ids[done])
            if child is None:
                node = self._add(tuple(ids[done:]), node)
                break
            shared = _shared(child.ids, ids, done)
            if shared < len(child.ids):
                child = self._split(child, shared)
            node, done = child, done + shared
        self._touch(node)
        return node

    def missing(self, nodes: Sequence[PrefixNode]) -> Iterator[list[PrefixNode]]:
        """Waves of nodes to compute so that all of `nodes` are there; each wave's parents are in those before it."""
        pending = {above for node in nodes for above in node.path() if above.layers is None}
        while pending:
            wave = [n for n in pending if n.parent is self.root or n.parent not in pending]
            pending.difference_update(wave)
            yield sorted(wave, key=lambda n: (n.start, n.ids))

    def trim(self) -> None:
        """Forget the least recently used runs until `capacity` holds."""
        while self._recent and self.tokens > self.capacity:
            self._remove(next(iter(self._recent)))

    def forget_missing(self) -> None:
        """Forget what was inserted and never computed."""
        for node in [n for n in self._recent if n.layers is None]:
            self._remove(node)

    def clear(self) -> None:
        """Forgets all: after new weights nothing of it is true."""
        self.root = PrefixNode((), None)
        self._recent.clear()
        self.tokens = 0

    def _add(self, ids: tuple[int, ...], parent: PrefixNode) -> PrefixNode:
        node = PrefixNode(ids, parent)
        parent.children[ids[0]] = node
        self.tokens += len(ids)
        self._recent[node] = None
        return node

    def _split(self, node: PrefixNode, at: int) -> PrefixNode:
        """Puts a new node that holds the first `at` tokens above `node`, which keeps the rest."""
        assert node.parent is not None
        head = PrefixNode(node.ids[:at], node.parent)
        node.parent.children[node.ids[0]] = head
        head.children[node.ids[at]] = node
        node.ids, node.parent, node.start = node.ids[at:], head, head.end
        if node.layers is not None and node.values is not None:
            head.layers = [kept[:, :, :at].clone() for kept in node.layers]
            node.layers = [kept[:, :, at:].clone() for kept in node.layers]
            head.values, node.values = node.values[:at], node.values[at:]
        self._recent[head] = None
        return head

    def _touch(self, node: PrefixNode) -> None:
        """From the leaf upwards: so the oldest of all is always a leaf, and can be forgotten alone."""
        at: PrefixNode | None = node
        while at is not None and at.parent is not None:
            self._recent.move_to_end(at)
            at = at.parent

    def _remove(self, node: PrefixNode) -> None:
        assert node.parent is not None
        if node not in self._recent:
            return
        for child in list(node.children.values()):  # there are some only below a run that was never computed
            self._remove(child)
        del self._recent[node]
        del node.parent.children[node.ids[0]]
        self.tokens -= len(node.ids)


def _shared(run: tuple[int, ...], ids: Sequence[int], offset: int) -> int:
    """How many of `run`'s tokens `ids` has from `offset` on."""
    count = 0
    for mine, other in zip(run, ids[offset : offset + len(run)], strict=False):
        if mine != other:
            break
        count += 1
    return count
