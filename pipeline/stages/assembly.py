"""Finished searches -> pruned, labelled rows for a lease's three Parquet files.

Grown ─► Search.nodes, Search.trajectories ─► core.prune ─► {"nodes": …, "kept": …, "trajectories": …}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.config.pruning import PruneRule
from pipeline.config.rollout import Step
from pipeline.core import ledger
from pipeline.core.prune import prune
from pipeline.engines.base import Engine
from pipeline.records import Node, TokenLedger, Trajectory
from pipeline.stages.rollouts import Grown
from pipeline.stages.steps import split_steps
from pipeline.storage.shards import evidence_json

Row = dict[str, Any]


@dataclass(slots=True)
class Tables:
    """Rows for one lease, and what they add up to."""

    nodes: list[Row] = field(default_factory=list)
    kept: list[Row] = field(default_factory=list)
    trajectories: list[Row] = field(default_factory=list)
    drops: dict[str, int] = field(default_factory=dict)
    ledger: TokenLedger = field(default_factory=TokenLedger)
    solved: int = 0  # problems with at least one passing trajectory

    def by_name(self) -> dict[str, list[Row]]:
        return {"nodes": self.nodes, "kept": self.kept, "trajectories": self.trajectories}


def assemble(grown: Sequence[Grown], engine: Engine, *, rules: Sequence[PruneRule], step: Step) -> Tables:
    """Rows of a lease in problem order, whatever order the searches ended in."""
    tables = Tables()
    for one in grown:
        _add_search(tables, one, engine, rules=rules, step=step)
    return tables


def _add_search(tables: Tables, grown: Grown, engine: Engine, *, rules: Sequence[PruneRule], step: Step) -> None:
    search = grown.search
    nodes = search.nodes()
    by_id = {node.node_id: node for node in nodes}
    _fill_text(nodes, by_id, engine)
    trajectories = search.trajectories()
    for trajectory in trajectories:
        trajectory.response = grown.responses.get(trajectory.leaf) or engine.decode(
            search.tree.response_ids(trajectory.leaf)
        )
    for trajectory, decision in zip(trajectories, prune(trajectories, rules), strict=True):
        trajectory.kept = decision.keep
        trajectory.drop_reason = decision.reason
        if decision.reason is not None:
            tables.drops[decision.reason] = tables.drops.get(decision.reason, 0) + 1
    tables.nodes.extend(_node_row(node) for node in nodes)
    tables.trajectories.extend(_trajectory_row(t) for t in trajectories)
    info = engine.info
    for trajectory in trajectories:
        if trajectory.kept:
            path = [by_id[n] for n in trajectory.path if by_id[n].parent_id is not None]
            tables.kept.append(
                {
                    **_kept_row(grown, trajectory, path, step),
                    "token_ids": search.tree.response_ids(trajectory.leaf),
                    "model": info.model,
                    "synthetic": info.synthetic,
                }
            )
    tables.solved += any(t.verdict is not None and t.verdict.passed for t in trajectories)
    spent = ledger.settle(search.ledger.snapshot(), search.tree, trajectories)
    tables.ledger = ledger.add([tables.ledger, spent])


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


def _node_row(node: Node) -> Row:
    return {
        "problem_id": node.problem_id,
        "node_id": node.node_id,
        "parent_id": node.parent_id,
        "depth": node.depth,
        "token_ids": node.token_ids,
        "text": node.text,
        "logprob_sum": node.logprob_sum,
        "mean_entropy": node.mean_entropy,
        "finish": node.finish.value,
        "prm": node.prm,
        "visits": node.visits,
        "value_soft": node.value_soft,
        "value_hard": node.value_hard,
        "engine_id": node.engine_id,
        "weights_version": node.weights_version,
        "seed": node.seed,
    }


def _trajectory_row(t: Trajectory) -> Row:
    verdict = t.verdict
    return {
        "trajectory_id": t.trajectory_id,
        "problem_id": t.problem_id,
        "leaf": t.leaf,
        "path": list(t.path),
        "response": t.response,
        "answer": verdict.answer if verdict else None,
        "verdict": verdict.outcome.value if verdict else None,
        "verdict_reason": verdict.reason.value if verdict else None,
        "evidence": evidence_json(verdict.evidence) if verdict else None,
        "verify_ms": verdict.verify_ms if verdict else None,
        "orm": t.orm,
        "prm_min": t.prm_min,
        "prm_last": t.prm_last,
        "prm_prod": t.prm_prod,
        "n_tokens": t.n_tokens,
        "n_new_tokens": t.n_new_tokens,
        "finish": t.finish.value,
        "kept": t.kept,
        "drop_reason": t.drop_reason.value if t.drop_reason else None,
    }


def _kept_row(grown: Grown, t: Trajectory, path: Sequence[Node], step: Step) -> Row:
    problem, leaf = grown.problem, path[-1]
    steps = split_steps(path, step)
    logprobs = [node.logprob_sum for node in path]
    return {
        "trajectory_id": t.trajectory_id,
        "problem_id": t.problem_id,
        "source": problem.source,
        "variant_of": problem.variant_of,
        "messages": problem.messages,
        "response": t.response,
        "steps": [s.text for s in steps],
        "step_labels_soft": [s.soft for s in steps],
        "step_labels_hard": [s.hard for s in steps],
        "prm_scores": [s.prm for s in steps],
        "orm": t.orm,
        "verdict": t.verdict.outcome.value if t.verdict else None,
        "answer": t.verdict.answer if t.verdict else None,
        "prompt_token_ids": grown.prompt_ids,
        "logprob_sum": None if None in logprobs else sum(x for x in logprobs if x is not None),
        "engine_id": leaf.engine_id,
        "weights_version": leaf.weights_version,
        "seed": leaf.seed,
    }
