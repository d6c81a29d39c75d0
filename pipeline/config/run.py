"""Configures a run: everything it needs, one section a concern."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from berry.pipeline.config.engine_checks import check_engines
from berry.pipeline.config.one_engine import check_engine
from berry.pipeline.config.overlap import with_training_role
from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.reading.loading import read_yaml
from berry.pipeline.config.reading.shipped import shipped
from berry.pipeline.config.reward_checks import check_rewards
from berry.pipeline.config.sections.annotation import Annotation
from berry.pipeline.config.sections.cluster import Cluster, RolloutRole
from berry.pipeline.config.sections.engine import EngineConfig, Recompute
from berry.pipeline.config.sections.engines import FIRST_OF_SEVERAL, EngineName, NamedEngine, without_role
from berry.pipeline.config.sections.gpu_memory import USED, GpuShares, gpu_shares
from berry.pipeline.config.sections.problems import ProblemSource, Screening
from berry.pipeline.config.sections.rewards import Rewards
from berry.pipeline.config.sections.rollout.policies import POLICIES
from berry.pipeline.config.sections.rollout.pruning import PruneRule, default_rules
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.config.sections.rollout.tools import TurnCalls
from berry.pipeline.config.sections.rounds import Rounds
from berry.pipeline.config.sections.routing import Routing, TeacherRouting, routed_modes
from berry.pipeline.config.sections.storage import Storage
from berry.pipeline.config.sections.tracking import Trackers
from berry.pipeline.config.sections.variants import Variants
from berry.pipeline.errors import ConfigError
from berry.verifiers.config import CheckerConfig


class RunConfig(Section):
    """Everything a run needs."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the run directory; the config file's stem if not given."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Everything that is drawn at random follows from it."""
    problems: tuple[ProblemSource, ...] = Field(min_length=1)
    """Sources, read in order."""
    screening: Screening = Screening()
    """Evaluation sets that no problem of the run may come near."""
    engine: EngineConfig
    """What generates; with `engines` it is left out, and is the first of them."""
    engines: dict[EngineName, NamedEngine] = Field(default_factory=dict)
    """Several engines of different models, by name, in place of `engine`; a tree stays on one."""
    routing: Routing | None = None
    """Which mode, and so which engine, takes which problem; null: the modes' own shares say it."""
    rollout: Rollout = Rollout()
    """How trees grow: policy, steps, sampling, budgets."""
    verification: CheckerConfig = CheckerConfig()
    """How responses are checked, and within which limits."""
    pruning: tuple[PruneRule, ...] = Field(default_factory=default_rules)
    """Rules in the order they apply; a trajectory keeps the reason of the first that drops it."""
    rewards: Rewards | None = None
    """Reward models: served in the run, and how they are trained; null: none."""
    rounds: Rounds | None = None
    """Generate, learn, take the new weights, and again: a number, or how; null: once."""
    recompute: Recompute = Recompute()
    """A share of the log-probabilities computed again, to find engines that compute wrongly."""
    cluster: Cluster
    """Nodes and what each kind of actor takes of them: a shipped name, a YAML path, or the keys themselves."""
    storage: Storage = Storage()
    """Where the run is kept, and in what pieces."""
    report: bool = True
    """Write report.html into the run directory when the run ends."""
    tracking: Trackers = ()
    """Experiment trackers that the run reports to, beside its own files; at most one of each type."""
    annotation: Annotation | None = None
    """What `berry annotate` labels; it writes this section into what it makes, and `berry run` takes none."""
    variants: Variants | None = None
    """What `berry variants` makes from the problems; a run reads its output and ignores this."""

    @model_validator(mode="before")
    @classmethod
    def _default_cluster(cls, raw: Any) -> Any:
        if isinstance(raw, dict):
            raw = {**raw, "cluster": raw.get("cluster", "local")}
        return raw

    @model_validator(mode="before")
    @classmethod
    def _routes_are_modes(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and raw.get("engines") and raw.get("engine") is None:
            raw = {**raw, "engine": FIRST_OF_SEVERAL}
        return routed_modes(raw)

    @model_validator(mode="after")
    def _engines_fit(self) -> RunConfig:
        if self.engines:
            first = without_role(next(iter(self.engines.values())))
            if self.engine not in (FIRST_OF_SEVERAL, first):
                raise ValueError(
                    "engine and engines are both given: name one engine by `engine`, or several by `engines`"
                )
            object.__setattr__(self, "engine", first)
        if self.engines or self.routing is not None:
            check_engines(self, site=self.storage.site)
        return self

    @model_validator(mode="after")
    def _each_engine_fits(self) -> RunConfig:
        """Of several engines each is checked as though it were alone."""
        for name in self.engines:
            try:
                check_engine(self.on_engine(name))
            except ValueError as error:
                raise ValueError(f"engines.{name}: {error}") from None
        return self

    @model_validator(mode="after")
    def _only_engine_fits(self) -> RunConfig:
        if not self.engines:
            check_engine(self)
        return self

    @field_validator("rounds", mode="before")
    @classmethod
    def _a_number_of_rounds(cls, value: Any) -> Any:
        return {"count": value} if isinstance(value, int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _leases_by_trajectories(self) -> RunConfig:
        """Works out `storage.lease_problems`. A stored configuration has both, and what it says stands: leases are the
        same problems for as long as a run lasts."""
        wanted = self.storage.lease_trajectories
        if wanted is not None and "lease_problems" not in self.storage.model_fields_set:
            planned = [_planned_leaves(rollout) for rollout in self.rollout.each_mode]
            shares = [mode.share or 1 / len(planned) for mode in self.rollout.modes] or [1.0]
            mean = sum(leaves * share for leaves, share in zip(planned, shares, strict=True))
            size = max(1, int(wanted // max(1.0, mean)))
            object.__setattr__(self, "storage", self.storage.model_copy(update={"lease_problems": size}))
        return self

    @model_validator(mode="after")
    def _training_has_a_place(self) -> RunConfig:
        object.__setattr__(self, "cluster", with_training_role(self, site=self.storage.site))
        return self

    @model_validator(mode="after")
    def _generator_can_learn(self) -> RunConfig:
        if self.rounds is not None and self.rounds.policy is not None and self.engine.type != "vllm":
            raise ValueError(
                f"rounds.policy needs an engine of type vllm, whose weights can be trained; this one is "
                f"{self.engine.type}: set rounds.policy to null"
            )
        learns = self.rounds is not None and self.rounds.policy is not None
        if learns and self.engine.type == "vllm" and self.engine.adapter is not None:
            raise ValueError(
                "rounds.policy trains whole weights, which an engine with an adapter does not take: set it to null, or "
                "merge the adapter into engine.model"
            )
        return self

    @model_validator(mode="after")
    def _reward_models_are_there(self) -> RunConfig:
        check_rewards(self.rewards, self.rollout)
        return self

    @property
    def scored_by(self) -> tuple[str, ...]:
        """Reward models that score in this run, in some round at least; completions that label need none."""
        if self.annotation is not None:
            return ()
        served = self.rewards.served if self.rewards is not None else ()
        trained = self.rounds.train if self.rounds is not None and self.rounds.count > 1 else ()
        return tuple(dict.fromkeys((*served, *trained)))

    @model_validator(mode="after")
    def _template_knows_the_tools(self) -> RunConfig:
        """Gives the chat template the tools' descriptions, where calls go through it: of each mode, where there are
        modes. A stored configuration has them."""
        told = [_told_of_tools(rollout) for rollout in self.rollout.each_mode]
        if not any(told):
            return self
        told_by = [
            r for one in self.each_engine.values() if one.engine.type == "synthetic" for r in one.rollout.each_mode
        ]
        calls = next((rollout.calls.type for rollout in told_by if _told_of_tools(rollout)), None)
        if calls is not None:
            raise ValueError(f"rollout.calls of type {calls} need an engine with a chat template; use fenced")
        if not self.rollout.modes and self.engine.type != "synthetic":
            engine = self.engine.model_copy(update={"template_args": {**told[0], **self.engine.template_args}})
            object.__setattr__(self, "engine", engine)
            return self
        modes = tuple(
            mode.model_copy(update={"template_args": {**given, **mode.template_args}})
            for mode, given in zip(self.rollout.modes, told, strict=True)
        )
        object.__setattr__(self, "rollout", self.rollout.model_copy(update={"modes": modes}))
        return self

    @model_validator(mode="after")
    def _modes_suit_what_reads_them(self) -> RunConfig:
        """Refuses what takes every log-probability as of one distribution, where modes draw from several."""
        if len({sampling_of(rollout) for rollout in self.rollout.each_mode}) < 2:
            return self
        names = ", ".join(mode.name for mode in self.rollout.modes)
        if self.rounds is not None and self.rounds.policy is not None and self.rounds.policy.type != "sft":
            raise ValueError(
                f"rounds.policy of type {self.rounds.policy.type} compares log-probabilities of one distribution, and "
                f"the modes ({names}) differ in temperature, top_p, top_k or min_p: draw alike, or use sft"
            )
        if self.recompute.share > 0:
            raise ValueError(
                f"recompute.share {self.recompute.share:g} computes log-probabilities of one distribution, and the "
                f"modes ({names}) differ in temperature, top_p, top_k or min_p: draw alike, or set it to 0"
            )
        return self

    @model_validator(mode="after")
    def _scorers_read_one_thinking(self) -> RunConfig:
        modes = self.rollout.modes
        if self.scored_by and any(rollout.thinking != self.rollout.thinking for rollout in self.rollout.each_mode):
            other = next(m.name for m in modes if self.rollout.in_mode(m.name).thinking != self.rollout.thinking)
            raise ValueError(
                f"rewards: reward models find steps by rollout.thinking, and mode {other!r} has tags of its own: leave "
                "`thinking` out of the modes, or run without reward models"
            )
        return self

    def in_mode(self, name: str) -> RunConfig:
        """The run as though all its problems were searched in the mode of this name. Raises KeyError where there is
        none."""
        rollout = self.rollout.in_mode(name)
        mode = next(mode for mode in self.rollout.modes if mode.name == name)
        alone = self.on_engine(mode.engine) if self.engines and mode.engine is not None else self
        engine = alone.engine
        if engine.type != "synthetic" and mode.template_args:
            engine = engine.model_copy(update={"template_args": {**engine.template_args, **mode.template_args}})
        return alone.model_copy(update={"rollout": rollout, "engine": engine})

    def on_engine(self, name: str) -> RunConfig:
        """The run as though this one of `engines` were its only engine: with what its actors take, and the modes that
        it searches. Raises KeyError where there is none; a run with one engine has it under the name ""."""
        if not self.engines and not name:
            return self
        named, roles = self.engines[name], self.cluster.roles
        roles = roles.model_copy(update={"rollout": named.role or roles.rollout})
        modes = tuple(mode for mode in self.rollout.modes if mode.engine == name)
        return self.model_copy(
            update={
                "engine": without_role(named),
                "engines": {},
                "routing": None,
                "cluster": self.cluster.model_copy(update={"roles": roles}),
                "rollout": self.rollout.model_copy(update={"modes": modes}),
            }
        )

    @property
    def each_engine(self) -> dict[str, RunConfig]:
        """The run on each of its engines, by name; on the one under the name "" where there is one."""
        return {name: self.on_engine(name) for name in self.engines or ("",)}

    @property
    def each_started(self) -> dict[str, RunConfig]:
        """The run on each engine that it starts, by name: of one that labels another, on the one that completes."""
        each = self.each_engine
        alone = None if self.annotation is None else self.annotation.engine
        return each if alone is None else {alone: each[alone]}

    @property
    def each_generator(self) -> dict[str, RunConfig]:
        """The run on each engine whose token ids its rows are, by name: on all but those that complete for labels."""
        each = self.each_engine
        if not self.engines:
            return each
        return {name: each[name] for name in dict.fromkeys(mode.engine or "" for mode in self.rollout.modes)}

    @property
    def labelling(self) -> RunConfig | None:
        """The run that labels what this one makes, while it makes it; None where nothing does."""
        if not isinstance(self.routing, TeacherRouting) or self.annotation is not None:
            return None
        return self.model_copy(update={"annotation": self.routing.annotation})

    @property
    def engine_roles(self) -> dict[str, RolloutRole]:
        """What the actors of each engine that is started take."""
        return {name: one.cluster.roles.rollout for name, one in self.each_started.items()}

    @property
    def each_mode(self) -> tuple[RunConfig, ...]:
        """The run in each mode, in their order; without modes as it is."""
        return tuple(self.in_mode(mode.name) for mode in self.rollout.modes) or (self,)

    @model_validator(mode="after")
    def _works_with_tools(self) -> RunConfig:
        if self.rollout.is_interactive and self.annotation is not None:
            raise ValueError(
                "berry annotate can't complete the prefixes of a run with rollout.tools or rollout.environment: the "
                "calls before a prefix would have to be made again, and which of them ended a session is not stored"
            )
        return self

    @field_validator("verification")
    @classmethod
    def _slots_are_the_clusters(cls, value: CheckerConfig) -> CheckerConfig:
        if value.slots is not None:
            raise ValueError("slots belong to the cluster in a run: set cluster.roles.sandbox.slots")
        return value

    @property
    def text_alone(self) -> bool:
        """Whether a hosted API generates, which gives no token ids."""
        return self.engine.type == "http" and self.engine.dialect == "chat"

    @property
    def gpu_shares(self) -> GpuShares | None:
        """Shares of a GPU's memory for what runs on it; None where nothing does."""
        roles = self.cluster.roles
        if self.engine.type != "vllm" or not (roles.rollout.gpus or roles.reward.gpus):
            return None
        return gpu_shares(self.engine, roles, self.rewards, len(self.scored_by))

    @property
    def reward_gpu_share(self) -> float:
        """Share of a GPU's memory that each reward model on vLLM takes."""
        return USED if self.gpu_shares is None else self.gpu_shares.reward

    def engine_on_its_share(self) -> EngineConfig:
        """The engine's section with its share of a GPU's memory filled in."""
        shares = self.gpu_shares
        if shares is None or self.engine.type != "vllm" or not self.cluster.roles.rollout.gpus:
            return self.engine
        return self.engine.model_copy(update={"gpu_memory_utilization": shares.engine})

    @field_validator("cluster", mode="before")
    @classmethod
    def _named_cluster(cls, value: Any, info: ValidationInfo) -> Any:
        """A name is a file of configs/clusters, or a YAML path relative to the config's folder."""
        if not isinstance(value, str):
            return value
        base = (info.context or {}).get("base")
        try:
            return read_yaml(shipped("clusters", value, Path(base) if base else None))
        except ConfigError as error:
            raise ValueError(str(error)) from error


def _planned_leaves(rollout: Rollout) -> int:
    """Trajectories that a problem's search plans."""
    planned: int = cast("Any", POLICIES.get(rollout.policy.type)).planned_leaves(rollout.policy)
    most = rollout.budget.max_leaves
    return planned if most is None else min(planned, most)


def _told_of_tools(rollout: Rollout) -> dict[str, Any]:
    """What the chat template is given of the tools whose calls go through it."""
    if not rollout.tools or not isinstance(rollout.calls, TurnCalls):
        return {}
    return {"tools": [tool.description for tool in rollout.tools]}


def sampling_of(rollout: Rollout) -> tuple[float, float, int, float]:
    """What turns a model's probabilities into those that tokens are drawn with: temperature, top-p, top-k, min-p."""
    sampling = rollout.sampling
    return sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p


def dump(config: RunConfig) -> str:
    """The whole configuration as YAML, defaults spelled out."""
    return yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True)


def plain(config: RunConfig) -> dict[str, Any]:
    """Turns a configuration into what JSON and YAML hold."""
    return config.model_dump(mode="json")


def digest(config: RunConfig) -> str:
    """blake2 of what decides the results: all keys but those a resumed run may change, `cluster`, `engines.*.role`,
    `variants`, `report`, `tracking`, `verification.nice`, and of `storage` all but `lease_problems`."""
    return digest_of(plain(config))


def digests_of(stored: dict[str, Any]) -> set[str]:
    """The digests that leases of a stored run may carry: of its configuration as the release that began it wrote it,
    and with the defaults of the keys that came since, as this release writes it when the run goes on."""
    return {digest_of(stored), digest_of(_with_defaults(stored))}


def digest_of(stored: dict[str, Any]) -> str:
    """The digest of a run's stored configuration, whichever release wrote it."""
    text = json.dumps(_work(stored), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def differences(stored: dict[str, Any], config: RunConfig) -> list[str]:
    """Dotted keys whose values differ between a stored run's configuration and this one, with both values. A key that
    the release which stored it did not know has its default there."""
    stored = _with_defaults(stored)
    old, new = dict(_flat(_work(stored))), dict(_flat(_work(plain(config))))
    return [
        f"{key}: {old.get(key, '(not set)')!r} in the run, {new.get(key, '(not set)')!r} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _with_defaults(stored: dict[str, Any]) -> dict[str, Any]:
    """As it is where this release can't read it."""
    try:
        return plain(RunConfig.model_validate(stored))
    except ValidationError:
        return stored


_PLACE = ("lease_trajectories", "root", "site", "silent_s", "stall_s", "journal", "compact")


def _work(raw: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in raw.items() if k not in ("cluster", "variants", "report", "tracking")}
    kept["storage"] = {k: v for k, v in raw.get("storage", {}).items() if k not in _PLACE}
    kept["verification"] = {k: v for k, v in raw.get("verification", {}).items() if k != "nice"}
    if raw.get("engines"):
        kept["engines"] = {n: {k: v for k, v in its.items() if k != "role"} for n, its in raw["engines"].items()}
    return kept


def _flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [pair for k, v in value.items() for pair in _flat(v, f"{prefix}.{k}" if prefix else str(k))]
    if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
        return [pair for i, v in enumerate(value) for pair in _flat(v, f"{prefix}.{i}")]
    return [(prefix, value)]
