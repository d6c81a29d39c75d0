"""Chooses what the generator learns from, and makes of each stored tree what its objective needs.

sft    kept rows, or (the control) all that ended ─► distinct texts
grpo   all that passed or failed ─► advantage of each against its problem's mean
tree   the same                  ─► advantage of each segment from the values at its ends
dpo    siblings of unlike value  ─► pairs of whole responses, the better one's passing, the other's failing
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from berry.pipeline.config.sections.rounds import (
    DpoTraining,
    GrpoTraining,
    PolicyGradientTraining,
    PolicyTraining,
    SftTraining,
    TreeTraining,
)
from berry.pipeline.core.labels import LABELS, only
from berry.pipeline.core.splits import Split
from berry.pipeline.core.values.leaf_weights import leaf_weights
from berry.pipeline.errors import InputError
from berry.pipeline.records import Ending, Finish
from berry.pipeline.rewards.policy.examples import PolicySequence, PolicyTree, SiblingPair, sequence
from berry.pipeline.rewards.policy.objectives import grpo, tree
from berry.pipeline.stages.dataset.reading import StoredTree, read_trees
from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.training.sibling_pairs import PairFilters, draw_pairs
from berry.pipeline.stages.training.step_labels import ending_of
from berry.pipeline.storage.run.directory import RunDir

T = TypeVar("T")


def collect_trees(run: RunDir, settings: PolicyTraining, split: Split, *, rounds: Sequence[int]) -> list[PolicyTree]:
    """Trees of the given rounds that teach something, `settings.most` trajectories of them at most.

    Problems held out, and those that decide when a reward model stops, teach the generator nothing: it becomes the
    reward model's backbone. Raises InputError where an objective needs what the run did not store.
    """
    found = [
        made
        for stored in read_trees(run, rounds=rounds)
        if split.part(stored.family) == "train"
        for made in _of_tree(stored, settings)
    ]
    random.Random(f"{settings.seed}/most").shuffle(found)
    if settings.most is None:
        return found
    kept, total = [], 0
    for one in found:
        total += len(one.sequences)
        if total > settings.most:
            break
        kept.append(one)
    return kept


def _of_tree(stored: StoredTree, settings: PolicyTraining) -> Iterator[PolicyTree]:
    pairs: list[SiblingPair] = []
    if isinstance(settings, SftTraining):
        sequences = _kept(stored, settings)
    elif isinstance(settings, PolicyGradientTraining):
        sequences = _rewarded(stored, settings)
    else:
        assert isinstance(settings, DpoTraining), f"no data for {type(settings).__name__}"
        sequences, pairs = _preferred(stored, settings)
    if sequences:
        yield PolicyTree(stored.problem_id, sequences, pairs)


def _kept(stored: StoredTree, settings: SftTraining) -> list[PolicySequence]:
    """Equal texts count once, so that an answer that is found often does not crowd out the others."""
    kept = {row["trajectory_id"] for row in stored.kept}
    distinct = {
        row["response"]: row
        for row in stored.trajectories
        if (row["trajectory_id"] in kept if settings.learn_from == "kept" else row["finish"] == Finish.STOP.value)
    }
    return [_sampled(stored, distinct[text]["leaf"]) for text in _some(sorted(distinct), stored, settings)]


def _sampled(stored: StoredTree, leaf: str, **more: Any) -> PolicySequence:
    """A trajectory as the model wrote it: what tools gave is there and teaches nothing."""
    path = stored.tree.path(stored.tree[leaf])
    trained = [node.given is None for node in path for _ in node.tokens]
    return sequence(stored.tree.prompt_ids, stored.token_ids(leaf), trained=trained, **more)


def _rewarded(stored: StoredTree, settings: PolicyGradientTraining) -> list[PolicySequence]:
    """Those with a weight among their tree's, and a verdict that tells right from wrong."""
    weigh = leaf_weights(stored.tree, stored.values.scheme.heads)
    rows = [
        row
        for row in stored.trajectories
        if row["leaf"] in weigh and weigh[row["leaf"]] > 0 and ending_of(row) in (Ending.PASS, Ending.WRONG)
    ]
    rows = _some(rows, stored, settings)
    weights = [weigh[row["leaf"]] for row in rows]
    whole = sum(weights)
    if isinstance(settings, GrpoTraining):
        rewards = [float(ending_of(row) is Ending.PASS) for row in rows]
        of_rows = grpo.advantages(rewards, weights, settings.scale)
        tokens = (
            None
            if of_rows is None
            else [[advantage] * stored.tree[row["leaf"]].end for advantage, row in zip(of_rows, rows, strict=True)]
        )
    else:
        assert isinstance(settings, TreeTraining), f"no advantages for {type(settings).__name__}"
        tokens = [_segment_advantages(stored, row) for row in rows]
    if tokens is None or not any(any(one) for one in tokens):
        return []
    return [
        _sampled(
            stored, row["leaf"], weight=weight / whole, advantages=advantages, logprobs=_stored_logprobs(stored, row)
        )
        for row, weight, advantages in zip(rows, weights, tokens, strict=True)
    ]


def _segment_advantages(stored: StoredTree, row: Row) -> list[float]:
    """One a response token; 0 where a segment's advantage is not known."""
    path = stored.tree.path(stored.tree[row["leaf"]])
    ends = [only(stored.values[n.node_id], LABELS).label for n in (stored.tree.root, *path[:-1])]
    ends.append(float(ending_of(row) is Ending.PASS))
    known = tree.advantages(ends)
    return [a or 0.0 for a, node in zip(known, path, strict=True) for _ in node.tokens]


def _preferred(stored: StoredTree, settings: DpoTraining) -> tuple[list[PolicySequence], list[SiblingPair]]:
    number: dict[str, int] = {}
    sequences: list[PolicySequence] = []
    pairs: list[SiblingPair] = []
    filters = PairFilters(min_visits=settings.min_visits, min_margin=settings.min_margin, certain=settings.certain)
    drawn = list(draw_pairs(stored, filters))
    for pair in _some(drawn, stored, settings):
        for leaf in (pair.chosen, pair.rejected):
            if leaf not in number:
                number[leaf] = len(sequences)
                sequences.append(_sampled(stored, leaf))
        shared = len(stored.tree.prompt_ids) + pair.parent.end
        pairs.append(SiblingPair(number[pair.chosen], number[pair.rejected], shared))
    return sequences, pairs


def _some(rows: list[T], stored: StoredTree, settings: PolicyTraining) -> list[T]:
    """At most `per_problem`, drawn by seed."""
    random.Random(f"{settings.seed}/{stored.problem_id}").shuffle(rows)
    return rows[: settings.per_problem]


def _stored_logprobs(stored: StoredTree, row: Row) -> array[float]:
    found = stored.logprobs(row["leaf"])
    if found is None:
        raise InputError(
            f"problem {stored.problem_id} has no log-probabilities of its tokens, which a policy gradient needs: an "
            "earlier version made the run, or its engine gives none; use rounds.policy.type: sft, or run again"
        )
    return found
