"""Trains, after a round, reward models and if wanted the generator from the run's own trees.

    weights_after(round) ─► True ─► RunWeights for the next round
        └── False ─► learn(round) ─► round=N/weights/policy ─► round=N/weights/{prm,orm} ─► round=N/learned.json

The generator goes first: reward models start from its newest weights, which know more of the subject than the old ones.
learned.json is written last, so that a round whose learning was cut short is taken up again where it was. Where several
sites share the run, a site whose turn comes after another's writes weights of its own names, and learned.json is only
written where none is: what a site does that was thought dead changes nothing.
"""

from __future__ import annotations

import json

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.config.sections.rewards import RewardTraining
from berry.pipeline.config.sections.rounds import PolicyTraining
from berry.pipeline.engines import models
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.errors import ConfigError, InputError
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.stages.training.backbone import choose_backbone
from berry.pipeline.stages.training.policy_model import TrainPolicy, train_generator, train_policy
from berry.pipeline.stages.training.reward_data import Progress
from berry.pipeline.stages.training.reward_model import TrainReward, train_reward, train_value_model
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.weights_file import RunWeights, Weights, address, read_weights, weights_after


def learn(
    run: RunDir,
    round_index: int,
    progress: Progress,
    *,
    turn: int | None = None,
    policy: TrainPolicy = train_policy,
    reward: TrainReward = train_value_model,
) -> RunWeights:
    """Trains what the configuration says and records it, with the tokens that each training read. A reward model that
    the labels can't teach anything is left as it was, with a note. `turn`: of this site, among several; `policy`,
    `reward`: train the generator and a reward model, here or in several processes. Raises ConfigError, EngineError,
    ResourceError, StorageError."""
    config = stored_config(run)
    if config.rounds is None:
        raise ConfigError("rounds is not set: there is nothing to learn between rounds")
    now = read_weights(run.location)
    if config.rounds.overlap:  # what serves by now belongs to a later round
        now = (weights_after(run, round_index - 1) if round_index else None) or RunWeights()
    rewards, notes = dict(now.rewards), []
    passes: dict[str, dict[str, int]] = {}
    settings = RewardTraining() if config.rewards is None else config.rewards.training
    engine = now.engine
    if config.rounds.policy is not None:
        folder = _folder(round_index, "policy", turn)
        source = _starts_from(run, getattr(config.engine, "model", ""), config.rounds.policy, now)
        found = train_generator(run, config, round_index, source, folder, progress, train=policy)
        if isinstance(found, str):
            notes.append(found)
            progress(f"note: {found}", None)
        else:
            engine, passes["policy"] = found
    newest = None if engine is None else address(run.location, engine)
    for what in config.rounds.train:
        folder = _folder(round_index, what, turn)
        try:
            result = train_reward(
                run,
                what,
                settings,
                rounds=range(round_index + 1),
                name=folder,
                version=f"{what}-r{round_index}",
                generator_weights=newest,
                progress=lambda text, share, what=what: progress(f"{what}: {text}", share),
                train=reward,
            )
            rewards[what] = Weights(folder, result.card.version)
            trained = round(result.report["training"]["computed_tokens"] * result.report["training"]["epochs"])
            passes[what] = {"trained": trained, "reference": 0}
        except ConfigError:
            raise
        except InputError as error:
            notes.append(f"{what} stays as it was: {error}")
            progress(f"note: {notes[-1]}", None)
    after = RunWeights(round_index + 1, engine, rewards)
    record = {
        "engine": None if engine is None else {"folder": engine.folder, "version": engine.version},
        "rewards": {name: {"folder": w.folder, "version": w.version} for name, w in rewards.items()},
        "passes": passes,
        "notes": notes,
    }
    name, data = f"round={round_index}/learned.json", json.dumps(record, indent=1).encode()
    if turn is None:
        run.location.put(name, data)
    elif not run.location.create(name, data):
        after = weights_after(run, round_index)
        assert after is not None
    return after


def demands_packing(config: RunConfig) -> bool:
    """Whether rounds train a model that is refused where it can't read packed trees."""
    if config.rounds is None or config.rounds.count == 1:
        return False
    policy, rewards = config.rounds.policy, config.rewards
    return (policy is not None and policy.packing == "always") or (
        bool(config.rounds.train) and rewards is not None and rewards.training.packing == "always"
    )


def check_learning(run: RunDir) -> None:
    """Finds out whether the models that rounds train read packed trees, where the configuration demands it. Raises
    ConfigError where one does not."""
    from berry.pipeline.rewards.policy.trainer import check_reads_packs
    from berry.pipeline.rewards.training.reward_trainer import why_not_packed

    config = stored_config(run)
    assert config.rounds is not None
    policy = config.rounds.policy
    if policy is not None and policy.packing == "always" and isinstance(config.engine, VllmEngine):
        check_reads_packs(models.resolve(config.engine.model), policy)
    if config.rounds.train and config.rewards is not None and config.rewards.training.packing == "always":
        settings = config.rewards.training
        backbone, _ = choose_backbone(config, settings, vocabulary.of_engine(config.engine))
        why_not_packed(backbone.load().to_device(), settings)


def _folder(round_index: int, what: str, turn: int | None) -> str:
    return f"round={round_index}/weights/{what}{f'.{turn}' if turn else ''}"


def _starts_from(run: RunDir, base: str, settings: PolicyTraining, now: RunWeights) -> str:
    """The model that a fine-tuning begins with: the configured one, or the weights that served in the round."""
    return base if settings.start == "base" or now.engine is None else address(run.location, now.engine)
