"""Trains a reward model on a run's stored trees and reports how well it does on held-out problems.

    trees ─► labelled paths ─► split by problem ─┬─► rows in the work folder ─► RewardJob ─► train_value_model,
                                                 │                  here or in several processes ─► work/trained.pt
                                                 └─► held-out problems ─► evaluation ─► weights, card, report

Problems are held out by their ids (splits.py), so that a later round, or another run, never trains on them. A job is
all that a process is told, so that each of several loads the backbone for itself.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rewards import FreshBackbone, RewardTraining
from berry.pipeline.engines import models
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.engines.text.vocabulary import Vocabulary
from berry.pipeline.errors import InputError
from berry.pipeline.rewards.model.blend import Blend
from berry.pipeline.rewards.model.card import NAME, Card, ValueWhat, from_json
from berry.pipeline.rewards.training import examples
from berry.pipeline.rewards.training.calibration_plot import draw_calibration
from berry.pipeline.rewards.training.examples import LabelBalance, Splits
from berry.pipeline.rewards.training.retokenize import translate
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.stages.training.backbone import FRESH, check_vocabulary, choose_backbone
from berry.pipeline.stages.training.reward_data import (
    Collected,
    JobProgress,
    Progress,
    TrainingFiles,
    check_enough,
    check_split,
    collect,
)
from berry.pipeline.stages.training.training_problems import training_problems
from berry.pipeline.storage.parquet import shard_files
from berry.pipeline.storage.parquet.checked_read import commit_digest
from berry.pipeline.storage.run.directory import RunDir, open_run

if TYPE_CHECKING:  # torch takes seconds to import
    from berry.pipeline.rewards.training.evaluation import RewardEvaluation, Scores
    from berry.pipeline.rewards.training.reward_trainer import Trained

REPORT = "report.json"
ROWS, VALIDATION, CHECKPOINTS, TRAINED = "rows", "validation", "checkpoints", "trained.pt"


@dataclass(frozen=True, slots=True)
class RewardJob:
    """A training of a reward model. `run`: where the run lies; `generator_weights`: what a backbone of `generator`
    starts from, if not from the model that the configuration names; `data`: a digest of what is learned from; `work`: a
    folder that all its processes see, which holds the rows."""

    run: str
    settings: RewardTraining
    generator_weights: str | None
    data: str
    balance: LabelBalance
    work: str


TrainReward = Callable[[RewardJob, JobProgress], "Trained"]


@dataclass(frozen=True, slots=True)
class Result:
    """`folder` holds weights, card.json, report.json and calibration.png. `reused`: it was there already, made of the
    same data with the same settings."""

    folder: str
    card: Card
    report: dict[str, Any]
    reused: bool = False


def train_value_model(job: RewardJob, progress: JobProgress) -> Trained:
    """Trains in this process, with those that train beside it if there are any. The new weights are in `work` then.
    Raises what `reward_trainer.train` raises."""
    from berry.pipeline.rewards.training import processes
    from berry.pipeline.rewards.training.reward_trainer import save_weights, train
    from berry.pipeline.rewards.training.stored_rows import StoredRows

    run, work = open_run(job.run), Path(job.work)
    config = stored_config(run)
    backbone, reader = choose_backbone(config, job.settings, _generator(config), trained=job.generator_weights)
    progress(0.0, "loading the backbone")
    model = backbone.load().to_device()
    check_vocabulary(model, reader, backbone.source)
    trained = train(
        model,
        StoredRows(work / ROWS),
        StoredRows(work / VALIDATION),
        job.settings,
        work=work / CHECKPOINTS,
        data=job.data,
        balance=job.balance,
        progress=progress,
    )
    if processes.rank() == 0:
        save_weights(model, work / TRAINED)
    processes.wait_for_all()
    return trained


def train_value_model_share(job: RewardJob, progress: JobProgress) -> dict[str, Any]:
    """Does what each of several processes has to do of a training; how it went is in the form of JSON."""
    return asdict(train_value_model(job, progress))


def trained_of(found: dict[str, Any]) -> Trained:
    """How a training went, from the form of JSON."""
    from berry.pipeline.rewards.training.reward_trainer import Trained

    found["history"] = tuple((step, loss) for step, loss in found["history"])
    return Trained(**found)


def _generator(config: RunConfig) -> Vocabulary:
    return vocabulary.of_all(
        {name: alone.engine for name, alone in config.each_generator.items()},
        remedy="a reward model learns from the token ids of one; train it on a run of one of them",
    )


def train_reward(
    run: RunDir,
    what: ValueWhat,
    settings: RewardTraining,
    *,
    rounds: Sequence[int] | None = None,
    name: str | None = None,
    version: str | None = None,
    generator_weights: str | None = None,
    progress: Progress = lambda _text, _share: None,
    train: TrainReward = train_value_model,
) -> Result:
    """Trains a reward model on the given rounds (all). `name`: the model's folder inside the run directory, by default
    round=N/weights/prm or orm of the last round. `generator_weights`: what a backbone of `generator` starts from, if
    not from the model that the configuration names. `train`: here, or in several processes. Raises InputError where the
    labels can't teach anything, or where the generator has learned by another split."""
    config = stored_config(run)
    chosen = list(rounds) if rounds is not None else run.rounds()
    if not any(run.committed(r) for r in chosen):
        raise InputError(f"{run.location.show()}: nothing is committed yet; let `berry run` finish some leases first")
    check_split(config, settings)
    generator = _generator(config)
    backbone, reader = choose_backbone(config, settings, generator, trained=generator_weights)
    if backbone.source == FRESH and settings.backbone is None:  # its learning rate is another
        settings = settings.model_copy(update={"backbone": FreshBackbone()})
    folder = name or f"round={chosen[-1]}/weights/{what}"
    version = version or f"{what}-r{chosen[-1]}"
    data = _digest(run, chosen, what, backbone.source, reader)
    done = _already(run, folder, data, settings)
    if done is not None:
        return done
    rewrite = None
    if reader.fingerprint != generator.fingerprint:
        progress(f"the backbone has another tokenizer: texts are tokenised again by {backbone.source}", None)
        rewrite = partial(translate, generator=generator, reader=reader)

    from berry.pipeline.rewards.model.publish import publish
    from berry.pipeline.rewards.training.evaluation import evaluate, score_paths
    from berry.pipeline.rewards.training.reward_trainer import load_weights
    from berry.pipeline.rewards.training.stored_rows import StoredRows

    with _work(run, folder) as work:
        with TrainingFiles(work / ROWS, work / VALIDATION, what, settings, run) as files:
            found = collect(
                run,
                config,
                settings,
                generator,
                rounds=chosen,
                progress=progress,
                rewrite=rewrite,
                files=files,
            )
            check_enough(found, settings, what)
            files.check()
        rows, splits = StoredRows(work / ROWS), found.sample
        balance = examples.balance_of(rows.good, rows.bad) if settings.balance else examples.LabelBalance()
        job = RewardJob(run.location.show(), settings, generator_weights, data, balance, str(work))
        trained = train(job, lambda share, text: progress(text, share))
        progress("scoring held-out problems", None)
        model = backbone.load()
        load_weights(model, work / TRAINED, balance)
        heldout, validation = (
            score_paths(model, p, packed=trained.packed) for p in (splits.heldout, splits.validation)
        )
        alone = heldout, validation
        served, others, blend = _served(what, alone, splits, settings)
        evaluation = evaluate(
            what,
            served[0],
            splits.heldout,
            validation_scores=served[1],
            validation=splits.validation,
            train=splits.train,
            others=others,
        )
        report = _report(evaluation, trained, found, settings, model.logit_mean)
        card = _card(
            what,
            evaluation,
            version=version,
            source=backbone.source,
            reader=reader,
            config=config,
            settings=settings,
            found=found,
            report=report,
            blend=blend,
            data=data,
            rounds=chosen,
        )
        publish(
            run.location,
            folder,
            model=model.inner,
            tokenizer=reader.pieces,
            card=card,
            extra={
                **training_problems(config, found.problems["train"] | found.problems["validation"]),
                REPORT: json.dumps(report, indent=1).encode(),
                "calibration.png": draw_calibration(evaluation.curve, title=_title(card, evaluation)),
            },
        )
    return Result(run.location.show(folder), card, report)


