"""Values of stored trees: read from their records, or worked out again after verdicts have changed.

    [Node] ─► ValueReader, scheme ─► Values         [Node], verdicts, scheme ─► back_up (in place)

Records of schema version 1 have plain shares of all leaves below: values of the kind `pooled`, whose nodes say no
`sample`.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from berry.pipeline.core.events import Called
from berry.pipeline.core.tree import Tree
from berry.pipeline.core.values.annotated import annotated
from berry.pipeline.core.values.counts import Counts, pooled
from berry.pipeline.core.values.estimate import Draws, Heads, Scheme, Value, Values, estimate
from berry.pipeline.core.values.intervals import wilson
from berry.pipeline.records import ASSISTANT, DropReason, Finish, Node, ValueKind
from berry.verifiers.base import Verdict


class ValueReader:
    """Reads the values of one tree as they were stored from its nodes, given one by one, parents before children."""

    def __init__(self) -> None:
        self._first: Node | None = None
        self._survivors = False
        self._found = StoredValues()
        self._tails: dict[int, int] = {}

    def add(self, node: Node) -> None:
        """Takes one node."""
        self._first = self._first or node
        self._survivors = self._survivors or node.value_kind is ValueKind.SURVIVORS
        place = self._found.add(node.node_id, _value(node))
        if node.sample == -1 and node.parent_id is not None:
            self._tails[self._found.place(node.parent_id)] = place

    def values(self, scheme: Scheme) -> Values:
        """The values of all that was given."""
        if scheme.heads is not Heads.ALL:
            self._found.pass_up(self._tails)
        if self._first is not None and self._first.value_kind is ValueKind.ADAPTIVE:
            scheme = replace(scheme, adaptive=True)  # the search was stopped: what was long or late is missing
        return Values(scheme, self._found)

    def own_scheme(self, scheme: Scheme) -> Scheme:
        """How the search that stored the tree drew: as its policy does, unless it was stopped, or gave branches up and
        spared none. Of files of schema version 1, which do not hold the weights of branches, nothing can be
        estimated."""
        assert self._first is not None, "a tree has a root"
        stopped = self._first.sample is None or self._first.value_kind is ValueKind.ADAPTIVE
        return replace(scheme, adaptive=scheme.adaptive or stopped, survivors=self._survivors)


class StoredValues(Mapping[str, tuple[Value, Draws | None]]):
    """What is found of the nodes of one tree, by their ids: a code of a value for each, since most are alike: those of
    leaves, and of siblings that ended alike. Ids that are the numbers of their places take no memory."""

    def __init__(self) -> None:
        self._values: list[Value] = []
        self._ups: list[Draws | None] = []
        self._code_of: dict[Value, int] = {}
        self._codes, self._up_codes = array("i"), array("i")
        self._pairs: dict[tuple[int, int], tuple[Value, Draws | None]] = {}  # one object for all that are alike
        self._places: dict[str, int] | None = None

    def add(self, node_id: str, value: Value) -> int:
        """The next node's value. Returns its place."""
        place = len(self._codes)
        if self._places is None and node_id != str(place):
            self._places = {str(number): number for number in range(place)}
        if self._places is not None:
            self._places[node_id] = place
        code = self._code_of.get(value)
        if code is None:
            code = self._code_of[value] = len(self._values)
            self._values.append(value)
            self._ups.append(_up(value))
        self._codes.append(code)
        self._up_codes.append(code)
        return place

    def pass_up(self, tails: Mapping[int, int]) -> None:
        """Makes nodes pass up what another does that comes behind them, by their places."""
        for place in sorted(tails, reverse=True):
            self._up_codes[place] = self._up_codes[tails[place]]

    def place(self, node_id: str) -> int:
        """Raises KeyError for a node that is not there."""
        if self._places is not None:
            return self._places[node_id]
        if node_id.isdecimal() and int(node_id) < len(self._codes):
            return int(node_id)
        raise KeyError(node_id)

    def __getitem__(self, node_id: str) -> tuple[Value, Draws | None]:
        place = self.place(node_id)
        code, up = self._codes[place], self._up_codes[place]
        found = self._pairs.get((code, up))
        if found is None:
            found = self._pairs[code, up] = self._values[code], self._ups[up]
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(map(str, range(len(self))) if self._places is None else self._places)

    def __len__(self) -> int:
        return len(self._codes)


