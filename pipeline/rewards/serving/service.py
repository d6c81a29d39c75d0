"""Serves a run's PRM and ORM, and those it names: the `Scorer` of `stages.rollout.commands.ports`.

score(model, prompt ids, response ids) ─► render ─► Backend.value ─► Blend with the engine's log-probability ─► number
                                                      ├── TransformersBackend: prefixes kept by us (scorer)
                                                      └── engines.vllm.pooling: prefixes in vLLM's blocks

A blend goes with the weights that it was fitted for: it is looked up by the version that gave the value.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from berry.pipeline.config.sections.gpu_memory import USED
from berry.pipeline.config.sections.rewards import Rewards, ServedReward
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.engines.base import ScoreCounters
from berry.pipeline.engines.text.vocabulary import Vocabulary, for_fresh
from berry.pipeline.engines.text.vocabulary import of_folder as vocabulary_of_folder
from berry.pipeline.errors import ConfigError, EngineError
from berry.pipeline.rewards.model.blend import Blend, Evidence
from berry.pipeline.rewards.model.card import Card, read_card
from berry.pipeline.rewards.model.render import Render, one_token, renderer
from berry.pipeline.rewards.model.resolve import resolve
from berry.pipeline.rewards.serving.batcher import Batcher

if TYPE_CHECKING:  # torch takes seconds to import
    from berry.pipeline.rewards.serving.scorer import PrefixScorer


class Backend(Protocol):
    """Values of token sequences, many at once."""

    @property
    def version(self) -> str:
        """Which weights it scores with."""
        ...

    async def start(self) -> None:
        """Loads the weights. Raises EngineError if they can't be."""
        ...

    async def value(self, ids: Sequence[int]) -> tuple[float, str]:
        """The value at the last token, and the version of the weights that gave it. Raises EngineError."""
        ...

    async def load_weights(self, folder: str, version: str, *, logit_mean: float = 0.0) -> None:
        """New weights between two batches; on EngineError the old ones go on serving."""
        ...

    def counts(self) -> ScoreCounters:
        """What it was asked and what it read, since its start."""
        ...

    async def close(self) -> None:
        """Ends it; who still waits gets an EngineError."""
        ...


class TransformersBackend:
    """A ValueModel on transformers, in this process."""

    def __init__(self, served: ServedReward, folder: str, *, tags: tuple[int, int] | None, version: str) -> None:
        self._served = served
        self._folder = folder
        self._tags = tags
        self._version = version
        self._batcher: Batcher[Sequence[int], tuple[float, str]] = Batcher(
            self._compute, max_batch=served.max_batch, max_wait_s=served.max_wait_ms / 1000
        )
        self._scorer: PrefixScorer | None = None
        self._requests = 0

    @property
    def version(self) -> str:
        return self._version

    async def start(self) -> None:
        if self._scorer is None:
            self._scorer = await asyncio.to_thread(self._load, self._folder)

    def _load(self, folder: str) -> PrefixScorer:
        from berry.pipeline.rewards.model.loading import load
        from berry.pipeline.rewards.serving.scorer import PrefixScorer

        served = self._served
        model = load(folder, dtype=served.dtype, activation=served.activation, tags=self._tags)
        return PrefixScorer(model.to_device(), keep_tokens=served.keep_tokens, batch_tokens=served.batch_tokens)

    async def value(self, ids: Sequence[int]) -> tuple[float, str]:
        self._requests += 1
        return await self._batcher.ask(ids)

    def _compute(self, batch: list[Sequence[int]]) -> list[tuple[float, str]]:
        if self._scorer is None:
            raise EngineError("the reward model was not started")
        return [(value, self._version) for value in self._scorer.values(batch)]

    async def load_weights(self, folder: str, version: str, *, logit_mean: float = 0.0) -> None:  # noqa: ARG002 - it is loaded
        fresh = await asyncio.to_thread(self._load, folder)

        async def change() -> None:
            if self._scorer is not None:
                fresh.reads = self._scorer.reads
            self._scorer, self._folder, self._version = fresh, folder, version

        await self._batcher.between_batches(change)

    def counts(self) -> ScoreCounters:
        counts = ScoreCounters(requests=self._requests, batches=self._batcher.batches, waiting=self._batcher.waiting)
        if self._scorer is None:
            return counts
        reads = self._scorer.reads
        return replace(counts, naive_tokens=reads.naive, computed_tokens=reads.computed, padded_tokens=reads.padded)

    async def close(self) -> None:
        await self._batcher.close()
        self._scorer = None


