"""Turns stored trees into the labelled paths that value models learn from.

StoredTree ─► steps of each checked trajectory (token offsets) ─► core.labels ─► LabelledPath
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from berry.pipeline.config.sections.rollout.rollout import StepConfig, Thinking
from berry.pipeline.core.labels import LABELS, step_labels
from berry.pipeline.core.values.votes import votes
from berry.pipeline.records import Ending, ValueKind, ending
from berry.pipeline.rewards.model.blend import Evidence
from berry.pipeline.rewards.training.examples import LabelledPath
from berry.pipeline.stages.dataset.read_tree import ReadNode
from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.dataset.steps import Decode, path_step_ends
from berry.verifiers.base import Outcome
from berry.verifiers.kinds.majority import one_spelling

GroundTruth = Callable[[Sequence[int], Sequence[int]], tuple[float | None, bool]]


def labelled_paths(
    stored: StoredTree,
    *,
    step: StepConfig,
    thinking: Thinking | None,
    decode: Decode,
    limit: int | None = None,
    seed: int = 0,
    truth: GroundTruth | None = None,
    kinds: Sequence[ValueKind] = LABELS,
) -> list[LabelledPath]:
    """Labels each checked trajectory, at most `limit` of them drawn at random (the same for the same seed). `truth`:
    the true value of a prefix (prompt and response ids) and whether it is right so far, where that is known. `kinds`:
    of the values that are labels; the others are None, as what nothing is known of."""
    rows = [row for row in stored.trajectories if is_checked(row) and row["leaf"] in stored.tree]
    if limit is not None and len(rows) > limit:
        chosen = random.Random(f"{seed}/{stored.problem_id}").sample(range(len(rows)), limit)
        rows = [rows[i] for i in sorted(chosen)]
    tree = stored.tree
    prompt_ids = tuple(tree.prompt_ids)
    spelling = one_spelling(row["answer"] for row in rows)  # votes count equal mathematics as one answer
    drawn = votes(tree, stored.values.scheme.heads)
    shown: set[tuple[str, int]] = set()
    paths: list[LabelledPath] = []
    for row in rows:
        leaf = tree[row["leaf"]]
        path = tree.path(leaf)
        response_ids = tuple(tree.response_ids(leaf.node_id))
        ends = tuple(path_step_ends(path, step, thinking, decode))
        if not ends:
            continue
        labels = step_labels(tree, leaf.node_id, ends, stored.values, kinds=kinds)
        known = None if truth is None else [truth(prompt_ids, response_ids[:end]) for end in ends]
        first: list[bool] = []
        for key in _holders(path, ends):
            first.append(key not in shown)
            shown.add(key)
        paths.append(
            LabelledPath(
                problem_id=stored.problem_id,
                trajectory_id=row["trajectory_id"],
                round_index=stored.round_index,
                prompt_ids=prompt_ids,
                response_ids=response_ids,
                ends=ends,
                soft=tuple(label.label for label in labels),
                hard=tuple(None if label.label is None else label.reached for label in labels),
                visits=tuple(label.n for label in labels),
                masses=tuple(label.mass for label in labels),
                vote=drawn[leaf.node_id].weight,
                first=tuple(first),
                passed=row["verdict"] == Outcome.PASS,
                answer=None if row["answer"] is None else spelling[row["answer"]],
                truth=_values(known),
                true_good=None if known is None else tuple(good for _, good in known),
                evidence=_evidence(path, ends),
            )
        )
    return paths


def _values(known: Sequence[tuple[float | None, bool]] | None) -> tuple[float, ...] | None:
    values = [value for value, _ in known or () if value is not None]
    return tuple(values) if known and len(values) == len(known) else None


def _evidence(path: Sequence[ReadNode], ends: Sequence[int]) -> tuple[Evidence | None, ...]:
    """What is recorded up to each end: segments' sums, so nothing for an end inside one."""
    known: dict[int, Evidence] = {}
    total = 0.0
    for node in path:
        if node.logprob_sum is None:
            break
        total += node.logprob_sum
        known[node.end] = Evidence(total, node.end)
    return tuple(known.get(end) for end in ends)


def is_checked(row: Row) -> bool:
    """Whether a stored trajectory's verdict tells right from wrong."""
    return ending_of(row) in (Ending.PASS, Ending.WRONG)


def ending_of(row: Row) -> Ending:
    """How a stored trajectory came out."""
    return ending(row["verdict"], row["verdict_reason"], row["finish"])


def _holders(path: Sequence[ReadNode], ends: Sequence[int]) -> list[tuple[str, int]]:
    """For each end the node that holds it, and the offset: equal for paths that share this prefix."""
    found: list[tuple[str, int]] = []
    at = 0
    for end in ends:
        while path[at].end < end:
            at += 1
        found.append((path[at].node_id, end))
    return found
