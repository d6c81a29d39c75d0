"""A run reports to experiment trackers; each is asked what it holds by its own reader, without a network."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.errors import ConfigError
from berry.pipeline.runtime.monitoring.tracking import numbers
from berry.pipeline.storage.run.directory import open_run

MakeRun = Callable[[Path, dict[str, Any]], Path]
RUN: dict[str, Any] = {
    "name": "tracked",
    "problems": [{"type": "synthetic", "count": 12, "seed": 3}],
    "engine": {"type": "synthetic"},
    "rollout": {"policy": {"type": "best_of_n", "n": 4}, "step": {"type": "delimiter", "delimiters": ["\n\n"]}},
}


def needs(package: str) -> Any:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed (pip install 'berry-pipeline[tracking]')")
    return importlib.import_module(package)


def kept_of(place: Path) -> int:
    figures = open_run(str(place)).metrics("run")
    assert figures is not None
    return int(figures["ledger"]["kept"])


@pytest.mark.slow
def test_tensorboard_has_the_figures_and_the_kept_examples(make_run: MakeRun, tmp_path: Path) -> None:
    needs("tensorboard")
    reader = importlib.import_module("tensorboard.backend.event_processing.event_accumulator").EventAccumulator
    place = make_run(tmp_path, {**RUN, "tracking": [{"type": "tensorboard", "examples": 3}]})
    (folder,) = (place / "tracking" / "tensorboard").iterdir()
    events = reader(str(folder))
    events.Reload()
    tags = events.Tags()
    assert {"problems", "kept", "run/ledger.kept"} <= set(tags["scalars"])
    assert events.Scalars("problems")[-1].value == 12
    assert events.Scalars("run/ledger.kept")[-1].value == kept_of(place)
    assert {f"kept/{n}/text_summary" for n in range(3)} <= {
        *tags["tensors"],
        *(f"{t}/text_summary" for t in tags["tensors"]),
    }


@pytest.mark.slow
def test_mlflow_has_the_figures_the_configuration_and_the_kept_examples(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # which MLflow 3 wants to be told
    mlflow = needs("mlflow")
    uri = (tmp_path / "mlruns").as_uri()
    place = make_run(tmp_path, {**RUN, "tracking": [{"type": "mlflow", "uri": uri, "experiment": "here"}]})
    client = mlflow.MlflowClient(tracking_uri=uri)
    (found,) = client.search_runs([client.get_experiment_by_name("here").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.metrics["problems"] == 12
    assert found.data.metrics["run/ledger.kept"] == kept_of(place)
    kept = json.loads(Path(client.download_artifacts(found.info.run_id, "kept.json")).read_text())
    assert 0 < len(kept["data"]) <= 12
    assert kept["columns"][:3] == ["problem", "prompt", "response"]


@pytest.mark.slow
def test_wandb_writes_its_files_offline(make_run: MakeRun, tmp_path: Path, until: Callable[..., Any]) -> None:
    needs("wandb")
    place = make_run(tmp_path, {**RUN, "tracking": [{"type": "wandb", "mode": "offline"}]})
    (written,) = (place / "tracking" / "wandb").glob("offline-run-*/run-*.wandb")
    until(lambda: b"run/ledger.kept" in written.read_bytes())  # its own process ends its writing


@pytest.mark.slow
def test_trackio_has_the_figures_on_this_machine(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # which Trackio reads when it is imported
    trackio = needs("trackio")
    make_run(tmp_path, {**RUN, "tracking": [{"type": "trackio", "project": "here"}]})
    (run,) = trackio.Api().runs("here")
    assert run.name.startswith("tracked-")
    (file,) = (tmp_path / "trackio").glob("*.db")
    logged = [json.loads(row) for (row,) in sqlite3.connect(file).execute("select metrics from metrics").fetchall()]
    assert {"problems", "run/ledger.kept", "kept/response"} <= {name for row in logged for name in row}


def test_a_tracker_that_is_not_there_is_told_before_the_run_begins(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"tracking\.0: the package wandb is not installed: pip install"):
        make_run(tmp_path, {**RUN, "tracking": [{"type": "wandb"}]})
    assert not (tmp_path / "run").exists()


def test_a_second_tracker_of_one_type_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    twice = [{"type": "wandb", "project": "a"}, {"type": "trackio"}, {"type": "wandb", "project": "b"}]
    with pytest.raises(ConfigError, match=r"tracking\.2 is a second tracker of type wandb"):
        make_run(tmp_path, {**RUN, "tracking": twice})


def test_figures_are_the_numbers_among_what_a_run_measures() -> None:
    told = {"wall_s": 2, "cache_hit": None, "is": True, "ledger": {"kept": 3, "extra": {"a": 1.5}}, "name": "x"}
    assert numbers(told) == {"wall_s": 2.0, "ledger.kept": 3.0, "ledger.extra.a": 1.5}
