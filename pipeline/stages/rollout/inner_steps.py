"""Finds the steps that end inside a segment, so that a PRM scores each of them.

    Tree ─► paths of its leaves ─► Cutter: where steps end, in characters ─► token offsets in the nodes that hold them

A policy that samples to the end of the answer in one request (`best_of_n`, `entropy`) has many steps in one node. Steps
by token count end with nodes, so that there are none inside.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate

from berry.pipeline.config.sections.rollout.rollout import StepConfig, Thinking, TokensStep
from berry.pipeline.core.steps import token_ends
from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.stages.dataset.steps import Cutter, Decode

LONG_TOKENS = 200  # of a path from which it is looked through in a thread: some milliseconds


async def inner_step_ends(
    tree: Tree, step: StepConfig, thinking: Thinking | None, decode: Decode
) -> dict[str, list[int]]:
    """By node id, the token offsets in the node after which steps end, ascending; nodes without any are left out. A
    node that several paths share is cut as the first of them is."""
    found: dict[str, list[int]] = {}
    if isinstance(step, TokensStep):
        return found
    cutter = Cutter(step, thinking)
    seen: set[str] = set()
    for leaf in tree.leaves():
        path = tree.path(leaf)
        if leaf.end > LONG_TOKENS:
            ends = await asyncio.to_thread(_ends_inside, path, cutter, seen, decode)
        else:
            ends = _ends_inside(path, cutter, seen, decode)
            await asyncio.sleep(0)
        found |= ends
        seen.update(node.node_id for node in path)
    return found


def _ends_inside(path: Sequence[TreeNode], cutter: Cutter, seen: set[str], decode: Decode) -> dict[str, list[int]]:
    """Of the nodes of a path that were not seen yet."""
    texts = tuple([node.text or decode(node.tokens) for node in path])
    begins = [0, *accumulate(map(len, texts))]
    steps, places = cutter.places_in(texts)
    inside: dict[int, list[int]] = defaultdict(list)
    for (at, whole), end in zip(places, accumulate(map(len, steps)), strict=True):
        if not whole and path[at].node_id not in seen:
            inside[at].append(end - begins[at])
    offsets = {path[at].node_id: _token_offsets(path[at], texts[at], chars, decode) for at, chars in inside.items()}
    return {node_id: found for node_id, found in offsets.items() if found}


def _token_offsets(node: TreeNode, text: str, chars: Sequence[int], decode: Decode) -> list[int]:
    """After how many tokens so many characters of a node are there. Empty where its tokens alone decode to another
    text, so that their places in it are not known; a space that is left out before the first word changes nothing."""
    ends = node.ends
    if ends is None:
        ends = token_ends(node.tokens, decode)
        if not ends or not text.endswith(decode(node.tokens)):
            return []
    shift = len(text) - ends[-1]
    return [min(bisect_left(ends, char - shift) + 1, len(ends)) for char in chars]
