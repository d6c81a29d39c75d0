"""Sees to it that the texts of nodes join to the responses that were checked: a response is stored as its nodes alone.

nodes of a finished tree ─► fill_texts (pieces of a segment) ─► settle_texts (seams)
"""

from __future__ import annotations

from collections.abc import Sequence

from berry.pipeline.engines.base import Engine
from berry.pipeline.records import Node, Trajectory


def fill_texts(nodes: Sequence[Node], engine: Engine) -> bool:
    """Gives the root, and nodes that were made by splitting a segment, their text; whether there were any of the
    latter. They are decoded in their context, so that the texts along a path join to the whole response whatever the
    tokenizer does at the seams."""
    without = [node for node in nodes if not node.text and node.token_ids]
    by_id = {node.node_id: node for node in nodes} if len(without) > 1 else {}
    for node in without:
        before: list[int] = []
        parent = by_id.get(node.parent_id or "")
        while parent is not None:
            before[:0] = parent.token_ids
            parent = by_id.get(parent.parent_id or "")
        head = engine.decode(before) if before else ""
        node.text = engine.decode([*before, *node.token_ids])[len(head) :]
    return any(node.parent_id is not None for node in without)


def settle_texts(nodes: Sequence[Node], trajectories: Sequence[Trajectory], engine: Engine) -> bool:
    """Makes the texts along every path join to the response that was checked, in place; True where they did already.

    An engine may tell a segment's text without what a whole response has at the seams: a character whose bytes two
    segments share, a space that a tokenizer gives to the first word alone. Where any response differs, all texts of the
    tree are decoded in their context, and a character that is not whole yet is given to what comes after."""
    by_id = {node.node_id: node for node in nodes}
    if all("".join([by_id[at].text for at in t.path]) == t.response for t in trajectories):
        return True
    leaves = {trajectory.leaf: trajectory for trajectory in trajectories}
    before: dict[str, tuple[list[int], str]] = {}
    for node in nodes[1:]:  # parents first; the root holds the prompt
        ids, text = before.get(str(node.parent_id), ([], ""))
        leaf = leaves.get(node.node_id)
        if leaf is not None:
            node.text = leaf.response[len(text) :]
            continue
        ids = [*ids, *node.token_ids]
        before[node.node_id] = ids, engine.decode(ids).rstrip("\ufffd")
        node.text = before[node.node_id][1][len(text) :]
    return False
