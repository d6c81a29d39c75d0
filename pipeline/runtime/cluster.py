"""Ray: connect or start it, check that the roles fit, place the actors."""

from __future__ import annotations

import logging
import math
import os
import socket
import warnings
from dataclasses import dataclass
from typing import Any

from pipeline.config.layout import Layout, RoleLayout
from pipeline.config.run import RunConfig
from pipeline.engines.build import environment
from pipeline.errors import ResourceError

CONCURRENT_CALLS = 10_000


@dataclass(frozen=True, slots=True)
class Fleet:
    """The actors of one run, by role."""

    rollout: list[tuple[str, Any]]  # (worker id, actor)
    sandbox: list[Any]
    reward: list[Any]


def connect(address: str | None, layout: Layout) -> None:
    """Joins the Ray cluster at `address` (or RAY_ADDRESS), else starts one on this machine that ends with this process.
    Raises ResourceError, also where the layout does not fit."""
    roles = (layout.rollout, layout.reward, layout.sandbox)
    join(address or os.environ.get("RAY_ADDRESS"), sum(role.actors * role.cpus for role in roles))
    _check_fits(layout)


def join(address: str | None, cpus: float = 1) -> None:
    """Joins the Ray cluster at `address`, or starts one of so many `cpus` on this machine. Raises ResourceError."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DISABLE_DOCKER_CPU_WARNING", "1")
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    import ray

    if address:
        _check_reachable(address)
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "namespace": "berry"}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            ray.init(
                address="local",  # else it joins whatever cluster was last started on this machine
                num_cpus=max(math.ceil(cpus), 1),
                include_dashboard=False,
                object_store_memory=256 << 20,
                **quiet,
            )
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        if address:
            raise _unreachable(address, error) from error
        raise ResourceError(f"Ray can't be started here: {error}") from error


def _check_reachable(address: str) -> None:
    """Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> ResourceError:
    return ResourceError(
        f"the Ray cluster at {address} can't be reached: {error}; check --address (or RAY_ADDRESS), or leave it out to "
        "start one here"
    )


def _check_fits(layout: Layout) -> None:
    import ray

    have = ray.cluster_resources()
    roles = (layout.rollout, layout.reward, layout.sandbox)
    for resource, need in (
        ("CPU", sum(r.actors * r.cpus for r in roles)),
        ("GPU", sum(r.actors * r.gpus for r in roles)),
    ):
        if need > have.get(resource, 0) + 1e-6:
            listed = ", ".join(f"{r.actors} {r.role} × {r.cpus if resource == 'CPU' else r.gpus:g}" for r in roles)
            raise ResourceError(
                f"cluster {layout.cluster!r} needs {need:g} {resource} ({listed}), Ray has "
                f"{have.get(resource, 0):g}: lower cluster.roles.*.max, or start more nodes"
            )


def disconnect() -> None:
    import ray

    ray.shutdown()


def place_actors(config: RunConfig, layout: Layout, *, place: str, round_index: int) -> Fleet:
    """Asks Ray for every actor of the layout; they come up on their own."""
    from pipeline.runtime import actors

    checker = config.verification.model_copy(update={"slots": layout.sandbox.slots})
    sandboxes = [
        actors.sandbox_actor.options(
            **_options(layout.sandbox),
            runtime_env={"env_vars": {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}},
        ).remote(checker)
        for _ in range(layout.sandbox.actors)
    ]
    rollouts = []
    for index in range(layout.rollout.actors):
        worker_id = f"rollout-{index}"
        actor = actors.rollout_actor.options(
            **_options(layout.rollout), runtime_env={"env_vars": environment(config.engine)}
        ).remote(config.model_dump_json(), place, worker_id, round_index)
        rollouts.append((worker_id, actor))
    return Fleet(rollouts, sandboxes, _rewards(config, layout, place))


def _rewards(config: RunConfig, layout: Layout, place: str) -> list[Any]:
    if not config.scored_by:
        return []
    from pipeline.runtime import rewarding

    threads = {"OMP_NUM_THREADS": str(max(1, round(layout.reward.cpus))), "OMP_WAIT_POLICY": "PASSIVE"}
    actor = rewarding.reward_actor.options(**_options(layout.reward), runtime_env={"env_vars": threads})
    return [actor.remote(config.model_dump_json(), place) for _ in range(layout.reward.actors)]


def _options(role: RoleLayout) -> dict[str, Any]:
    options: dict[str, Any] = {
        "num_cpus": role.cpus,
        "num_gpus": role.gpus,
        "max_restarts": -1,
        "max_concurrency": CONCURRENT_CALLS,
    }
    if role.labels:
        options["label_selector"] = dict(role.labels)
    return options
