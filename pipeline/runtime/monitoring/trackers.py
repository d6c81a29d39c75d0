"""Sends a run's figures and examples to experiment trackers: TensorBoard, MLflow, Weights & Biases, Trackio.

    open_tracker(section, run) ─► Tracker ─► figures (name ─► number, at a second of the run) ─► examples ─► close

Each package is imported when its tracker opens; `preflight` says before a run starts which is missing.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Protocol

from berry.pipeline.config.sections.tracking import (
    MlflowTracker,
    TensorBoardTracker,
    Tracking,
    TrackioTracker,
    WandbTracker,
)
from berry.pipeline.errors import ConfigError
from berry.pipeline.storage.files import Location

Example = Mapping[str, str | float | None]


class Tracker(Protocol):
    """Where a run's figures go. A step is a second since the driver began."""

    def figures(self, values: Mapping[str, float], step: int) -> None: ...
    def examples(self, rows: Sequence[Example]) -> None: ...
    def close(self, *, finished: bool) -> None: ...


def preflight(trackers: Sequence[Tracking], location: Location) -> None:
    """Raises ConfigError for a tracker whose package is not installed, or that has no local folder to write to."""
    for at, tracker in enumerate(trackers):
        if importlib.util.find_spec(tracker.type) is None:
            raise ConfigError(
                f"tracking.{at}: the package {tracker.type} is not installed: pip install 'berry-pipeline"
                "[tracking]', or leave the tracker out"
            )
        if isinstance(tracker, TensorBoardTracker) and tracker.folder is None and not location.is_local:
            raise ConfigError(f"tracking.{at}.folder: the run is at {location.show()}: name a local folder")


def open_tracker(tracker: Tracking, location: Location, *, name: str, config: Mapping[str, Any]) -> Tracker:
    """Opens a tracker for one driver of the run `name`; `config` is shown with it."""
    match tracker:
        case TensorBoardTracker():
            return _TensorBoard(Path(tracker.folder or location.path("tracking/tensorboard")), name)
        case MlflowTracker():
            return _Mlflow(tracker, name, config)
        case WandbTracker():
            folder = Path(location.path("tracking")) if location.is_local else None
            return _Wandb(tracker, folder, name, config)
        case TrackioTracker():
            return _Trackio(tracker, name, config)


class _TensorBoard:
    def __init__(self, folder: Path, name: str) -> None:
        self._events = importlib.import_module("tensorboard.compat.proto.event_pb2")
        self._summaries = importlib.import_module("tensorboard.compat.proto.summary_pb2")
        writer = importlib.import_module("tensorboard.summary.writer.event_file_writer").EventFileWriter
        self._writer = writer(str(folder / f"{name}-{time.strftime('%Y%m%dT%H%M%S')}"))
        self._step = 0

    def figures(self, values: Mapping[str, float], step: int) -> None:
        one = self._summaries.Summary.Value
        self._add(self._summaries.Summary(value=[one(tag=k, simple_value=v) for k, v in values.items()]), step)
        self._step = step

    def examples(self, rows: Sequence[Example]) -> None:
        text_pb = importlib.import_module("tensorboard.plugins.text.summary_v2").text_pb
        for number, row in enumerate(rows):
            text = "\n\n".join(f"**{key}**\n\n{value}" for key, value in row.items())
            self._add(text_pb(f"kept/{number}", text), self._step)

    def _add(self, summary: Any, step: int) -> None:
        self._writer.add_event(self._events.Event(wall_time=time.time(), step=step, summary=summary))

    def close(self, *, finished: bool) -> None:  # noqa: ARG002 - event files have no end
        self._writer.close()


class _Mlflow:
    def __init__(self, tracker: MlflowTracker, name: str, config: Mapping[str, Any]) -> None:
        self._client = importlib.import_module("mlflow").MlflowClient(tracking_uri=tracker.uri)
        known = self._client.get_experiment_by_name(tracker.experiment)
        experiment = self._client.create_experiment(tracker.experiment) if known is None else known.experiment_id
        self._run = self._client.create_run(experiment, run_name=name).info.run_id
        self._client.log_text(self._run, json.dumps(config, indent=2), "config.json")

    def figures(self, values: Mapping[str, float], step: int) -> None:
        metric = importlib.import_module("mlflow.entities").Metric
        now_ms = int(time.time() * 1000)
        self._client.log_batch(self._run, metrics=[metric(k, v, now_ms, step) for k, v in values.items()])

    def examples(self, rows: Sequence[Example]) -> None:
        self._client.log_text(self._run, json.dumps({"columns": list(rows[0]), "data": _cells(rows)}), "kept.json")

    def close(self, *, finished: bool) -> None:
        self._client.set_terminated(self._run, status="FINISHED" if finished else "KILLED")


class _Wandb:
    def __init__(self, tracker: WandbTracker, folder: Path | None, name: str, config: Mapping[str, Any]) -> None:
        self._wandb = importlib.import_module("wandb")
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._run = self._wandb.init(
            project=tracker.project,
            entity=tracker.entity,
            name=name,
            mode=tracker.mode,
            dir=None if folder is None else str(folder),
            config=dict(config),
            settings=self._wandb.Settings(silent=True, console="off"),
        )

    def figures(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def examples(self, rows: Sequence[Example]) -> None:
        self._run.log({"kept": self._wandb.Table(columns=list(rows[0]), data=_cells(rows))})

    def close(self, *, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


class _Trackio:
    def __init__(self, tracker: TrackioTracker, name: str, config: Mapping[str, Any]) -> None:
        self._trackio = importlib.import_module("trackio")
        with redirect_stdout(io.StringIO()):  # it tells the terminal how to show it, where the run's progress is
            self._run = self._trackio.init(
                project=tracker.project,
                name=f"{name}-{time.strftime('%Y%m%dT%H%M%S')}",
                space_id=tracker.space_id,
                config=dict(config),
                embed=False,
                auto_log_cpu=False,
                auto_log_gpu=False,
            )

    def figures(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    def examples(self, rows: Sequence[Example]) -> None:
        for number, row in enumerate(rows):
            self._run.log({f"kept/{key}": value for key, value in row.items()}, step=number)

    def close(self, *, finished: bool) -> None:  # noqa: ARG002 - Trackio keeps no outcome
        with redirect_stdout(io.StringIO()):
            self._run.finish()


def _cells(rows: Sequence[Example]) -> list[list[str | float | None]]:
    return [list(row.values()) for row in rows]
