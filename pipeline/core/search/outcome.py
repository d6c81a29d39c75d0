"""What a search leaves behind: node and trajectory records and a digest of the tree.

Tree ─► nodes (values backed up) ─► trajectories (one a leaf) ; Tree ─► digest
"""

from __future__ import annotations

from hashlib import blake2b
from math import prod

from pipeline.core import seeds
from pipeline.core.backup import Counts, pooled
from pipeline.core.tree import Tree, TreeNode
from pipeline.records import DropReason, Finish, Node, Trajectory

_STEP = Finish.STEP


def nodes(tree: Tree) -> list[Node]:
    """Parents first, siblings by sample index. The root comes first: its token ids are the prompt. `text` is
    "" for a piece of a segment whose text could not be divided; the runtime decodes it."""
    counts = pooled(tree)
    return [_record(tree, node, counts[node.node_id]) for node in tree.walk()]


def _record(tree: Tree, node: TreeNode, counts: Counts) -> Node:
    parent = node.parent
    return Node(
        problem_id=tree.problem_id,
        node_id=node.node_id,
        parent_id=None if parent is None else parent.node_id,
        depth=node.depth,
        token_ids=tree.prompt_ids if parent is None else node.tokens,
        text=node.text or "",
        logprob_sum=node.logprob_sum,
        mean_entropy=node.mean_entropy,
        finish=node.finish,
        prm=node.prm,
        visits=counts.checked,
        value_soft=counts.soft,
        value_hard=counts.hard,
        engine_id=node.engine_id,
        weights_version=node.weights_version,
        seed=node.seed,
    )


def trajectories(tree: Tree, *, run_seed: int, round_index: int) -> list[Trajectory]:
    """One for each leaf, in the tree's own order, with structural drop reasons (truncated, empty, cancelled,
    cut in the loop, failed); the rest is for the pruning rules. A tree without segments gives one trajectory
    with the root as leaf and the reason why nothing grew."""
    counted: set[str] = set()
    found: list[Trajectory] = []
    for leaf in tree.leaves():
        path = tree.path(leaf)
        new = 0
        for node in reversed(path):
            if node.node_id in counted:
                break
            counted.add(node.node_id)
            new += len(node.tokens)
        prm = [node.prm for node in path if node.prm is not None]
        found.append(
            Trajectory(
                trajectory_id=seeds.trajectory_id(run_seed, round_index, tree.problem_id, leaf.node_id),
                problem_id=tree.problem_id,
                leaf=leaf.node_id,
                path=tuple([node.node_id for node in path]),
                response="",
                verdict=leaf.verdict,
                n_tokens=leaf.end,
                n_new_tokens=new,
                orm=leaf.orm,
                prm_min=min(prm) if prm else None,
                prm_last=prm[-1] if prm else None,
                prm_prod=prod(prm) if prm else None,
                finish=leaf.finish,
                drop_reason=drop_reason(leaf),
            )
        )
    return found


def drop_reason(leaf: TreeNode) -> DropReason | None:
    if leaf.drop is None and leaf.finish is _STEP:
        return DropReason.CANCELLED  # the search ended before it was grown to an end
    return leaf.drop


def digest(tree: Tree, state: list[object]) -> str:
    """blake2b over every node and `state` (whose repr must be deterministic), 32 hex."""
    digester = blake2b(digest_size=16)
    for node in tree.walk():
        parent = "" if node.parent is None else node.parent.node_id
        verdict = None if node.verdict is None else (node.verdict.outcome.value, node.verdict.reason.value)
        line = (
            node.node_id,
            parent,
            node.finish.value,
            node.next_index,
            node.prm,
            node.orm,
            verdict,
            node.drop,
        )
        digester.update(repr(line).encode())
        digester.update(node.tokens.tobytes())
    digester.update(repr(state).encode())
    return digester.hexdigest()
