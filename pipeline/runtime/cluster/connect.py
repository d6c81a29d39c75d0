"""Connects to a Ray cluster or starts one on this machine, and leaves it again.

connect ─► join ─► ray.init ─► placement.fitting ─► the layout that fits now
"""

from __future__ import annotations

import logging
import math
import os
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psutil

from berry.pipeline.config.sections.cluster import Cluster, RolloutRole
from berry.pipeline.core.placement import Placement
from berry.pipeline.errors import ResourceError
from berry.pipeline.runtime.cluster.placement import fitting

TOKEN_CHECK_S = 10.0  # for which the head may take to answer


def connect(
    address: str | None, cluster: Cluster, planned: Placement, engines: Mapping[str, RolloutRole] | None = None
) -> Placement:
    """Joins the Ray cluster at `address` (or RAY_ADDRESS), else starts one on this machine that ends with this process.
    The answer is what of the plan fits now. Raises ResourceError, also where not even the minimum of the roles
    does. `engines`: what the actors of each engine take, where there are several."""
    join(address_of_cluster(address), sum(role.actors * role.cpus for role in planned.roles))
    try:
        return fitting(cluster, planned, engines or {"": cluster.roles.rollout})
    except ResourceError:
        disconnect()
        raise


def address_of_cluster(address: str | None) -> str | None:
    """The cluster to join: the address that was given, else RAY_ADDRESS; None to start one here."""
    return address or os.environ.get("RAY_ADDRESS") or None


def join(address: str | None, cpus: float = 1) -> None:
    """Joins the Ray cluster at `address`, or starts one of so many `cpus` on this machine. Raises ResourceError."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DISABLE_DOCKER_CPU_WARNING", "1")
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")  # idle ones serve no actor of another environment
    warnings.filterwarnings("ignore", category=FutureWarning, module="ray")
    import ray
    import ray._private.auto_init_hook
    import ray._private.ray_constants
    import ray._private.worker

    ray._private.auto_init_hook.enable_auto_connect = False  # a call after the end starts no second Ray
    ray._private.ray_constants.RAY_DISABLE_FAILURE_SIGNAL_HANDLER = True  # else SIGTERM prints a stack of C++
    ray._private.worker._worker_logs_enabled = False  # else a raylet's death prints pages of its state, as of its log

    if address:
        _check_reachable(address)
        _check_token(address)
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "namespace": "berry"}
    try:
        if address:
            with _loopback_kept():
                ray.init(address=address, **quiet)
        else:
            with without_idle_servers():
                ray.init(
                    address="local",  # else it joins whatever cluster was last started on this machine
                    num_cpus=max(math.ceil(cpus), 1),
                    include_dashboard=False,
                    object_store_memory=256 << 20,
                    **quiet,
                )
    except Exception as error:  # a raylet that is late is told by a bare Exception
        if address:
            raise _unreachable(address, error) from error
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise ResourceError(f"Ray can't be started here: {first}; a machine that is busy may take too long") from error


@contextmanager
def _loopback_kept() -> Iterator[None]:
    """An address of this machine's loopback is joined as it was given. Ray replaces it by the machine's own, at which a
    firewall, or a network that came up since the head started, may let nobody in."""
    from ray._private import services

    module: Any = services
    before = module.resolve_ip_for_localhost
    module.resolve_ip_for_localhost = lambda host: host
    try:
        yield
    finally:
        module.resolve_ip_for_localhost = before


@contextmanager
def without_idle_servers() -> Iterator[None]:
    """A head node of Ray that is started within has none of the processes that only serve a dashboard, an autoscaler or
    a driver that shows logs: the API server, for which `ray.init` waits, and two monitors. Each costs as much to start
    as an actor."""
    from ray._private.node import Node

    node: Any = Node
    idle = ("start_api_server", "start_monitor", "start_log_monitor")
    before = {name: getattr(node, name) for name in idle}
    for name in idle:
        setattr(node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, start in before.items():
            setattr(node, name, start)


def _check_reachable(address: str) -> None:
    """Raises ResourceError at once where nothing listens; Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise _unreachable(address, error) from error


def _check_token(address: str) -> None:
    """Raises ResourceError at once where the cluster's head does not accept this machine's token, or wants one: Ray
    itself tries for half a minute, and prints what its C++ says."""
    import grpc
    import ray._raylet

    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit() or address.startswith("ray://") or os.environ.get("RAY_USE_TLS") == "1":
        return
    loader: Any = ray._raylet
    headers = loader.AuthenticationTokenLoader.instance().get_token_for_http_header() if _wants_token() else {}
    told = tuple((str(name).lower(), str(value)) for name, value in headers.items())
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        ask = channel.unary_unary("/ray.rpc.NodeInfoGcsService/GetClusterId")
        try:
            ask(b"", timeout=TOKEN_CHECK_S, metadata=told)
        except grpc.RpcError as error:
            if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.UNAUTHENTICATED:
                raise unauthorised(address) from None


def _wants_token() -> bool:
    return os.environ.get("RAY_AUTH_MODE", "").lower() == "token"


def unauthorised(address: str) -> ResourceError:
    """The error of a cluster that does not accept this machine's token."""
    return ResourceError(
        f"the cluster at {address} does not accept this machine's token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to "
        "the cluster's (`ray get-auth-token` on its head prints it); where ~/.ray/auth_token has it, the mode is enough"
    )


def _unreachable(address: str, error: Exception) -> ResourceError:
    return ResourceError(
        f"the Ray cluster at {address} can't be reached: {error}; check --address (or RAY_ADDRESS), or leave it out to "
        "start one here"
    )


def raylet_started_here() -> psutil.Process | None:
    """Ray's own process on this machine, started by this one."""
    return next((child for child in psutil.Process().children() if child.name() == "raylet"), None)


def address_of_ray_here() -> str:
    """The address under which another process joins the Ray that this one is on."""
    import ray

    return ray.get_runtime_context().gcs_address


def has_ended(process: psutil.Process) -> bool:
    """Whether a child of this process has ended, waited for or not."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def disconnect() -> None:
    import ray

    ray.shutdown()
