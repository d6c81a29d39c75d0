"""Checks that the engine of a run suits what it is to do, and where it is to run.

RunConfig on one engine ─► check_engine ─► ValueError that names the key, and what to write
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from berry.pipeline.config.sections.annotation import Annotation
from berry.pipeline.config.sections.cluster import Cluster
from berry.pipeline.config.sections.engine import EngineConfig, Recompute
from berry.pipeline.config.sections.gpu_memory import GpuShares
from berry.pipeline.config.sections.problems import ProblemSource
from berry.pipeline.config.sections.rollout.rollout import Rollout


class CheckedEngine(Protocol):
    """What is checked of a run's configuration."""

    @property
    def engine(self) -> EngineConfig: ...
    @property
    def problems(self) -> Sequence[ProblemSource]: ...
    @property
    def rollout(self) -> Rollout: ...
    @property
    def recompute(self) -> Recompute: ...
    @property
    def annotation(self) -> Annotation | None: ...
    @property
    def cluster(self) -> Cluster: ...
    @property
    def scored_by(self) -> tuple[str, ...]: ...
    @property
    def text_alone(self) -> bool: ...
    @property
    def gpu_shares(self) -> GpuShares | None: ...


def check_engine(config: CheckedEngine) -> None:
    """Raises ValueError where the engine does not suit what it is to do, or where it is to run."""
    _check_template_arguments(config)
    _check_recompute(config)
    if config.text_alone:
        for rollout in config.rollout.each_mode:
            _check_text_alone(config, rollout)
    _check_logprobs_of_server(config)
    _check_drafts(config)
    _ = config.gpu_shares
    _check_gpus(config)


def _check_template_arguments(config: CheckedEngine) -> None:
    if config.engine.type != "synthetic":
        return
    places = {f"problems.{i}": source.template_args for i, source in enumerate(config.problems)}
    places |= {f"rollout.modes.{i}": mode.template_args for i, mode in enumerate(config.rollout.modes)}
    given = next((place for place, arguments in places.items() if arguments), None)
    if given is not None:
        raise ValueError(f"{given}.template_args: an engine of type synthetic has no chat template: leave them out")


def _check_recompute(config: CheckedEngine) -> None:
    if config.recompute.share > 0 and config.engine.type != "vllm":
        raise ValueError(
            f"recompute.share {config.recompute.share:g} needs an engine of type vllm, this one is "
            f"{config.engine.type}: set recompute.share to 0"
        )


def _check_text_alone(config: CheckedEngine, rollout: Rollout) -> None:
    """Refuses what needs token ids where a hosted API gives none."""
    needs = {
        f"rollout.policy of type {rollout.policy.type} (use best_of_n)": rollout.policy.type != "best_of_n",
        "rollout.cut": rollout.cut is not None,
        "rollout.tools": bool(rollout.tools),
        "rollout.environment": rollout.environment is not None,
        "a reward model (rewards, rounds.train)": bool(config.scored_by),
        "berry annotate": config.annotation is not None,
        "rollout.sampling.top_k": rollout.sampling.top_k > 0,
        "rollout.sampling.min_p": rollout.sampling.min_p > 0,
    }
    for what, is_used in needs.items():
        if is_used:
            raise ValueError(
                f"engine.dialect chat gives whole samples as text, without token ids: {what} is not for it; leave "
                "it out, or use a server of dialect vllm or sglang"
            )


def _check_logprobs_of_server(config: CheckedEngine) -> None:
    engine, drawn = config.engine, [rollout.sampling for rollout in config.rollout.each_mode]
    cuts = any(one.top_p < 1 or one.top_k > 0 or one.min_p > 0 for one in drawn)
    if engine.type == "http" and engine.dialect == "sglang" and cuts and engine.served_logprobs != "raw_logprobs":
        raise ValueError(
            "SGLang gives log-probabilities of what is before top-p, top-k and min-p, but tokens are drawn "
            "from what is after: set rollout.sampling.top_p 1, top_k 0 and min_p 0, or start it with "
            "SGLANG_RETURN_ORIGINAL_LOGPROB=1 and set engine.logprobs_mode raw_logprobs"
        )


def _check_drafts(config: CheckedEngine) -> None:
    engine, drawn = config.engine, [rollout.sampling for rollout in config.rollout.each_mode]
    drafts = engine.type == "vllm" and engine.extra.get("speculative_config")
    if drafts and any(sampling.min_p > 0 for sampling in drawn):
        raise ValueError(
            "rollout.sampling.min_p: vLLM refuses it from an engine that drafts: set it to 0, or leave "
            "engine.extra.speculative_config out"
        )


def _check_gpus(config: CheckedEngine) -> None:
    role = config.cluster.roles.rollout
    if config.engine.type != "vllm" or not role.gpus:
        return
    for key in ("tensor_parallel", "pipeline_parallel"):
        asked, reserved = getattr(config.engine, f"{key}_size"), getattr(role, key)
        if asked != reserved:
            raise ValueError(
                f"engine.{key}_size {asked} and cluster.roles.rollout.{key} {reserved} must be the same: the role "
                "reserves the GPUs that the engine is split over"
            )
    if 1 < role.parts >= role.cpus:
        stages = f" × pipeline_parallel {role.pipeline_parallel}" if role.pipeline_parallel > 1 else ""
        raise ValueError(
            f"cluster.roles.rollout.cpus {role.cpus:g} is too few for tensor_parallel {role.tensor_parallel}{stages}: "
            f"each part of the engine keeps a core busy, beside the actor's own; set it to at least {role.parts + 1}"
        )