def _digest(run: RunDir, rounds: Sequence[int], what: ValueWhat, source: str, reader: Vocabulary) -> str:
    """Of all that is learned from: the files as they were committed, the backbone and its tokenizer."""
    digester = blake2b(repr((what, source, reader.fingerprint)).encode(), digest_size=16)
    for round_index in sorted(rounds):
        for shards in shard_files.committed_files(run.location, round_index):
            digester.update(commit_digest(run.location, shards, round_index).encode())
    return digester.hexdigest()


def _served(
    what: ValueWhat, alone: tuple[Scores, Scores], splits: Splits, settings: RewardTraining
) -> tuple[tuple[Scores, Scores], dict[str, tuple[Scores, Scores]], Blend | None]:
    """Scores of held-out and validation paths as a run will have them, those of the parts they are blended from,
    and the blend, which is fitted on validation problems."""
    from berry.pipeline.rewards.training import blend_fit

    if not settings.blend:
        return alone, {}, None
    blend = blend_fit.fit_to_labels(
        what, alone[1], splits.validation, targets=settings.targets, weigh_by_visits=settings.weigh_by_visits
    )
    if blend is None:
        return alone, {}, None
    parts = {f"{what}_alone": alone}
    fluent = blend_fit.mean_logprob(splits.heldout), blend_fit.mean_logprob(splits.validation)
    if fluent[0] is not None and fluent[1] is not None:
        parts["logprob"] = fluent[0], fluent[1]
    return (
        (blend_fit.blended(alone[0], splits.heldout, blend), blend_fit.blended(alone[1], splits.validation, blend)),
        parts,
        blend,
    )


