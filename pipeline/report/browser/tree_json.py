"""Writes one stored tree as the plain data that browser.js draws.

    StoredTree ─► {problem, round, prompt, nodes: [{id, parent, text, tokens, value, …, leaf}], note}

Nodes are named by their place in the tree, depth first: short, and the same whenever the tree is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from berry.pipeline.core.events import Called
from berry.pipeline.core.values.estimate import UNKNOWN
from berry.pipeline.records import ending
from berry.pipeline.stages.dataset.read_tree import ReadNode
from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.dataset.rows import Row

TokenEnds = Callable[[Sequence[int], str], Sequence[int]]
"""Token ids and their text ─► characters of the text that are complete after each token."""
NO_TOKENIZER = "Tokens are not told apart: the model's tokenizer is not at hand here."
NO_LOGPROBS = "No log-probabilities were stored."


def tree_json(
    stored: StoredTree,
    *,
    token_ends: TokenEnds | None = None,
    most_chars: int | None = None,
    most_nodes: int | None = None,
) -> dict[str, Any]:
    """`most_chars`: texts of nodes are shown as far, and `note` says so; likewise of the first `most_nodes` nodes,
    always with all their ancestors."""
    walked = list(stored.tree.walk())
    shown = walked if most_nodes is None else walked[:most_nodes]
    names = {node.node_id: str(i) for i, node in enumerate(shown)}
    leaves = {row["leaf"]: row for row in stored.trajectories}
    kept = {row["trajectory_id"] for row in stored.kept}
    nodes = [_node(stored, node, names, leaves.get(node.node_id), kept, token_ends, most_chars) for node in shown]
    notes = []
    if len(shown) < len(walked):
        notes.append(f"{len(shown):,} of {len(walked):,} nodes are shown")
    if any(node.pop("shortened") for node in nodes):
        notes.append(f"texts are shown up to {most_chars:,} characters")
    return {
        "problem": stored.problem_id,
        "round": stored.round_index,
        "prompt": _shortened(stored.prompt, most_chars)[0],
        "model": stored.model,
        "nodes": nodes,
        "note": "; ".join(notes),
    }


def _node(
    stored: StoredTree,
    node: ReadNode,
    names: dict[str, str],
    row: Row | None,
    kept: set[str],
    token_ends: TokenEnds | None,
    most_chars: int | None,
) -> dict[str, Any]:
    record = stored.nodes.get(node.node_id)
    found = stored.values.found.get(node.node_id)
    value = UNKNOWN if found is None else found[0]
    text, shortened = _shortened(node.text or "", most_chars)
    ends = logprobs = None
    if node.logprobs is not None and token_ends is not None and not shortened and len(node.tokens):
        ends = list(token_ends(node.tokens, text))
        logprobs = [round(float(x), 4) for x in node.logprobs]
    return {
        "id": names[node.node_id],
        "parent": None if node.parent is None else names[node.parent.node_id],
        "text": text,
        "shortened": shortened,
        "tokens": len(node.tokens),
        "given": None if node.given is None else _given(node.given),
        "calls": node.tip is not node,
        "depth": node.depth,
        "value": _number(value.value),
        "low": _number(value.low),
        "high": _number(value.high),
        "count": value.n,
        "kind": None if value.kind is None else value.kind.value,
        "weight": _number(node.weight),
        "prm": _number(node.prm),
        "logprob": _number(node.logprob_sum),
        "entropy": _number(node.mean_entropy),
        "finish": "" if node.parent is None else node.finish.value,
        "engine": node.engine_id or ("" if record is None else record.engine_id),
        "weights": node.weights_version or ("" if record is None else record.weights_version),
        "ends": ends,
        "logprobs": logprobs,
        "why_no_tokens": _why_no_tokens(node, token_ends),
        "leaf": None if row is None else _leaf(row, kept, most_chars),
    }


def _why_no_tokens(node: ReadNode, token_ends: TokenEnds | None) -> str:
    """Why a node's tokens are not told apart; empty where they are, or where there was nothing to tell of them."""
    if node.given is not None:
        return ""
    return NO_LOGPROBS if node.logprobs is None else NO_TOKENIZER if token_ends is None else ""


def _given(given: Called) -> dict[str, Any]:
    """Who said what was not sampled, and how that came about."""
    return {
        "role": given.role,
        "outcome": given.outcome,
        "ms": _number(given.ms),
        "nondeterministic": given.nondeterministic,
    }


def _leaf(row: Row, kept: set[str], most_chars: int | None) -> dict[str, Any]:
    return {
        "trajectory": row["trajectory_id"],
        "answer": None if row["answer"] is None else _shortened(row["answer"], most_chars)[0],
        "verdict": row["verdict"],
        "reason": row["verdict_reason"],
        "outcome": ending(row["verdict"], row["verdict_reason"], row["finish"]).value,
        "evidence": _shortened(row["evidence"] or "", most_chars)[0],
        "ms": _number(row["verify_ms"]),
        "orm": _number(row["orm"]),
        "kept": row["trajectory_id"] in kept or bool(row["kept"]),
        "drop": row["drop_reason"],
    }


def _number(value: float | None) -> float | None:
    """JSON has no infinities."""
    return None if value is None or not math.isfinite(value) else round(float(value), 5)


def _shortened(text: str, most_chars: int | None) -> tuple[str, bool]:
    if most_chars is None or len(text) <= most_chars:
        return text, False
    return text[:most_chars] + "…", True
