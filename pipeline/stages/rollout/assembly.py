"""Finished searches -> pruned, labelled rows for a lease's three Parquet files.

Grown ─► Search.nodes, Search.trajectories ─► core.prune ─► {"nodes": …, "kept": …, "trajectories": …}
"""

from __future__ import annotations

from collections.abc import Sequence

from berry.pipeline.config.pruning import PruneRule
from berry.pipeline.config.rollout import Rollout
from berry.pipeline.core import ledger
from berry.pipeline.engines.base import Engine
from berry.pipeline.records import Node, TokenLedger
from berry.pipeline.stages.dataset.tables import Tables
from berry.pipeline.stages.rollout.ports import Grown


def assemble(grown: Sequence[Grown], engine: Engine, *, rules: Sequence[PruneRule], rollout: Rollout) -> Tables:
    """Rows of a lease in problem order, whatever order the searches ended in."""
    tables = Tables()
    spent = [_add_search(tables, one, engine, rules=rules, rollout=rollout) for one in grown]
    tables.ledger = ledger.add(spent)
    return tables


def _add_search(
    tables: Tables, grown: Grown, engine: Engine, *, rules: Sequence[PruneRule], rollout: Rollout
) -> TokenLedger:
    """What it has spent."""
    search = grown.search
    nodes = search.nodes()
    by_id = {node.node_id: node for node in nodes}
    _fill_text(nodes, by_id, engine)
    trajectories = search.trajectories()
    for trajectory in trajectories:
        trajectory.response = grown.responses.get(trajectory.leaf) or engine.decode(
            search.tree.response_ids(trajectory.leaf)
        )
    info = engine.info
    made_by = {"model": info.model, "synthetic": info.synthetic}
    tables.add(grown.problem, nodes, trajectories, rules=rules, rollout=rollout, made_by=made_by)
    return ledger.settle(search.ledger.snapshot(), search.tree, trajectories)


def _fill_text(nodes: Sequence[Node], by_id: dict[str, Node], engine: Engine) -> None:
    """Nodes made by splitting a segment have no text of their own yet: decode them in their context, so that the
    texts along a path join to the whole response whatever the tokenizer does at the seams."""
    for node in nodes:
        if node.text or not node.token_ids:
            continue
        before: list[int] = []
        parent = by_id.get(node.parent_id or "")
        while parent is not None:
            before[:0] = parent.token_ids
            parent = by_id.get(parent.parent_id or "")
        head = engine.decode(before) if before else ""
        node.text = engine.decode([*before, *node.token_ids])[len(head) :]
