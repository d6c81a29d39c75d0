"""A response cut into its reasoning steps, each with the label of the tree node in which it ends.

A search may grow whole chains (`best_of_n`, `entropy`) or one step a node (`fixed`, `beam`); the kept record has steps
either way. A step's Monte-Carlo value is that of the prefix ending with it, and all leaves that share this prefix pass
through the node that holds the step's last character: so that node's value is the step's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config.rollout import Step, Thinking, TokensStep
from pipeline.core.steps import text_ends
from pipeline.records import Node


@dataclass(frozen=True, slots=True)
class LabelledStep:
    text: str
    soft: float | None
    hard: bool | None
    prm: float | None
    visits: int = 0  # verified leaves behind the label


def split_steps(path: Sequence[Node], step: Step, thinking: Thinking | None = None) -> list[LabelledStep]:
    """The steps along a path of nodes (root excluded), whose texts joined are the response. Empty steps are joined to
    the step before them."""
    ends: list[tuple[int, Node]] = []
    position = 0
    for node in path:
        position += len(node.text)
        ends.append((position, node))
    text = "".join(node.text for node in path)
    steps: list[LabelledStep] = []
    start = 0
    holder = 0
    for end in _boundaries(text, step, [e for e, _ in ends], thinking):
        while ends[holder][0] < end:
            holder += 1
        node = ends[holder][1]
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
        if not text[last:cut].isspace() and cut > last:
            kept.append(cut)
            last = cut
        elif kept:
            kept[-1] = last = cut
    if kept and (last == len(text) or text[last:].isspace()):
        kept.pop()
    return [*kept, len(text)]
