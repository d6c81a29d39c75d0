"""Collects what reward models learn from: labelled paths of a run's trees, split by problem, checked for being enough.

    committed files ─► labelled paths of a tree ─┬─► training rows in files of the work folder (TrainingFiles)
                                                 └─► a sample of each part in memory (Splits), which figures are from

Problems are drawn for the samples by their ids, so that what is in memory does not grow with the run.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rewards import RewardTraining
from berry.pipeline.core.assignment.modes import rollout_of
from berry.pipeline.core.assignment.splits import SplitPart, split_of, split_of_training
from berry.pipeline.core.seeds import digest
from berry.pipeline.engines.text.vocabulary import Vocabulary
from berry.pipeline.errors import InputError
from berry.pipeline.records import ValueKind
from berry.pipeline.rewards.model.card import ValueWhat
from berry.pipeline.rewards.packing.layout import depth_first
from berry.pipeline.rewards.training import examples
from berry.pipeline.rewards.training.examples import LabelledPath, Splits
from berry.pipeline.rewards.training.stored_rows import RowWriter
from berry.pipeline.stages.dataset.missing_labels import explain_missing, remedy
from berry.pipeline.stages.dataset.reading import StoredTree, count, read_leases, variants_of_earlier_runs
from berry.pipeline.stages.training.ground_truth import ground_truth_of
from berry.pipeline.stages.training.same_template import check_template, template_now
from berry.pipeline.stages.training.step_labels import labelled_paths
from berry.pipeline.storage.parquet import shard_files
from berry.pipeline.storage.run.directory import RunDir

Progress = Callable[[str, float | None], None]
JobProgress = Callable[[float, str], None]


@dataclass
class Collected:
    """What was found. `sample`: paths of each part, of at most `settings.sample_size` trajectories; `problems` of each
    part; `passed`, `failed`: trajectories of the training problems; `labels`: their steps; `left_out`: how many were,
    for what reason."""

    sample: Splits
    problems: dict[SplitPart, set[str]]
    left_out: dict[str, int]
    trajectories: int = 0
    passed: int = 0
    failed: int = 0
    labels: int = 0


def collect(
    run: RunDir,
    config: RunConfig,
    settings: RewardTraining,
    generator: Vocabulary,
    *,
    rounds: Sequence[int],
    progress: Progress,
    rewrite: Callable[[LabelledPath], LabelledPath] | None = None,
    files: TrainingFiles | None = None,
) -> Collected:
    """Goes through the trees once, one in memory at a time. `rewrite`: of each path, for a reader with another
    tokenizer; `files`: what takes the rows to train on. With `settings.most` files are drawn by its seed, and read
    until there are so many training trajectories."""
    samples: dict[SplitPart, _KeptSample] = {part: _KeptSample(settings.sample_size) for part in get_args(SplitPart)}
    found = Collected(
        Splits([], [], []), {part: set() for part in samples}, {"too_long": 0, "problems_without_verdict": 0}
    )
    split, truth = split_of_training(settings), ground_truth_of(config, generator)
    total, number = count(run, rounds), 0
    for stored in _trees(run, settings, rounds, template_now(config)):
        if number % 50 == 0:
            progress(f"reading trees: {number}", number / max(total, 1))
        number += 1
        paths = labelled_paths(
            stored,
            step=config.rollout.step,
            thinking=rollout_of(config, stored.problem_id).thinking,
            decode=generator.decode,
            limit=settings.per_problem,
            seed=settings.seed,
            truth=truth,
            kinds=tuple(map(ValueKind, settings.labels)),
        )
        short = [p for p in paths if len(p.prompt_ids) + p.tokens <= settings.max_tokens]
        found.left_out["too_long"] += len(paths) - len(short)
        found.left_out["problems_without_verdict"] += not paths
        if not short:
            continue
        if rewrite is not None:
            short = [rewrite(path) for path in short]
        part = split.part(stored.family)
        samples[part].add(short, f"{stored.family}/{stored.problem_id}/{stored.round_index}")
        found.problems[part].add(stored.problem_id)
        if files is not None and part != "heldout":
            files.add(part, short)
        if part != "train":
            continue
        found.trajectories += len(short)
        found.passed += sum(path.passed is True for path in short)
        found.failed += sum(path.passed is False for path in short)
        found.labels += sum(len(path.ends) for path in short)
        if settings.most is not None and found.trajectories >= settings.most:
            break
    found.sample = Splits(samples["train"].paths(), samples["validation"].paths(), samples["heldout"].paths())
    return found


def _trees(run: RunDir, settings: RewardTraining, rounds: Sequence[int], template: str | None) -> Iterator[StoredTree]:
    """Trees of the committed files, with the family of each. Raises InputError where the chat template was another."""
    files = [(r, shards) for r in sorted(rounds) for shards in shard_files.committed_files(run.location, r)]
    if settings.most is not None:
        random.Random(f"{settings.seed}/most").shuffle(files)
    families = variants_of_earlier_runs(run)
    for round_index, shards in files:
        for stored in read_leases(run, round_index, shards.leases):
            check_template(stored, template)
            is_own = stored.family == stored.problem_id
            yield replace(stored, family=families.get(stored.family, stored.family)) if is_own else stored


class _KeptSample:
    """Paths of at most so many trajectories (of one tree at least): whole trees, those whose ids have the lowest
    digests, whatever the order in which they come."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: list[tuple[int, int, list[LabelledPath]]] = []  # a heap, the highest digest first
        self._trajectories = self._trees = 0

    def add(self, paths: list[LabelledPath], tree: str) -> None:
        drawn = int.from_bytes(digest(tree)[:8], "big")
        heapq.heappush(self._held, (-drawn, self._trees, paths))
        self._trees += 1
        self._trajectories += len(paths)
        while self._trajectories > self._most and len(self._held) > 1:
            self._trajectories -= len(heapq.heappop(self._held)[2])

    def paths(self) -> list[LabelledPath]:
        """In the order in which their trees came."""
        return [path for _, _, paths in sorted(self._held, key=lambda held: held[1]) for path in paths]