def _already(run: RunDir, folder: str, data: str, settings: RewardTraining) -> Result | None:
    stored, report = run.location.get(f"{folder}/{NAME}"), run.location.get(f"{folder}/{REPORT}")
    if stored is None or report is None:
        return None
    card = from_json(stored, where=run.location.show(f"{folder}/{NAME}"))
    if card.data != data or card.config != settings.model_dump(mode="json"):
        return None
    return Result(run.location.show(folder), card, json.loads(report), reused=True)


@contextmanager
def _work(run: RunDir, folder: str) -> Iterator[Path]:
    """The folder for checkpoints: beside the model, so that a killed training goes on; gone once the model is there."""
    if run.location.is_local:
        work = Path(run.location.path(f"{folder}.training"))
    else:
        key = blake2b(run.location.show(folder).encode(), digest_size=8).hexdigest()
        work = models.cache_folder() / "training" / key
    work.mkdir(parents=True, exist_ok=True)
    yield work
    shutil.rmtree(work, ignore_errors=True)


def _report(
    evaluation: RewardEvaluation,
    trained: Trained,
    found: Collected,
    settings: RewardTraining,
    logit_mean: float,
) -> dict[str, Any]:
    return {
        "heldout": {
            "problems": evaluation.problems,
            "trajectories": evaluation.trajectories,
            "labels": evaluation.labels,
            "positives": evaluation.positives,
        },
        "scorers": [asdict(line) for line in evaluation.lines],
        "best_of_n": evaluation.best_of_n,
        "candidates": evaluation.candidates,
        "calibration": [asdict(b) for b in evaluation.curve],
        "truth": evaluation.truth,
        "trained_on": {
            "problems": len(found.problems["train"]),
            "trajectories": found.trajectories,
            "validation_problems": len(found.problems["validation"]),
            "left_out": found.left_out,
        },
        "training": asdict(trained),
        "logit_mean": logit_mean,
        "settings": settings.model_dump(mode="json"),
    }


def _card(
    what: ValueWhat,
    evaluation: RewardEvaluation,
    *,
    version: str,
    source: str,
    reader: Vocabulary,
    config: RunConfig,
    settings: RewardTraining,
    found: Collected,
    report: dict[str, Any],
    blend: Blend | None,
    data: str,
    rounds: Sequence[int],
) -> Card:
    software: dict[str, str] = {}
    for package in ("torch", "transformers", "peft"):
        with suppress(importlib.metadata.PackageNotFoundError):
            software[package] = importlib.metadata.version(package)
    labels = found.labels if what == "prm" else found.trajectories
    threshold = evaluation.line(what).threshold
    return Card(
        what=what,
        version=version,
        backbone=source,
        vocabulary=reader.fingerprint,
        targets=settings.targets if what == "prm" else "verdict",
        threshold=0.5 if threshold is None else threshold,
        logit_mean=report["logit_mean"],
        blend=blend,
        runs=(config.name,),
        rounds=tuple(rounds),
        generator=getattr(config.engine, "model", "synthetic"),
        synthetic=config.engine.type == "synthetic",
        problems=report["trained_on"]["problems"],
        trajectories=found.trajectories,
        labels=labels,
        positives=found.passed / found.trajectories,
        heldout={"share": settings.heldout_share, "validation": settings.validation_share, "seed": settings.split_seed},
        data=data,
        config=settings.model_dump(mode="json"),
        software=software,
        metrics=asdict(evaluation.line(what)) | {"best_of_n": evaluation.best_of_n},
    )


def _title(card: Card, evaluation: RewardEvaluation) -> str:
    kind = " (synthetic engine)" if card.synthetic else ""
    error = evaluation.line(card.what).calibration_error
    return f"{card.version}{kind}: {evaluation.problems} held-out problems, calibration error {error:.3f}"
