"""Cuts a response into its reasoning steps, each with the label of the tree node in which it ends.

A search may grow whole chains (`best_of_n`, `entropy`) or one step a node (`fixed`, `beam`); the kept record has steps
either way. A step's label is the value of the prefix that ends with it: the node's where the step ends with a node, the
result of the node's own segment, with one continuation behind it, where it ends inside.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise

from msgspec import Struct

from berry.pipeline.config.sections.rollout import Step, Thinking, TokensStep
from berry.pipeline.core.steps import text_ends
from berry.pipeline.core.values.estimate import Value, Values
from berry.pipeline.records import Node


class StepEnd(Struct, frozen=True, gc=False):
    """The node that holds a step's last character; `whole`: the step ends with the node, not inside it."""

    node: Node
    whole: bool


class LabelledStep(Struct, frozen=True, gc=False):
    text: str
    value: Value
    prm: float | None


class Cutter:
    """Cuts responses into their steps. Equal ones, as a tree of short answers has many, are looked through once."""

    def __init__(self, step: Step, thinking: Thinking | None = None) -> None:
        self._step = step
        self._thinking = thinking
        self._by_nodes = isinstance(step, TokensStep)
        self._known: dict[object, tuple[list[int], list[str]]] = {}

    def cut(self, path: Sequence[Node]) -> tuple[list[str], list[StepEnd]]:
        """Along a path of nodes (root excluded), whose texts joined are the response: the text of each step, and where
        it ends."""
        texts = [node.text for node in path]
        text = "".join(texts)
        ends = list(accumulate(map(len, texts)))
        key = (text, *ends) if self._by_nodes else text
        known = self._known.get(key)
        if known is None:
            cuts = _boundaries(text, self._step, ends, self._thinking)
            known = self._known[key] = cuts, [text[start:end] for start, end in pairwise([0, *cuts])]
        cuts, steps = known
        places = [bisect_left(ends, end) for end in cuts]
        return steps, [StepEnd(path[at], ends[at] == end) for at, end in zip(places, cuts, strict=True)]


def split_steps(
    path: Sequence[Node], values: Values, step: Step, thinking: Thinking | None = None
) -> list[LabelledStep]:
    """The steps along a path of nodes (root excluded) with their values. Empty steps are joined to the step before."""
    return [
        LabelledStep(text, label_of(values, end), end.node.prm)
        for text, end in zip(*Cutter(step, thinking).cut(path), strict=True)
    ]


def label_of(values: Values, end: StepEnd) -> Value:
    """The value of the prefix that ends with a step."""
    node_id = end.node.node_id
    return values[node_id] if end.whole else values.inside(node_id)


def _boundaries(text: str, step: Step, node_ends: Sequence[int], thinking: Thinking | None) -> list[int]:
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
