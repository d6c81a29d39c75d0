"""Collects what reward models learn from: labelled paths of a run's trees, split by problem, checked for being enough.

run directory ─► collect ─► Splits ─► check_enough ─► samples
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rewards import RewardTraining
from berry.pipeline.core.assignment.modes import rollout_of
from berry.pipeline.core.assignment.splits import split_of, split_of_training
from berry.pipeline.engines.text.vocabulary import Vocabulary
from berry.pipeline.errors import InputError
from berry.pipeline.records import ValueKind
from berry.pipeline.rewards.model.card import ValueWhat
from berry.pipeline.rewards.training import examples
from berry.pipeline.rewards.training.examples import LabelledPath, Splits, TrainingSequence
from berry.pipeline.rewards.training.retokenize import translate
from berry.pipeline.stages.dataset.missing_labels import explain_missing, remedy
from berry.pipeline.stages.dataset.reading import count, read_trees
from berry.pipeline.stages.training.ground_truth import ground_truth_of
from berry.pipeline.stages.training.step_labels import labelled_paths
from berry.pipeline.storage.run.directory import RunDir

Progress = Callable[[str, float | None], None]


def collect(
    run: RunDir,
    config: RunConfig,
    settings: RewardTraining,
    generator: Vocabulary,
    *,
    rounds: Sequence[int],
    progress: Progress,
) -> tuple[Splits, dict[str, int]]:
    """Collects labelled paths by part, and how many were left out for what reason."""
    parts: dict[str, list[LabelledPath]] = {"train": [], "validation": [], "heldout": []}
    left_out = {"too_long": 0, "problems_without_verdict": 0}
    total, truth = count(run, rounds), ground_truth_of(config, generator)
    split = split_of_training(settings)
    for number, stored in enumerate(read_trees(run, rounds=rounds)):
        if number % 50 == 0:
            progress(f"reading trees: {number}", number / max(total, 1))
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
        left_out["too_long"] += len(paths) - len(short)
        left_out["problems_without_verdict"] += not paths
        parts[split.part(stored.family)].extend(short)
    return Splits(parts["train"], parts["validation"], parts["heldout"]), left_out


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


def check_enough(splits: Splits, settings: RewardTraining, what: str) -> None:
    """Raises InputError where training would teach nothing, with the counts and what to do."""
    everything = [*splits.train, *splits.validation, *splits.heldout]
    problems = {p.problem_id for p in everything}
    if not everything:
        raise InputError("no trajectory of this run has a verdict: nothing to learn from (`berry inspect` says why)")
    if len(problems) < 3:
        raise InputError(
            f"all verdicts are of {len(problems)} problem(s): some are trained on, some decide when to stop and some "
            "are held out, so at least 3 are needed, and dozens to learn anything; run on more problems"
        )
    good = sum(p.passed is True for p in splits.train)
    bad = sum(p.passed is False for p in splits.train)
    if min(good, bad) < settings.min_each:
        scarce = "passing" if good < bad else "failing"
        raise InputError(
            f"too few {scarce} trajectories to train a {what} on: {good} pass and {bad} fail in the training problems, "
            f"at least {settings.min_each} of each are needed (min_each); take more problems, or ones that are "
            f"{'easier' if scarce == 'passing' else 'harder'} for the model"
        )
    for name, paths in (("validation", splits.validation), ("heldout", splits.heldout)):
        if not paths:
            raise InputError(
                f"none of the {len(problems)} problems falls into the {name} share of "
                f"{getattr(settings, f'{name}_share'):g}: raise {name}_share, set another split_seed, or run on more"
            )


def samples(
    paths: Sequence[LabelledPath], what: ValueWhat, settings: RewardTraining, run: RunDir
) -> list[TrainingSequence]:
    """The training samples of a model, from the paths of `run`. Raises InputError where nothing has a label, or of a
    PRM's steps the last alone, whose label is the verdict; and for a threshold on labels of trees with cuts."""
    of_cuts = (m for p in paths for m, soft in zip(p.masses, p.soft, strict=False) if soft is not None and m != 1.0)
    if what == "prm" and settings.min_visits > 1 and any(of_cuts):
        raise InputError(
            f"min_visits {settings.min_visits}: branches of {run.location.show()} were cut, so that how many "
            "continuations stand behind a label says how good it looked, and what is left would be too high; leave "
            f"min_visits out (all labels are right together, by their weights), or {remedy(run)}"
        )
    made = examples.samples(
        paths,
        what=what,
        targets=settings.targets,
        min_visits=settings.min_visits,
        weigh_by_visits=settings.weigh_by_visits,
    )
    if what == "prm" and not any(label is not None for path in paths for label in path.soft[:-1]):
        lacking = explain_missing(run, by_name="rewards.training.labels") if _has_steps(paths) else None
        if lacking is not None:
            raise InputError(f"{run.location.show()}: no step before the last has a label: {lacking}")
    if not made:
        raise InputError(
            f"{run.location.show()}: no step has a label of the kinds {list(settings.labels)} with "
            f"{settings.min_visits} continuations behind it: lower min_visits, or {remedy(run)}"
        )
    return made


def _has_steps(paths: Sequence[LabelledPath]) -> bool:
    return any(len(path.ends) > 1 for path in paths)


def translated(splits: Splits, generator: Vocabulary, reader: Vocabulary) -> Splits:
    """Turns paths into another tokenizer's ids."""
    parts = (splits.train, splits.validation, splits.heldout)
    return Splits(*([translate(path, generator, reader) for path in paths] for paths in parts))