class TrainingFiles:
    """Writes the rows of training and validation problems into two folders: a context, at whose end they are whole. The
    rows of a tree that share prefixes lie beside each other."""

    def __init__(self, train: Path, validation: Path, what: ValueWhat, settings: RewardTraining, run: RunDir) -> None:
        self._writers = {"train": RowWriter(train), "validation": RowWriter(validation)}
        self._what: ValueWhat = what
        self._settings = settings
        self._run = run
        self._has_steps = self._has_early_labels = False

    def add(self, part: str, paths: Sequence[LabelledPath]) -> None:
        """Adds a tree's paths. Raises InputError for a threshold on labels of trees with cuts."""
        settings = self._settings
        of_cuts = (m for p in paths for m, soft in zip(p.masses, p.soft, strict=False) if soft is not None and m != 1.0)
        if self._what == "prm" and settings.min_visits > 1 and any(of_cuts):
            raise InputError(
                f"min_visits {settings.min_visits}: branches of {self._run.location.show()} were cut, so that how many "
                "continuations stand behind a label says how good it looked, and what is left would be too high; leave "
                f"min_visits out (all labels are right together, by their weights), or {remedy(self._run)}"
            )
        by_mass, by_visits = (
            examples.samples(
                paths, what=self._what, targets=settings.targets, min_visits=settings.min_visits, weigh_by_visits=weigh
            )
            for weigh in (False, settings.weigh_by_visits)
        )
        order = depth_first([np.array(row.ids, np.int64) for row in by_mass])
        self._writers[part].add([by_mass[i] for i in order], [by_visits[i] for i in order])
        if part == "train":
            self._has_steps = self._has_steps or any(len(path.ends) > 1 for path in paths)
            early = (label for path in paths for label in path.soft[:-1])
            self._has_early_labels = self._has_early_labels or any(label is not None for label in early)

    def check(self) -> None:
        """Raises InputError where nothing has a label, or of a PRM's steps the last alone, whose label is the
        verdict."""
        where = self._run.location.show()
        if self._what == "prm" and not self._has_early_labels and self._has_steps:
            lacking = explain_missing(self._run, by_name="rewards.training.labels")
            if lacking is not None:
                raise InputError(f"{where}: no step before the last has a label: {lacking}")
        if not all(writer.rows for writer in self._writers.values()):
            raise InputError(
                f"{where}: no step has a label of the kinds {list(self._settings.labels)} with "
                f"{self._settings.min_visits} continuations behind it: lower min_visits, or {remedy(self._run)}"
            )

    def __enter__(self) -> TrainingFiles:
        return self

    def __exit__(self, *raised: Any) -> None:
        is_cut = any(writer.is_cut for writer in self._writers.values())
        for writer in self._writers.values():
            writer.is_cut = is_cut  # labels of one training are weighed in one way
            writer.__exit__(*raised)


def check_split(config: RunConfig, settings: RewardTraining) -> None:
    """Raises InputError where the generator has learned by another split than `settings` names: problems that are held
    out here would have taught the backbone."""
    asked, own = split_of_training(settings), split_of(config)
    if asked != own and config.rounds is not None and config.rounds.policy is not None and config.rounds.count > 1:
        raise InputError(
            "the generator of this run has learned from the problems that the run's own split calls train "
            f"(heldout_share {own.heldout_share:g}, validation_share {own.validation_share:g}, split_seed {own.seed}); "
            f"heldout_share {asked.heldout_share:g}, validation_share {asked.validation_share:g}, split_seed "
            f"{asked.seed} would hold others out: leave these three keys out"
        )


def check_enough(found: Collected, settings: RewardTraining, what: str) -> None:
    """Raises InputError where training would teach nothing, with the counts and what to do."""
    problems = set().union(*found.problems.values())
    if not problems:
        raise InputError("no trajectory of this run has a verdict: nothing to learn from (`berry inspect` says why)")
    if len(problems) < 3:
        raise InputError(
            f"all verdicts are of {len(problems)} problem(s): some are trained on, some decide when to stop and some "
            "are held out, so at least 3 are needed, and dozens to learn anything; run on more problems"
        )
    if min(found.passed, found.failed) < settings.min_each:
        scarce = "passing" if found.passed < found.failed else "failing"
        raise InputError(
            f"too few {scarce} trajectories to train a {what} on: {found.passed} pass and {found.failed} fail in the "
            f"training problems, at least {settings.min_each} of each are needed (min_each); take more problems, or "
            f"ones that are {'easier' if scarce == 'passing' else 'harder'} for the model"
        )
    for name in ("validation", "heldout"):
        if not found.problems[name]:
            raise InputError(
                f"none of the {len(problems)} problems falls into the {name} share of "
                f"{getattr(settings, f'{name}_share'):g}: raise {name}_share, set another split_seed, or run on more"
            )
