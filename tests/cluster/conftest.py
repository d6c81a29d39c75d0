from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest
import yaml


@dataclass
class Berry:
    """The command line in its own process and session."""

    folder: Path
    launch: Callable[..., Any]
    started: list[Any] = field(default_factory=list)

    def config(self, raw: dict[str, Any], name: str = "job") -> str:
        path = self.folder / f"{name}.yaml"
        path.write_text(yaml.safe_dump(raw))
        return str(path)

    def start(self, *words: str, env: dict[str, str] | None = None) -> Any:
        marked = {**os.environ, "BERRY_TEST_RUN": str(self.folder), **(env or {})}
        process = self.launch(self.folder, *words, env=marked)
        self.started.append(process)
        return process

    def run(self, *words: str, timeout_s: float = 240) -> tuple[int, str]:
        process = self.start(*words)
        out, _ = process.communicate(timeout=timeout_s)
        return process.returncode, out

    def query(self, run: str, sql: str) -> list[tuple[Any, ...]]:
        return duckdb.sql(sql.replace("{}", f"{self.folder / run}/round=0")).fetchall()

    def figures(self, run: str) -> dict[str, Any]:
        """What the last driver of a run measured."""
        return json.loads((self.folder / run / "metrics/run.json").read_text())

    def processes(self) -> list[psutil.Process]:
        """Everything alive that descends from a driver of this test, by the mark in its environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("BERRY_TEST_RUN") == str(self.folder):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]

    def actor(self, name: str) -> psutil.Process | None:
        """The worker process of a Ray actor class."""
        for process in self.processes():
            try:
                if process.name().startswith(f"ray::{name}") or any(name in w for w in process.cmdline()[:1]):
                    return process
            except psutil.NoSuchProcess:
                continue
        return None


@pytest.fixture
def berry(tmp_path: Path, start_berry: Callable[..., Any]) -> Iterator[Berry]:
    berry = Berry(tmp_path, start_berry)
    yield berry
    for process in berry.started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    for process in berry.processes():
        process.kill()


NODE = {"num_cpus": 2, "object_store_memory": 80 << 20, "include_log_monitor": False}
HEAD = {"include_dashboard": False}
SOON = {  # a node that dies is noticed within two seconds
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
    "prestart_worker_first_driver": False,  # as where Berry starts Ray itself
}


class Nodes:
    """A Ray cluster of logical nodes on this machine, and what runs on them."""

    def __init__(self, count: int, environment: dict[str, str], node: dict[str, Any], settings: dict[str, Any]) -> None:
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        from ray.cluster_utils import Cluster

        from berry.pipeline.runtime.cluster.connect import without_idle_servers

        self._environment = environment
        self._node = NODE | node
        head = self._node | HEAD | {"_system_config": SOON | settings}
        with self.started_with(), without_idle_servers():  # as where Berry starts Ray itself
            self.cluster: Any = Cluster(initialize_head=True, head_node_args=head)
        self.others = [self.add() for _ in range(count - 1)]

    @contextmanager
    def started_with(self) -> Iterator[None]:
        """What every process of a node is started with."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self._environment.items():
                patch.setenv(name, value)
            yield

    def add(self) -> Any:
        with self.started_with():
            return self.cluster.add_node(**self._node)

    @property
    def address(self) -> str:
        return self.cluster.address

    def actors(self, name: str) -> list[psutil.Process]:
        """Worker processes of an actor class, on all nodes."""
        found = []
        for node in self.cluster.list_all_nodes():
            for raylet in node.all_processes.get("raylet", []):
                try:
                    found += psutil.Process(raylet.process.pid).children(recursive=True)
                except psutil.NoSuchProcess:
                    continue
        return [p for p in found if _is(p, name)]

    def replace(self, index: int) -> None:
        """Takes a node away, as a spot instance goes, and brings another."""
        self.take(self.others[index])
        self.others[index] = self.add()

    def take(self, node: Any) -> None:
        """Takes a node away without a word."""
        self.cluster.remove_node(node, allow_graceful=False)

    def end(self) -> None:
        import ray

        ray.shutdown()
        self.cluster.shutdown()


def _is(process: psutil.Process, name: str) -> bool:
    try:
        return process.cmdline()[0].startswith(f"ray::{name}") and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.AccessDenied, IndexError):
        return False


@pytest.fixture(scope="module")
def logical_nodes() -> Iterator[Callable[..., Nodes]]:
    """logical_nodes(3, {"NAME": "value"}, node={"num_gpus": 4}, setting=…) -> a cluster of three nodes, whose processes
    have that in their environment, each with those resources, with those settings of Ray's; it ends with the module."""
    made: list[Nodes] = []

    def make(
        count: int, environment: dict[str, str] | None = None, *, node: dict[str, Any] | None = None, **settings: Any
    ) -> Nodes:
        made.append(Nodes(count, environment or {}, node or {}, settings))
        return made[-1]

    yield make
    for nodes in made:
        nodes.end()


@pytest.fixture(scope="session")
def on_nodes() -> Callable[[int], dict[str, Any]]:
    """on_nodes(3) -> a run's `cluster`: an engine and a sandbox actor of one slot on each of three logical nodes."""
    return lambda count: {
        "name": "logical",
        "nodes": {"node": {"count": count, "cores": 2}},
        "roles": {
            "rollout": {"cpus": 1, "min": count, "max": count, "per_node": 1},
            "sandbox": {"cpus": 0.5, "slots": 1, "min": count, "max": count, "per_node": 1},
        },
        "ratio": 1,
    }


@pytest.fixture
def until() -> Callable[..., None]:
    def wait(condition: Callable[[], object], *, within_s: float = 90.0, what: str = "condition") -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < deadline, f"{what} did not come about within {within_s} s"
            time.sleep(0.1)

    return wait
