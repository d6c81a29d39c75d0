"""Chooses what the generator learns from, and makes of each stored tree what its objective needs.

sft    kept rows, or (the control) all that ended ─► distinct texts
grpo   all that passed or failed ─► advantage of each against its problem's mean
tree   the same                  ─► advantage of each segment from the values at its ends
dpo    siblings of unlike value  ─► pairs of whole responses, the better one's passing, the other's failing
"""

from __future__ import annotations

import json
import random
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from berry.pipeline.config.sections.rounds import (
    DpoTraining,
    GrpoTraining,
    PolicyGradientTraining,
    PolicyTraining,
    SftTraining,
    TreeTraining,
)
from berry.pipeline.core.assignment.splits import Split
from berry.pipeline.core.labels import LABELS, only
from berry.pipeline.core.values.leaf_weights import leaf_weights
from berry.pipeline.errors import InputError
from berry.pipeline.records import Ending, Finish
from berry.pipeline.rewards.policy.examples import PolicySequence, PolicyTree, SiblingPair, sequence, size_of
from berry.pipeline.rewards.policy.objectives import grpo, tree
from berry.pipeline.stages.dataset.reading import StoredTree, read_leases, variants_of_earlier_runs
from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.training.same_template import check_template
from berry.pipeline.stages.training.sibling_pairs import PairFilters, draw_pairs
from berry.pipeline.stages.training.step_labels import ending_of
from berry.pipeline.storage.parquet import shard_files
from berry.pipeline.storage.parquet.checked_read import commit_digest
from berry.pipeline.storage.parquet.shard_files import ShardFile
from berry.pipeline.storage.run.directory import RunDir

T = TypeVar("T")


@dataclass(frozen=True)
class StoredPolicyTrees:
    """What the generator learns from, in a run's committed files (`TreeSource`). `files`: with the round of each;
    `sizes`: of each file, the sequences (pairs) of each of its trees, 0 where a tree teaches nothing or is not to;
    `digest`: of the files as they were committed and of what is taken from them; `trajectories`, `problems`: that are
    learned from, a problem once a round; `problem_ids`: of these, each once."""

    run: RunDir
    settings: PolicyTraining
    files: Sequence[tuple[int, ShardFile]]
    sizes: Sequence[array[int]]
    digest: str
    trajectories: int
    problems: int
    problem_ids: frozenset[str]

    def read(self, file: int) -> Mapping[int, PolicyTree]:
        """The trees of a file that teach something, by their numbers in it. Raises StorageError."""
        round_index, shards = self.files[file]
        found: dict[int, PolicyTree] = {}
        for number, stored in enumerate(read_leases(self.run, round_index, shards.leases)):
            if self.sizes[file][number]:
                [found[number]] = _of_tree(stored, self.settings)
        return found


def collect_trees(
    run: RunDir,
    settings: PolicyTraining,
    split: Split,
    *,
    rounds: Sequence[int],
    template: str | None = None,
    kept_in: Path | None = None,
    progress: Callable[[float], None] = lambda _share: None,
) -> StoredPolicyTrees:
    """Counts what each tree of the given rounds teaches, without keeping it. With `settings.most` files are drawn by
    its seed and read until there are so many trajectories; of the last file problems are drawn.

    Problems held out, and those that decide when a reward model stops, teach the generator nothing: it becomes the
    reward model's backbone. `template`: the hash of the chat template that all are to be sampled under. `kept_in`: a
    file in which the counts are written, so that a training that is gone on with reads nothing twice. Raises InputError
    where an objective needs what the run did not store, or the template was another, StorageError.
    """
    files = [(r, shards) for r in sorted(rounds) for shards in shard_files.committed_files(run.location, r)]
    if settings.most is not None:
        random.Random(f"{settings.seed}/most").shuffle(files)
    digest = _digest(run, settings, split, files, template)
    known: dict[str, Any] | None = None
    if kept_in is not None and kept_in.is_file():
        known = json.loads(kept_in.read_text())
    if known is None or known["digest"] != digest:
        known = {"digest": digest} | _count(run, settings, split, files, template, progress)
        if kept_in is not None:
            kept_in.parent.mkdir(parents=True, exist_ok=True)
            aside = kept_in.with_suffix(".writing")
            aside.write_text(json.dumps(known))
            aside.replace(kept_in)
    sizes = [array("i", one) for one in known["sizes"]]
    return StoredPolicyTrees(
        run,
        settings,
        files[: len(sizes)],
        sizes,
        digest,
        known["trajectories"],
        known["problems"],
        frozenset(known["ids"]),
    )


def _digest(
    run: RunDir,
    settings: PolicyTraining,
    split: Split,
    files: Sequence[tuple[int, ShardFile]],
    template: str | None,
) -> str:
    digester = blake2b(repr((settings.model_dump_json(), split, template)).encode(), digest_size=16)
    for round_index, shards in files:
        digester.update(commit_digest(run.location, shards, round_index).encode())
    return digester.hexdigest()


def _count(
    run: RunDir,
    settings: PolicyTraining,
    split: Split,
    files: Sequence[tuple[int, ShardFile]],
    template: str | None,
    progress: Callable[[float], None],
) -> dict[str, Any]:
    """`sizes` of the files that are learned from, `trajectories`, `problems` and their `ids`."""
    families = variants_of_earlier_runs(run)
    sizes: list[list[int]] = []
    trajectories = problems = 0
    ids: set[str] = set()
    for number, (round_index, shards) in enumerate(files):
        progress(number / len(files))
        trees: list[tuple[str, int, int]] = []  # of each, its problem, its size and its sequences
        for stored in read_leases(run, round_index, shards.leases):
            check_template(stored, template)
            family = stored.family if stored.family != stored.problem_id else families.get(stored.family, stored.family)
            made = next(_of_tree(stored, settings), None) if split.part(family) == "train" else None
            size = 0 if made is None else size_of(made)
            trees.append((stored.problem_id, size, 0 if made is None or not size else len(made.sequences)))
        order = list(range(len(trees)))
        if settings.most is not None:
            random.Random(f"{settings.seed}/{round_index}/{shards.first}").shuffle(order)
        taken = [0] * len(trees)
        is_full = False
        for at in order:
            problem_id, size, sequences = trees[at]
            if settings.most is not None and trajectories + sequences > settings.most:
                is_full = True
                break
            taken[at] = size
            trajectories += sequences
            if size:
                problems += 1
                ids.add(problem_id)
        sizes.append(taken)
        if is_full:
            break
    return {"sizes": sizes, "trajectories": trajectories, "problems": problems, "ids": sorted(ids)}


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