def reader_of(nodes: Iterable[Node]) -> ValueReader:
    """One that was given these nodes, parents before children."""
    reader = ValueReader()
    for node in nodes:
        reader.add(node)
    return reader


def read(nodes: Iterable[Node], scheme: Scheme) -> Values:
    """The values of one tree as they were stored; `nodes` has parents before children."""
    return reader_of(nodes).values(scheme)


def _up(value: Value) -> Draws | None:
    return None if value.value is None else Draws(value.value, value.mass, float(value.n))


def _value(node: Node) -> Value:
    if node.sample is None:
        if not node.value_n or node.value is None:
            return Value()
        low, high = wilson(node.value * node.value_n, node.value_n)
        return Value(node.value, low, high, node.value_n, 1.0, ValueKind.POOLED, node.reached)
    return Value(
        node.value,
        0.0 if node.value_low is None else node.value_low,
        1.0 if node.value_high is None else node.value_high,
        node.value_n or 0,
        node.value_mass or 0.0,
        None if node.value_kind is None else ValueKind(node.value_kind),
        node.reached,
    )


def back_up(
    nodes: Sequence[Node],
    verdicts: Mapping[str, Verdict | None],
    scheme: Scheme,
    *,
    completions: Collection[str] = (),
    chosen_by_verdict: bool = False,
) -> None:
    """Works the values of one tree out again, in place, from the verdicts of its leaves (by node id). What is no
    estimate, since the search was stopped or gave branches up, stays so. `completions`: the leaves that were drawn only
    to label what is above them (annotated.py)."""
    if not nodes:
        return
    tree = rebuild(nodes)
    for leaf, verdict in verdicts.items():
        if leaf in tree:
            tree[leaf].verdict = verdict
    if nodes[0].sample is None:
        counts = pooled(tree)
        for node, at in zip(nodes, tree.walk(), strict=True):
            _set_pooled(node, counts[at.node_id])
        return
    for leaf in completions:
        tree[leaf].drop = DropReason.ANNOTATION
    own = reader_of(nodes).own_scheme(scheme)
    if own.ends is not None:  # the draws ended by other verdicts
        own = replace(own, adaptive=True, ends=None)
    values = annotated(tree, own, chosen_by_verdict=chosen_by_verdict) if completions else estimate(tree, own)
    for node in nodes:
        value = values[node.node_id] if node.node_id in tree else values[tree.root.node_id]
        node.value, node.value_low, node.value_high = value.value, value.low, value.high
        node.value_n, node.value_mass, node.value_kind = value.n, value.mass, value.kind
        node.reached = value.reached


def rebuild(nodes: Sequence[Node]) -> Tree:
    """The shape of a stored tree with the weights of its branches; `nodes` has parents before children."""
    root = nodes[0]
    tree = Tree(root.problem_id, root.token_ids, root.node_id)
    for node in nodes[1:]:
        at = tree.attach(node.node_id, tree[str(node.parent_id)], array("i", node.token_ids))
        at.finish = Finish(node.finish)
        if node.sample is not None:
            at.index, at.weight = node.sample, node.weight
        at.given = given_of(node)
    return tree


def given_of(node: Node) -> Called | None:
    """What the tree keeps of a node that was given; None of a sampled one."""
    if node.role == ASSISTANT:
        return None
    return Called(
        str(node.parent_id),
        tuple(node.token_ids),
        node.text,
        node.text,
        role=node.role,
        outcome=node.call_outcome or "",
        ms=node.call_ms or 0.0,
        nondeterministic=bool(node.nondeterministic),
    )


def _set_pooled(node: Node, counts: Counts) -> None:
    node.value, node.value_n, node.reached = counts.soft, counts.checked, counts.hard
    node.value_mass, node.value_kind = (1.0, ValueKind.POOLED) if counts.checked else (None, None)
