"""Loads the weights that weights.json names into an engine and reward models, without a restart.

    weights.json ─► load_weights ─► Engine.load_weights, RewardModels.load_weights ─► what could not be taken, in words

What is in flight ends on the old weights; whatever fails leaves them serving.
"""

from __future__ import annotations

import asyncio

from berry.pipeline.engines import adapters
from berry.pipeline.engines.base import SwapsWeights
from berry.pipeline.errors import BerryError, ConfigError
from berry.pipeline.rewards.model.resolve import resolve
from berry.pipeline.rewards.serving.service import RewardModels
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.run.weights_file import RunWeights, address, read_weights


async def load_weights(worker: LeaseWorker, location: Location, models: RewardModels | None) -> list[str]:
    """Loads them into a worker's engine, and into the reward models in the same process if there are any; returns what
    could not be taken, in words. Raises EngineError only when the engine is dead."""
    now = await asyncio.to_thread(read_weights, location)
    problems = [] if models is None else await load_reward_weights(models, location, now)
    worker.round_index = now.round_index
    worker.end_scores = end_scores(worker, now)
    wanted, engine = now.of_engine(worker.engine_name), worker.engine
    if wanted is not None and engine.info.weights_version != wanted.version:
        if not isinstance(engine, SwapsWeights):
            problems.append(f"{engine.info.engine_id} can't take new weights: its engine type has none")
        else:
            source = address(location, wanted)
            try:
                config = worker.config.on_engine(worker.engine_name).engine
                is_adapter = config.type == "vllm" and config.adapter is not None
                find = adapters.resolve if is_adapter else resolve
                folder = await asyncio.to_thread(find, source, key="weights of the engine")
                await engine.load_weights(folder, wanted.version)
            except ConfigError as error:
                problems.append(f"{wanted.version} can't be taken, the old weights generate on: {error}")
    return problems


async def load_reward_weights(models: RewardModels, location: Location, now: RunWeights) -> list[str]:
    """Loads the reward models that `now` names; returns what could not be taken, in words."""
    problems: list[str] = []
    for name, weights in now.rewards.items():
        try:
            await models.load_weights(name, address(location, weights), weights.version)
        except BerryError as error:
            problems.append(f"{name} {weights.version} can't be taken, the old weights go on: {error}")
    return problems


def end_scores(worker: LeaseWorker, now: RunWeights) -> tuple[str, ...]:
    """What finished searches are scored with: the unnamed models of the configuration, and those trained so far; what
    named ones score follows from a search's mode (`stages.rollout.named_scorer`)."""
    rewards = worker.config.rewards
    served = rewards.served if rewards is not None else ()
    return tuple(what for what in ("prm", "orm") if what in served or what in now.rewards)
