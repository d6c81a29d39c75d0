"""Cuts a response into its reasoning steps, each with the label of the tree node in which it ends.

A search may grow whole chains (`best_of_n`, `entropy`) or one step a node (`fixed`, `beam`); the kept record has steps
either way. A step's label is the value of the prefix that ends with it: the node's where the step ends with a node, the
result of the node's own segment, with one continuation behind it, where it ends inside.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Protocol

from msgspec import Struct

from berry.pipeline.config.sections.rollout.rollout import StepConfig, Thinking, TokensStep
from berry.pipeline.core.steps import step_ends, text_ends, token_ends
from berry.pipeline.core.tree_view import NodeView
from berry.pipeline.core.values.estimate import Value, Values
from berry.pipeline.records import Node
from berry.pipeline.storage.parquet.list_columns import Coded

Decode = Callable[[Sequence[int]], str]


class TextNode(Protocol):
    """A node of a path, stored or of a tree in memory, as far as steps need it."""

    @property
    def node_id(self) -> str:
        """Its name, unique in its tree."""
        ...

    @property
    def text(self) -> str | None:
        """What was sampled or told there; None where texts were not read."""
        ...

    @property
    def prm(self) -> float | None:
        """The PRM's value of the path so far, in [0, 1]; None where it was not scored."""
        ...


class StepEnd(Struct, frozen=True, gc=False):
    """The node that holds a step's last character; `whole`: the step ends with the node, not inside it."""

    node: TextNode
    whole: bool


StepPlace = tuple[int, bool]
"""Which node of a path holds a step's last character, and whether the step ends with the node, not inside it."""


MOST_CUT = 4096  # responses that are remembered with their steps


class Cutter:
    """Cuts responses into their steps. Equal ones, as a tree of short answers has many, are looked through once."""

    def __init__(self, step: StepConfig, thinking: Thinking | None = None) -> None:
        self._step = step
        self._thinking = thinking
        self._by_nodes = isinstance(step, TokensStep)
        self._known: dict[object, tuple[list[int], list[str]]] = {}
        self._placed: dict[tuple[str, ...], tuple[list[str], list[StepPlace]]] = {}

    def cut(self, path: Sequence[TextNode]) -> tuple[list[str], list[StepEnd]]:
        """Along a path of nodes (root excluded), whose texts joined are the response: the text of each step, and where
        it ends."""
        steps, places = self.places(path)
        return steps, [StepEnd(path[at], whole) for at, whole in places]

    def places(self, path: Sequence[TextNode]) -> tuple[list[str], list[StepPlace]]:
        """The text of each step, and the place of its end on the path."""
        return self.places_in(tuple([node.text or "" for node in path]))

    def places_in(self, texts: tuple[str, ...]) -> tuple[list[str], list[StepPlace]]:
        """The same of a path whose nodes' texts are given."""
        placed = self._placed.get(texts)
        if placed is None:
            if len(self._placed) >= MOST_CUT:
                self._placed.clear()
                self._known.clear()
            placed = self._placed[texts] = self._place(texts)
        return placed

    def _place(self, texts: Sequence[str]) -> tuple[list[str], list[StepPlace]]:
        text = "".join(texts)
        ends = list(accumulate(map(len, texts)))
        key = (text, *ends) if self._by_nodes else text
        known = self._known.get(key)
        if known is None:
            cuts = _boundaries(text, self._step, ends, self._thinking)
            known = self._known[key] = cuts, [text[start:end] for start, end in pairwise([0, *cuts])]
        cuts, steps = known
        places = [bisect_left(ends, end) for end in cuts]
        return steps, [(at, ends[at] == end) for at, end in zip(places, cuts, strict=True)]


def split_texts(texts: Sequence[str], step: StepConfig, thinking: Thinking | None = None) -> list[str]:
    """The steps of a response that is given as the texts of its nodes."""
    text = "".join(texts)
    cuts = _boundaries(text, step, list(accumulate(map(len, texts))), thinking)
    return [text[start:end] for start, end in pairwise([0, *cuts])]


def label_of(values: Values, end: StepEnd) -> Value:
    """The value of the prefix that ends with a step."""
    node_id = end.node.node_id
    return values[node_id] if end.whole else values.inside(node_id)


class StepLabels:
    """Collects the labels of many trajectories' steps. Most are one of few: those of siblings that ended alike, and
    those of a prefix that many share."""

    def __init__(self) -> None:
        self._labels: dict[Value, int] = {}
        self._codes = array("i")
        self._ends = array("i", (0,))

    def add(self, values: Values, steps: Iterable[tuple[Sequence[Node], Sequence[StepPlace]]]) -> None:
        """Adds the steps of trajectories of one tree: for each its path, and the places of its steps' ends."""
        shared: dict[tuple[int, bool], int] = {}  # leaves of one verdict have one object as their value
        of_node: tuple[dict[str, int], dict[str, int]] = {}, {}  # for steps that end inside it, and with it
        found, codes, ends = values.found, self._codes, self._ends
        for path, places in steps:
            for at, whole in places:
                node_id = path[at].node_id
                code = of_node[whole].get(node_id)
                if code is None:
                    key = id(found[node_id]), whole
                    code = shared.get(key)
                    if code is None:
                        label = values[node_id] if whole else values.inside(node_id)
                        code = shared[key] = self._labels.setdefault(label, len(self._labels))
                    of_node[whole][node_id] = code
                codes.append(code)
            ends.append(len(codes))

    def column(self, get: Callable[[Value], object]) -> Coded:
        """One figure of each label, a list for each trajectory."""
        return Coded(self._codes, self._ends, [get(label) for label in self._labels])


def path_step_ends(path: Sequence[NodeView], step: StepConfig, thinking: Thinking | None, decode: Decode) -> list[int]:
    """Token offsets at which the steps along a path end. Where every node is one step they are the nodes' ends, and
    nothing need be decoded."""
    if not path or not path[-1].end:
        return []
    if isinstance(step, TokensStep):
        return sorted({node.end for node in path})
    if thinking is None and all(_is_one_step(node, step) for node in path):
        return sorted({node.end for node in path})
    ids = [token for node in path for token in node.tokens]
    ends = token_ends(ids, decode)
    return step_ends(decode(ids), ends, step, thinking=thinking)


def _is_one_step(node: NodeView, step: StepConfig) -> bool:
    text = node.text or ""
    return bool(text.strip()) and all(end == len(text) for end in text_ends(text, step))


def _boundaries(text: str, step: StepConfig, node_ends: Sequence[int], thinking: Thinking | None) -> list[int]:
    """Character positions where steps end; the text's end is always the last. Steps by token count end with nodes.
    A step of white space alone joins the one before."""
    if not text:
        return []
    cuts = node_ends if isinstance(step, TokensStep) else text_ends(text, step, thinking)
    kept: list[int] = []
    last = 0
    for cut in sorted(set(cuts)):
        if cut > last and not text[last:cut].isspace():
            kept.append(cut)
            last = cut
        elif kept:
            kept[-1] = last = cut
    if kept and (last == len(text) or text[last:].isspace()):
        kept.pop()
    return [*kept, len(text)]
