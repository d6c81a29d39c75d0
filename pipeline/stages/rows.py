"""Records as rows of the Parquet files, and back.

Node ⇄ nodes        Trajectory ⇄ trajectories        Problem + Trajectory + path ─► kept
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pipeline.config.rollout import Rollout
from pipeline.records import DropReason, Finish, Node, Problem, Trajectory
from pipeline.stages.steps import split_steps
from pipeline.storage.shards import evidence_json
from verifiers.base import Outcome, Reason, Verdict

Row = dict[str, Any]


def node_row(node: Node) -> Row:
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


def trajectory_row(t: Trajectory) -> Row:
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


def kept_row(
    problem: Problem, trajectory: Trajectory, path: Sequence[Node], *, prompt_ids: Sequence[int], rollout: Rollout
) -> Row:
    """`path`: the trajectory's nodes, the root left out. `model` and `synthetic` are the caller's to add."""
    t, leaf = trajectory, path[-1]
    steps = split_steps(path, rollout.step, rollout.thinking)
    logprobs = [node.logprob_sum for node in path]
    return {
        "trajectory_id": t.trajectory_id,
        "problem_id": problem.id,
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
        "prompt_token_ids": prompt_ids,
        "token_ids": [token for node in path for token in node.token_ids],
        "logprob_sum": None if None in logprobs else sum(x for x in logprobs if x is not None),
        "engine_id": leaf.engine_id,
        "weights_version": leaf.weights_version,
        "seed": leaf.seed,
    }


def node_of(row: Row) -> Node:
    return Node(**{**{k: row[k] for k in Node.__dataclass_fields__}, "finish": Finish(row["finish"])})


def trajectory_of(row: Row) -> Trajectory:
    """Without `kept` and, unless it is structural, `drop_reason`: those are for the rules to say."""
    reason = DropReason(row["drop_reason"]) if row["drop_reason"] else None
    return Trajectory(
        trajectory_id=row["trajectory_id"],
        problem_id=row["problem_id"],
        leaf=row["leaf"],
        path=tuple(row["path"]),
        response=row["response"] or "",
        verdict=_verdict_of(row),
        n_tokens=row["n_tokens"],
        n_new_tokens=row["n_new_tokens"],
        orm=row["orm"],
        prm_min=row["prm_min"],
        prm_last=row["prm_last"],
        prm_prod=row["prm_prod"],
        finish=Finish(row["finish"]),
        drop_reason=reason if reason in STRUCTURAL else None,
    )


STRUCTURAL = frozenset(
    {
        DropReason.TRUNCATED,
        DropReason.EMPTY,
        DropReason.CANCELLED,
        DropReason.CUT_IN_LOOP,
        DropReason.PROMPT_TOO_LONG,
        DropReason.ENGINE_FAILED,
        DropReason.QUARANTINED,
    }
)
"""Reasons that come from the search itself: no rule gave them, none can take them back."""


def _verdict_of(row: Row) -> Verdict | None:
    if row["verdict"] is None:
        return None
    evidence = json.loads(row["evidence"]) if row["evidence"] else {}
    return Verdict(
        Outcome(row["verdict"]), Reason(row["verdict_reason"]), row["answer"], evidence, row["verify_ms"] or 0.0
    )
