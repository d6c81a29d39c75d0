"""Makes what a search leaves behind: node and trajectory records and a digest of the tree.

Tree ─► nodes (values backed up) ─► trajectories (one a leaf) ; Tree ─► digest
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from math import prod

from berry.pipeline.core import seeds
from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.core.tree_view import NodeView, TreeView
from berry.pipeline.core.values.estimate import Value, Values
from berry.pipeline.records import DropReason, Finish, Node, Trajectory

_STEP, _CANCELLED = Finish.STEP, DropReason.CANCELLED


def nodes(tree: TreeView, values: Values) -> list[Node]:
    """Parents first, siblings by sample index. The root comes first: its token ids are the prompt. `text` is
    "" for a piece of a segment whose text could not be divided; the runtime decodes it."""
    return [_record(tree, node, values[node.node_id]) for node in tree.nodes()]


def _record(tree: TreeView, node: NodeView, value: Value) -> Node:
    """In the order of the fields: naming them takes five times as long."""
    parent, given = node.parent, node.given
    record = Node(
        tree.problem_id,
        node.node_id,
        None if parent is None else parent.node_id,
        node.depth,
        tree.prompt_ids if parent is None else node.tokens,
        node.text or "",
        node.logprob_sum,
        node.mean_entropy,
        node.finish,
        node.prm,
        node.engine_id,
        node.weights_version,
        node.seed,
        node.logprobs,
        node.index,
        node.weight,
        value.value,
        value.low,
        value.high,
        value.n,
        value.mass,
        value.kind,
        value.reached,
    )
    if node.inner_prm is not None:
        record.inner_prm = node.inner_prm
    if given is not None:
        record.role, record.call_outcome, record.call_ms = given.role, given.outcome, given.ms
        record.nondeterministic = given.nondeterministic
    return record


def trajectories(tree: Tree, *, run_seed: int, round_index: int) -> list[Trajectory]:
    """One for each leaf, in the tree's own order, with structural drop reasons (truncated, empty, cancelled,
    cut in the loop, failed); the rest is for the pruning rules. A tree without segments gives one trajectory
    with the root as leaf and the reason why nothing grew."""
    found: list[Trajectory] = []
    leaves: list[int] = []
    path: list[TreeNode] = []
    ids: list[str] = []
    shared = 0  # tokens of the path that an earlier leaf has
    scored = False  # whether any node so far has a score
    for number, node in enumerate(tree.nodes()):
        if node.prm is not None:
            scored = True
        if node.depth:
            below = len(path) - node.depth + 1
            if below:
                del path[node.depth - 1 :], ids[node.depth - 1 :]
                shared = path[-1].end if path else 0
            path.append(node)
            ids.append(node.node_id)
        if not node.children:
            found.append(_trajectory(tree, path, ids, shared, scored=scored))
            leaves.append(number)
    names = seeds.trajectory_ids(run_seed, round_index, tree.problem_id, leaves)
    for one, name in zip(found, names, strict=True):
        one.trajectory_id = name
    return found


def _trajectory(tree: Tree, path: list[TreeNode], ids: list[str], shared: int, *, scored: bool) -> Trajectory:
    """Of the last on the path, or of a tree that is its root alone; without an id yet."""
    leaf = path[-1] if path else tree.root
    prm = list(_scores(path)) if scored else ()
    return Trajectory(
        "",
        tree.problem_id,
        leaf.node_id,
        tuple(ids),
        "",
        leaf.verdict,
        leaf.end,
        leaf.end - shared,
        leaf.orm,
        min(prm) if prm else None,
        prm[-1] if prm else None,
        prod(prm) if prm else None,
        leaf.finish,
        False,  # noqa: FBT003 - kept: not yet
        # still at a step: the search ended before it was grown to an end
        _CANCELLED if leaf.drop is None and leaf.finish is _STEP else leaf.drop,
    )


def _scores(path: Iterable[TreeNode]) -> Iterator[float]:
    """What a PRM says at each step along a path, those that end inside a node too; without what could not be scored."""
    for node in path:
        if node.inner_prm is not None:
            yield from (score for score in node.inner_prm if score is not None)
        if node.prm is not None:
            yield node.prm


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
            node.weight,
        )
        digester.update(repr(line).encode())
        digester.update(node.tokens.tobytes())
    digester.update(repr(state).encode())
    return digester.hexdigest()
