"""Trains the generator on a run's stored trees and publishes its new weights.

    committed files ─► collect_trees (counts) ─► PolicyJob ─► train_policy, here or in several processes
                                                                   └─► work/trained ─► round=N/weights/policy, card

A job is all that a process is told, so that each of several opens the run for itself. Its `work` folder is beside the
weights, and holds the counts and checkpoints: a killed training goes on.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.config.sections.rounds import PolicyTraining
from berry.pipeline.core.assignment.splits import Split, split_of
from berry.pipeline.engines import models
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.errors import ConfigError, InputError
from berry.pipeline.rewards.model.card import NAME, Card, from_json
from berry.pipeline.stages.training.policy_trees import StoredPolicyTrees, collect_trees
from berry.pipeline.stages.training.reward_data import JobProgress, Progress
from berry.pipeline.stages.training.same_template import template_now
from berry.pipeline.stages.training.training_problems import training_problems
from berry.pipeline.storage.run.directory import RunDir, open_run
from berry.pipeline.storage.run.weights_file import Weights

if TYPE_CHECKING:  # torch takes seconds to import
    from berry.pipeline.rewards.policy.step_trainer import Figures

COUNTS, CHECKPOINTS, TRAINED = "trees.json", "checkpoints", "trained"


@dataclass(frozen=True, slots=True)
class PolicyJob:
    """A training of the generator. `run`: where the run lies; `source`, `base`: folders of the weights that it starts
    from and that `kl` is measured from; `template`: the hash of the chat template that they have; `work`: a folder that
    all its processes see."""

    run: str
    rounds: tuple[int, ...]
    settings: PolicyTraining
    split: Split
    source: str
    base: str
    temperature: float
    template: str | None
    work: str

    def trees(self, progress: Callable[[float], None] = lambda _share: None) -> StoredPolicyTrees:
        """What it learns from; counted once."""
        return collect_trees(
            open_run(self.run),
            self.settings,
            self.split,
            rounds=self.rounds,
            template=self.template,
            kept_in=Path(self.work) / COUNTS,
            progress=progress,
        )


TrainPolicy = Callable[[PolicyJob, JobProgress], "Figures"]


def train_policy(job: PolicyJob, progress: JobProgress) -> Figures:
    """Trains in this process, with those that train beside it if there are any. The new weights are in `work` then.
    Raises what `finetune` raises."""
    from berry.pipeline.rewards.model.quiet import quiet_transformers
    from berry.pipeline.rewards.policy.trainer import finetune
    from berry.pipeline.rewards.training import processes

    trees = job.trees()
    model, figures = finetune(
        job.source,
        trees,
        job.settings,
        work=Path(job.work) / CHECKPOINTS,
        base=job.base,
        temperature=job.temperature,
        progress=progress,
    )
    figures.trajectories, figures.problems = trees.trajectories, trees.problems
    if processes.rank() == 0:
        with quiet_transformers():
            model.save_pretrained(Path(job.work) / TRAINED)
    processes.wait_for_all()
    return figures


def train_policy_share(job: PolicyJob, progress: JobProgress) -> dict[str, Any]:
    """Does what each of several processes has to do of a training; the figures are in the form of JSON."""
    return asdict(train_policy(job, progress))


def figures_of(found: dict[str, Any]) -> Figures:
    """How a training went, from the form of JSON."""
    from berry.pipeline.rewards.policy.step_trainer import Figures

    return Figures(**found)


def train_generator(
    run: RunDir,
    config: RunConfig,
    round_index: int,
    starts_from: str,
    name: str,
    progress: Progress,
    *,
    train: TrainPolicy = train_policy,
) -> tuple[Weights, dict[str, int]] | str:
    """New weights of the generator in the run's folder `name`, and the tokens that were read to train them; or why
    there are none, in words. `starts_from`: the model that training begins with. Raises ConfigError, EngineError,
    ResourceError, StorageError, and InputError where the run lacks what the objective needs."""
    assert config.rounds is not None
    settings = config.rounds.policy
    assert settings is not None
    if not isinstance(config.engine, VllmEngine):
        raise ConfigError(
            f"rounds.policy needs an engine of type vllm, whose weights can be trained; this run's is "
            f"{config.engine.type}: set rounds.policy to null"
        )
    split = split_of(config)
    rounds = tuple(range(round_index + 1)) if settings.learns_from_all_rounds else (round_index,)
    source = models.resolve(starts_from)
    work = _work_folder(run, name)
    job = PolicyJob(
        run=run.location.show(),
        rounds=rounds,
        settings=settings,
        split=split,
        source=source,
        base=models.resolve(config.engine.model),
        temperature=config.rollout.each_mode[0].sampling.temperature,
        template=template_now(config),
        work=str(work),
    )
    trees = job.trees(lambda share: progress("policy: counting trajectories", share))
    if trees.trajectories < settings.min_kept:
        return (
            f"the generator stays as it was: {trees.trajectories} trajectories to learn from are fewer than "
            "rounds.policy.min_kept"
        )
    version = f"policy-r{round_index}"
    data = blake2b(f"{source}/{trees.digest}".encode(), digest_size=16).hexdigest()
    stored = run.location.get(f"{name}/{NAME}")
    if stored is not None:
        card = from_json(stored, where=run.location.show(f"{name}/{NAME}"))
        if (card.data, card.config) == (data, settings.model_dump(mode="json")):
            return Weights(name, version), _passes(card)
    try:
        figures = train(job, lambda share, text: progress(f"policy: {text}", share))
    except ConfigError:
        raise
    except InputError as error:
        return f"the generator stays as it was: {error}"
    card = _card(config, settings, trees, version, rounds, split, data, figures)
    _publish(run, name, work, config, card, training_problems(config, trees.problem_ids))
    shutil.rmtree(work, ignore_errors=True)
    return Weights(name, version), _passes(card)


def _work_folder(run: RunDir, name: str) -> Path:
    if run.location.is_local:
        return Path(run.location.path(f"{name}.training"))
    key = blake2b(run.location.show(name).encode(), digest_size=16).hexdigest()
    return models.cache_folder() / "training" / key


def _card(
    config: RunConfig,
    settings: PolicyTraining,
    trees: StoredPolicyTrees,
    version: str,
    rounds: Sequence[int],
    split: Split,
    data: str,
    figures: Figures,
) -> Card:
    base = getattr(config.engine, "model", "")
    return Card(
        what="policy",
        version=version,
        backbone=base,
        vocabulary=vocabulary.of_engine(config.engine).fingerprint,
        targets=getattr(settings, "type", ""),
        runs=(config.name,),
        rounds=tuple(rounds),
        generator=base,
        problems=trees.problems,
        trajectories=trees.trajectories,
        heldout={"share": split.heldout_share, "validation": split.validation_share, "seed": split.seed},
        data=data,
        config=settings.model_dump(mode="json"),
        metrics=figures.as_numbers(),
    )


def _publish(run: RunDir, name: str, work: Path, config: RunConfig, card: Card, extra: Mapping[str, bytes]) -> None:
    from berry.pipeline.rewards.model.publish import publish
    from berry.pipeline.rewards.policy.trainer import load_trained

    model = load_trained(work / TRAINED)
    speaks = vocabulary.of_engine(config.engine)
    publish(run.location, name, model=model, tokenizer=speaks.pieces, card=card, extra=extra)


def _passes(card: Card) -> dict[str, int]:
    return {
        "trained": int(card.metrics.get("computed_tokens", 0)),
        "reference": int(card.metrics.get("reference_tokens", 0)),
    }
