"""Trains in several processes at once, through Ray Train: each takes a GPU where the cluster has some, else a core; or
what `cluster.roles.train` says, beside a round that generates.

    train_together(train, job) ─► TorchTrainer ─► a worker for each process ─► train(job): its share of every step
              ▲                                                                    │
              └──────────── progress.json, result.json in the folder `work` ◄──────┘ written by the first worker

`train` finds its process group begun (rewards/training/processes.py). A worker that is lost takes the others with it:
all are started again, and go on from the last whole checkpoint in `work`.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray

from berry.pipeline import errors
from berry.pipeline.config.sections.cluster import TrainRole
from berry.pipeline.errors import BerryError, ConfigError, EngineError, ResourceError, first_error
from berry.pipeline.runtime.cluster import connect

PROGRESS, RESULT, RAY_FOLDER = "progress.json", "result.json", "ray"
MOST_LOSSES = 5  # of workers, each of which begins anew from the last checkpoint
POLL_S = 0.5

Tell = Callable[[float, str], None]
Train = Callable[[Any, Tell], dict[str, Any]]


def train_together(
    train: Train,
    job: Any,
    *,
    work: Path,
    processes: int,
    key: str,
    address: str | None,
    shared: bool,
    progress: Tell,
    takes: TrainRole | None = None,
) -> dict[str, Any]:
    """Calls `train(job, tell)` in so many processes and returns what the first one has returned, as JSON knows it.

    `train`: a function of a module. `key`: of the configuration, that says how many. `address`: of a Ray cluster (None:
    one is started here). `shared`: whether other nodes see `work` under the same path; the workers stay on this one
    otherwise. `takes`: resources of a process that trains beside actors, and where. Raises what `train` raised,
    ConfigError where Ray Train is not installed, ResourceError where the cluster has too little, EngineError where
    workers are lost again and again.
    """
    _check_installed(key)
    connect.join(connect.address_of_cluster(address), processes)
    try:
        resources = _resources(takes, on_gpus=takes is None and _check_room(processes, key))
        if not shared:
            resources[f"node:{ray.util.get_node_ip_address()}"] = 0.001
        for name in (PROGRESS, RESULT):
            (work / name).unlink(missing_ok=True)
        shutil.rmtree(work / RAY_FOLDER, ignore_errors=True)
        work.mkdir(parents=True, exist_ok=True)
        ended = threading.Event()
        teller = threading.Thread(target=_tell_progress, args=(work / PROGRESS, progress, ended), daemon=True)
        teller.start()
        try:
            _fit(train, job, work=work, processes=processes, resources=resources, takes=takes)
        finally:
            ended.set()
            teller.join()
    finally:
        connect.disconnect()
    found = json.loads((work / RESULT).read_text())
    if "error" in found:
        raise getattr(errors, found["kind"], BerryError)(found["error"])
    return found["result"]


def _check_installed(key: str) -> None:
    try:
        import ray.train  # noqa: F401 - it asks for packages of its own
    except ImportError as error:
        raise ConfigError(
            f"{key}: what trains in several processes, or beside a round, needs Ray Train: pip install "
            "'berry-pipeline[train]'"
        ) from error


def _check_room(processes: int, key: str) -> bool:
    """Whether each process gets a GPU. Raises ResourceError where the cluster has fewer GPUs, or cores, than that."""
    has = ray.cluster_resources()
    gpus = has.get("GPU", 0) >= 1
    kind, there = ("GPU", has.get("GPU", 0)) if gpus else ("core", has.get("CPU", 0))
    if there < processes:
        raise ResourceError(
            f"{key} = {processes}: each process takes a {kind}, and the Ray cluster has {there:g}: lower it, or join "
            "more nodes"
        )
    return gpus


def _resources(takes: TrainRole | None, *, on_gpus: bool) -> dict[str, float]:
    """What each process takes of Ray's resources: with a GPU no core, unless a role says so."""
    if takes is None:
        return {"GPU": 1, "CPU": 0} if on_gpus else {"CPU": 1}
    return {"CPU": takes.cpus} | ({"GPU": takes.gpus} if takes.gpus else {})


def _environment(takes: TrainRole | None) -> dict[str, str]:
    """Of a process that trains on cores beside actors: it leaves their GPUs and their cores alone."""
    if takes is None or takes.gpus:
        return {}
    threads = {"OMP_NUM_THREADS": str(max(1, round(takes.cpus))), "OMP_WAIT_POLICY": "PASSIVE"}
    return {"CUDA_VISIBLE_DEVICES": "", **threads}


def _fit(
    train: Train, job: Any, *, work: Path, processes: int, resources: dict[str, float], takes: TrainRole | None
) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.exceptions import TrainingFailedError

    logging.getLogger("ray.train").setLevel(logging.ERROR)
    environment = _environment(takes)
    trainer = TorchTrainer(
        _worker,
        train_loop_config={"train": train, "job": job, "work": str(work)},
        scaling_config=ScalingConfig(
            num_workers=processes,
            use_gpu=resources.get("GPU", 0) > 0,
            resources_per_worker=resources,
            label_selector=(dict(takes.labels) if takes is not None else None) or None,
        ),
        run_config=RunConfig(
            worker_runtime_env={"env_vars": environment} if environment else None,
            name="training",
            storage_path=str(work / RAY_FOLDER),
            failure_config=FailureConfig(max_failures=MOST_LOSSES),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        if (work / RESULT).is_file():  # what the workers themselves have refused
            return
        failures = getattr(error, "worker_failures", None) or {}
        why = next(iter(str(next(iter(failures.values()), error)).strip().splitlines()[-1:]), type(error).__name__)
        raise EngineError(
            f"training in {processes} processes was given up after {MOST_LOSSES} losses ({why}); run again to go on "
            "from its last checkpoint"
        ) from error


def _tell_progress(path: Path, progress: Tell, ended: threading.Event) -> None:
    told: Any = None
    while not ended.wait(POLL_S):
        with suppress(OSError, ValueError):
            now = json.loads(path.read_text())
            if now != told:
                told = now
                progress(now["share"], now["text"])


# ---- inside a worker ------------------------------------------------------------------------------------------------


def _worker(given: dict[str, Any]) -> None:
    from ray.train import get_context

    work = Path(given["work"])
    if (work / RESULT).is_file():  # an error that another worker has met, and all would meet again
        return
    is_first = get_context().get_world_rank() == 0

    def tell(share: float, text: str) -> None:
        if is_first:
            _write(work / PROGRESS, {"share": share, "text": text})

    try:
        result = given["train"](given["job"], tell)
    except (BerryError, BaseExceptionGroup) as error:
        known = first_error(error) if isinstance(error, BaseExceptionGroup) else error
        _write(work / RESULT, {"error": str(known), "kind": type(known).__name__})
        raise
    if is_first:
        _write(work / RESULT, {"result": result})


def _write(path: Path, values: dict[str, Any]) -> None:
    aside = path.with_suffix(".writing")
    aside.write_text(json.dumps(values))
    aside.replace(path)
