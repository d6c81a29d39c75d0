"""A response cut into its reasoning steps, each with the label of the tree node in which it ends.

A search may grow whole chains (`best_of_n`, `entropy`) or one step a node (`fixed`, `beam`); the kept record has steps
either way. A step's Monte-Carlo value is that of the prefix ending with it, and all leaves that share this prefix pass
through the node that holds the step's last character: so that node's value is the step's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from msgspec import Struct

from pipeline.config.rollout import Step, Thinking, TokensStep
from pipeline.core.steps import text_ends
from pipeline.records import Node


class LabelledStep(Struct, frozen=True, gc=False):
    text: str
    soft: float | None
    hard: bool | None
    prm: float | None
    visits: int = 0  # verified leaves behind the label


def split_steps(path: Sequence[Node], step: Step, thinking: Thinking | None = None) -> list[LabelledStep]:
    """The steps along a path of nodes (root excluded), whose texts joined are the response. Empty steps are joined to
    the step before them."""
    text = path[0].text if len(path) == 1 else "".join([node.text for node in path])
    ends = list(accumulate([len(node.text) for node in path]))
    steps: list[LabelledStep] = []
    start = 0
    holder = 0
    for end in _boundaries(text, step, ends, thinking):
        while ends[holder] < end:
            holder += 1
        node = path[holder]
        steps.append(LabelledStep(text[start:end], node.value_soft, node.value_hard, node.prm, node.visits))
        start = end
    return steps


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
