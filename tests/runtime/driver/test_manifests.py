"""A driver that goes on with a run reads what was reported from manifests, and ends with the totals of one that was
never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.runtime.driver import background
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.driver.run import run
from berry.pipeline.stages.dataset.maintenance.repair import check_run, repair
from berry.pipeline.stages.leases.reports import ManifestWriter, read_reports
from berry.pipeline.storage.parquet import shard_files
from berry.pipeline.storage.run.directory import open_run

pytestmark = pytest.mark.slow


def test_after_a_repair_and_a_loss_totals_are_those_of_a_whole_run(
    tmp_path: Path, job: Any, quiet: Any, rows: Any, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ManifestWriter, "FEWEST", 1)
    monkeypatch.setattr(background, "MANIFEST_S", 0.05)
    place = str(tmp_path / "run")
    config = job(storage={"compact": False})
    whole = run(config, Launch(place, local=True), quiet).totals
    folder = tmp_path / "run/round=0/manifests"
    assert list(folder.iterdir())
    opened = open_run(place)
    damaged = tmp_path / "run" / shard_files.shard_name("nodes", 2, 0)
    damaged.write_bytes(damaged.read_bytes()[:-20])
    repair(opened, check_run(opened))
    assert list(folder.iterdir()) == [], "what it says of the lease that is made again is past"
    again = run(config, Launch(place, local=True), quiet)
    assert (again.resumed_leases, again.finished) == (5, True)
    for name in ("leases", "problems", "solved", "trajectories", "kept", "drops"):
        assert getattr(again.totals, name) == getattr(whole, name), name
    assert rows(place) == undisturbed
    assert sorted(report.lease for report in read_reports(opened.location, 0)) == list(range(6))
    for name in folder.iterdir():
        name.write_bytes(name.read_bytes()[:9])
    quiet.notes.clear()
    assert run(config, Launch(place, local=True), quiet).totals.kept == whole.kept
    assert any("manifests/" in note and "can't be read" in note for note in quiet.notes)