@dataclass(slots=True)
class _Model:
    backend: Backend
    renders: Mapping[str, Render]  # by the engine whose ids are given
    card: Card | None
    joins: bool = True
    blends: dict[str, Blend] = field(default_factory=dict)  # by version of the weights

    def expect(self, version: str, card: Card | None) -> None:
        """Before the first value of that version."""
        blend = None if card is None or not self.joins else card.blend
        if blend is not None:
            self.blends[version] = blend
        else:
            self.blends.pop(version, None)


class RewardModels:
    """All reward models of a run that are served here. `start` is idempotent."""

    def __init__(
        self,
        rewards: Rewards,
        rollout: Rollout,
        generators: Vocabulary | Mapping[str, Vocabulary],
        *,
        gpu_share: float = USED,
    ) -> None:
        """`generators`: what the run's engine speaks, or each of several by its name; texts are tokenised again for a
        model that reads other ids. `gpu_share`: of a GPU's memory, for each model on vLLM."""
        self._gpu_share = gpu_share
        self._rewards, self._configured = rewards, rewards.each
        self._rollout = rollout
        self._generators = {"": generators} if isinstance(generators, Vocabulary) else generators
        self._models: dict[str, _Model] = {}

    async def start(self) -> None:
        """Loads the models. Raises ConfigError, EngineError, ResourceError."""
        for name, served in self._configured.items():
            if name not in self._models:
                model = await asyncio.to_thread(self._prepare, name, served)
                await model.backend.start()
                self._models[name] = model

    def _prepare(self, name: str, served: ServedReward) -> _Model:
        key = self._rewards.key_of(name)
        folder = resolve(served.model, key=f"{key}.model")
        card = read_card(folder)
        tags = None
        tag = served.step_tag
        renders: dict[str, Render] = {}
        for engine, generator in self._generators.items():
            reader = _tokenizer_of(generator, key, folder, card)
            if tag is not None and tag.good is not None and tag.bad is not None and reader is not None:
                tags = (one_token(reader, tag.bad, "step_tag.bad"), one_token(reader, tag.good, "step_tag.good"))
            renders[engine] = renderer(
                generator, reader, step=self._rollout.step, thinking=self._rollout.thinking, tag=tag
            )
        joins = served.blend and served.activation == "sigmoid"
        model = _Model(backend(served, folder, tags=tags, card=card, gpu_share=self._gpu_share), renders, card, joins)
        model.expect(model.backend.version, card)
        return model

    def of_engine(self, engine: str) -> ScorerOfEngine:
        """What scores responses of one engine of several."""
        return ScorerOfEngine(self, engine)

    async def score(
        self, *, model: str, prompt_ids: Sequence[int], response_ids: Sequence[int], logprob: float | None = None
    ) -> float:
        """`logprob`: of the response, as the engine recorded it. Raises EngineError for a model that is not served, or
        a prefix that can't be read."""
        return await self.of_engine("").score(
            model=model, prompt_ids=prompt_ids, response_ids=response_ids, logprob=logprob
        )

    async def score_with_version(
        self,
        *,
        model: str,
        prompt_ids: Sequence[int],
        response_ids: Sequence[int],
        logprob: float | None = None,
        engine: str = "",
    ) -> tuple[float, str]:
        """The value in [0, 1] of a response so far, and the version of the weights that gave it; `logprob`: the mean of
        its tokens in nats, for models with a blend; `engine`: whose ids they are, of several. Raises EngineError if
        `model` is not served."""
        found = self._models.get(model)
        if found is None:
            raise EngineError(f"no reward model {model!r} is served (rewards.{model} is not set)")
        value, version = await found.backend.value(found.renders[engine](prompt_ids, response_ids))
        blend = found.blends.get(version)
        if blend is not None and logprob is not None:
            value = blend.value(value, Evidence(logprob, len(response_ids)))
        return value, version

    async def load_weights(self, model: str, folder: str, version: str) -> None:
        """Serve the weights in `folder` as `model` from now on, between two batches; nothing is done where `version`
        serves already. A model that was not served yet is started. Raises EngineError, and ConfigError for weights of
        another tokenizer; what served before goes on then."""
        found = self._models.get(model)
        if found is not None and found.backend.version == version:
            return
        folder = await asyncio.to_thread(resolve, folder, key=f"weights of {model}")
        if found is None:
            settings = self._configured.get(model) or ServedReward(model=folder)
            fresh = await asyncio.to_thread(self._prepare, model, settings.model_copy(update={"model": folder}))
            await fresh.backend.start()
            self._models[model] = fresh
            return
        card = await asyncio.to_thread(read_card, folder)
        before = found.card.vocabulary if found.card else None
        if card is not None and before is not None and card.vocabulary != before:
            raise ConfigError(f"{folder} was trained with another tokenizer than the {model} that is served")
        found.expect(version, card)
        await found.backend.load_weights(folder, version, logit_mean=0.0 if card is None else card.logit_mean)
        found.card = card or found.card

    def versions(self) -> dict[str, str]:
        """Versions of the weights that serve now, by model."""
        return {name: model.backend.version for name, model in self._models.items()}

    def counts(self) -> Mapping[str, ScoreCounters]:
        """What each model was asked and what it read, by its name."""
        return {name: model.backend.counts() for name, model in self._models.items()}

    def computed_tokens(self) -> dict[str, int]:
        """Tokens that each model has read since it was started, shared prefixes as often as they were computed."""
        return {name: model.backend.counts().computed_tokens for name, model in self._models.items()}

    async def close(self) -> None:
        """Ends every model."""
        for model in self._models.values():
            await model.backend.close()
        self._models.clear()


