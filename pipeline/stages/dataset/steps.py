"""Cuts a response into its reasoning steps, each with the label of the tree node in which it ends.

A search may grow whole chains (`best_of_n`, `entropy`) or one step a node (`fixed`, `beam`); the kept record has steps
either way. A step's Monte-Carlo value is that of the prefix ending with it, and all leaves that share this prefix pass
through the node that holds the step's last character: so that node's value is the step's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise

from msgspec import Struct

from berry.pipeline.config.rollout import Step, Thinking, TokensStep
from berry.pipeline.core.steps import text_ends
from berry.pipeline.records import Node


class LabelledStep(Struct, frozen=True, gc=False):
    text: str
    soft: float | None
    hard: bool | None
    prm: float | None
    visits: int = 0  # verified leaves behind the label


class Cutter:
    """Cuts responses into their steps. Equal ones, as a tree of short answers has many, are looked through once."""

    def __init__(self, step: Step, thinking: Thinking | None = None) -> None:
        self._step = step
        self._thinking = thinking
        self._by_nodes = isinstance(step, TokensStep)
        self._known: dict[object, tuple[list[int], list[str]]] = {}

    def cut(self, path: Sequence[Node]) -> tuple[list[str], list[Node]]:
        """Along a path of nodes (root excluded), whose texts joined are the response: the text of each step, and the
        node that holds its last character."""
        texts = [node.text for node in path]
        text = "".join(texts)
        ends = list(accumulate(map(len, texts)))
        key = (text, *ends) if self._by_nodes else text
        known = self._known.get(key)
        if known is None:
            cuts = _boundaries(text, self._step, ends, self._thinking)
            known = self._known[key] = cuts, [text[start:end] for start, end in pairwise([0, *cuts])]
        cuts, steps = known
        return steps, [path[bisect_left(ends, end)] for end in cuts]


def split_steps(path: Sequence[Node], step: Step, thinking: Thinking | None = None) -> list[LabelledStep]:
    """The steps along a path of nodes (root excluded). Empty steps are joined to the step before them."""
    return [
        LabelledStep(text, node.value_soft, node.value_hard, node.prm, node.visits)
        for text, node in zip(*Cutter(step, thinking).cut(path), strict=True)
    ]


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