@dataclass(frozen=True, slots=True)
class ScorerOfEngine:
    """Scores responses of one engine: a `stages.rollout.commands.ports.Scorer`."""

    models: RewardModels
    engine: str

    async def score(
        self, *, model: str, prompt_ids: Sequence[int], response_ids: Sequence[int], logprob: float | None = None
    ) -> float:
        """As `RewardModels.score`."""
        value, _ = await self.models.score_with_version(
            model=model, prompt_ids=prompt_ids, response_ids=response_ids, logprob=logprob, engine=self.engine
        )
        return value

    def versions(self) -> dict[str, str]:
        """Versions of the weights that serve now, by model."""
        return self.models.versions()


def _tokenizer_of(generator: Vocabulary, key: str, folder: str, card: Card | None) -> Vocabulary | None:
    """The tokenizer the model reads with; None if it reads the generator's ids as they are."""
    if card is None:
        return vocabulary_of_folder(folder)
    if card.vocabulary == generator.fingerprint:
        return None
    spelled = for_fresh(generator)
    if card.vocabulary == spelled.fingerprint:
        return spelled
    if card.synthetic:
        raise ConfigError(
            f"{key}.model: {folder} reads the ids of the synthetic engine, and this run has another "
            "engine: train one with `berry train` on a run of this engine"
        )
    return vocabulary_of_folder(folder)


def backend(
    served: ServedReward, folder: str, *, tags: tuple[int, int] | None, card: Card | None, gpu_share: float = USED
) -> Backend:
    """The backend the config asks for; `auto` takes vLLM on GPUs for what it reads with its prefix cache. Raises
    ConfigError for one that can't read such a model."""
    version = card.version if card is not None else served.model
    wanted = served.backend
    if wanted == "auto":
        plain = served.step_tag is None and served.activation == "sigmoid"
        wanted = "vllm" if plain and _on_gpu() else "transformers"
    if wanted == "transformers":
        return TransformersBackend(served, folder, tags=tags, version=version)
    from berry.pipeline.engines.vllm.pooling import Pooling

    if tags is not None:
        raise ConfigError("backend vllm can't read a language model's answers at step tags: use transformers")
    logit_mean = 0.0 if card is None else card.logit_mean
    return Pooling(served, folder, version=version, logit_mean=logit_mean, gpu_share=gpu_share)


def _on_gpu() -> bool:
    from berry.pipeline.engines.vllm import compat
    from berry.pipeline.errors import ResourceError

    try:
        return compat.installed().device == "gpu"
    except ResourceError:
        return False
