"""`berry compact`: fewer files, the same rows; killed at any point nothing is lost or doubled."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline import schema
from berry.pipeline.api.runs import Run
from berry.pipeline.errors import StorageError
from berry.pipeline.stages.dataset.maintenance import compact as compacting
from berry.pipeline.stages.dataset.maintenance import repair
from berry.pipeline.stages.dataset.maintenance.compact import compact, compact_round
from berry.pipeline.stages.dataset.text_views import connect
from berry.pipeline.stages.leases.reports import read_reports
from berry.pipeline.storage.files import Location, locate
from berry.pipeline.storage.parquet import shard_files
from berry.pipeline.storage.parquet.shard_files import ShardFile
from berry.pipeline.storage.run.directory import RunDir, open_run

STORED = Path(__file__).parents[3] / "stored"
LEASES = 4


def rows_of(run: RunDir) -> list[Any]:
    """Everything that a consumer reads of a run."""
    again = Run(run.location.url)
    texts = connect(run).execute("select trajectory_id, path, response, steps from trajectories order by 1").fetchall()
    trees = [(t.problem_id, list(t.trajectories), list(t.kept), t.model, len(t.nodes)) for t in again.trees()]
    reports = [r for index in run.rounds() for r in read_reports(run.location, index)]
    return [*texts, *trees, *reports]


@pytest.fixture
def run(stored_run: Callable[..., RunDir]) -> RunDir:
    return stored_run(count=7 * LEASES)


def test_merged_a_run_holds_the_same_in_fewer_files(run: RunDir) -> None:
    before = rows_of(run)
    done = compact(run)
    assert (done.files_before, done.files_after) == (LEASES, 1)
    assert done.bytes_after < done.bytes_before
    for table in schema.TABLES:
        assert run.location.names(f"round=0/{table}") == ["shard-000000-000003.parquet"]
    assert run.committed(0) == set(range(LEASES))
    assert rows_of(run) == before
    found = repair.check_run(run)
    assert (found.leases, found.faults, found.notes) == (LEASES, [], [])
    assert found.size_bytes == done.bytes_after
    again = compact(run)
    assert (again.files_before, again.files_after, again.bytes_after) == (1, 1, done.bytes_after)


class Killed(Exception):
    pass


class Countdown:
    """Lets a process die before the operation that comes after `left` others."""

    def __init__(self, left: int) -> None:
        self.left = left

    def dies(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(location: Location, name: str, *more: Any, **named: Any) -> Any:
            if self.left == 0:
                raise Killed
            self.left -= 1
            return operation(location, name, *more, **named)

        return guarded


@pytest.mark.slow
@pytest.mark.parametrize("after", range(15))
def test_killed_at_any_point_nothing_is_lost_or_doubled(
    run: RunDir, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """Three files are written, then twelve removed; the process dies before one of these."""
    before = rows_of(run)
    left = Countdown(after)
    with monkeypatch.context() as patch:
        patch.setattr(Location, "put", left.dies(Location.put))
        patch.setattr(Location, "remove", left.dies(Location.remove))
        with pytest.raises(Killed):
            compact_round(run.location, 0)
    assert rows_of(run) == before
    assert repair.check_run(run).faults == []
    compact_round(run.location, 0)
    assert rows_of(run) == before
    assert [len(run.location.names(f"round=0/{table}")) for table in schema.TABLES] == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run-0.1.0", "run-0.2.0.dev0"])
def test_killed_at_any_point_a_lone_file_of_an_earlier_version_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """No lease has a neighbour to be merged with; the process dies before each write and each removal in turn, of the
    first two leases: those behind them would be written alike."""
    monkeypatch.setattr(compacting, "MOST_BYTES", 1)
    stored = shutil.copytree(STORED / name, tmp_path / "stored", ignore=shutil.ignore_patterns("shard-00000[2-9].*"))
    before = rows_of(open_run(str(stored)))
    steps = 0
    while True:
        run = open_run(shutil.copytree(stored, tmp_path / str(steps)).as_posix())
        with monkeypatch.context() as patch:
            left = Countdown(steps)
            patch.setattr(Location, "put", left.dies(Location.put))
            patch.setattr(Location, "remove", left.dies(Location.remove))
            try:
                compact_round(run.location, 0)
                break
            except Killed:
                steps += 1
        assert rows_of(run) == before
        assert repair.check_run(run).faults == []
        compact(run)
        assert rows_of(run) == before
        assert repair.check_run(run).faults == []
        files = run.location.names("round=0/trajectories")
        assert files
        assert all(file.endswith(".1.parquet") for file in files)
    assert steps >= 12


DIES = """
import os, signal, sys, threading
from berry.pipeline.stages.dataset.maintenance.compact import compact_round
from berry.pipeline.storage.files import Location, locate

def merge(url, left, inside):
    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    def dies(operation):
        def guarded(*args, **named):
            nonlocal left
            left -= 1
            if left < 0 and not inside:
                kill()
            if left < 0:
                threading.Timer(0.05, kill).start()
            return operation(*args, **named)
        return guarded

    Location.put, Location.remove = dies(Location.put), dies(Location.remove)
    compact_round(locate(url), 0)

for line in sys.stdin:
    url, left, inside = line.split()
    if not (child := os.fork()):  # before anything here has opened the store
        merge(url, int(left), inside == "True")
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_point_nothing_is_lost_or_doubled_on_an_object_store(run: RunDir, s3: Any) -> None:
    """A process of its own dies by SIGKILL: before each of the three writes and the first, a middle and the last
    removal; and while the commit is on its way to a slow store, which may have it or not."""
    before = rows_of(run)
    names = ["run.yaml", "versions.json"]
    names += [f"round=0/{table}/{name}" for table in schema.TABLES for name in run.location.names(f"round=0/{table}")]
    merging = subprocess.Popen([sys.executable, "-c", DIES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert merging.stdin is not None
    assert merging.stdout is not None
    for left, inside in [(0, False), (1, False), (2, False), (2, True), (3, False), (8, False), (14, False)]:
        stored = RunDir(locate(s3.url(f"runs/{left}-{inside}")))
        for name in names:
            stored.location.put(name, run.location.get(name) or b"")
        s3.faults(delay_s=0.1 if inside else 0.0)
        print(stored.location.url, left, inside, file=merging.stdin, flush=True)
        assert int(merging.stdout.readline()) == -signal.SIGKILL
        s3.faults()
        assert rows_of(stored) == before
        assert repair.check_run(stored).faults == []
        compact_round(stored.location, 0)
        assert rows_of(stored) == before
        assert [len(stored.location.names(f"round=0/{table}")) for table in schema.TABLES] == [1, 1, 1]
    merging.stdin.close()
    assert merging.wait(20) == 0


def test_what_a_late_writer_puts_beside_a_merged_file_does_not_count(run: RunDir, tmp_path: Path) -> None:
    late = tmp_path / "late"
    shutil.copytree(run.location.root, late)
    compact(run)
    before = rows_of(run)
    for table in schema.TABLES:
        name = shard_files.shard_name(table, 1, 0)
        shutil.copy(late / shard_files.shard_name(table, 2, 0), run.location.path(name))
    assert rows_of(run) == before
    assert any("merged" in note for note in repair.check_run(run).notes)
    assert shard_files.remove_uncommitted(run.location, 0) == 3
    assert rows_of(run) == before


def test_leases_that_are_missing_are_left_out_and_join_later(run: RunDir) -> None:
    whole = rows_of(run)
    taken = {table: run.location.get(shard_files.shard_name(table, 1, 0)) for table in schema.TABLES}
    shard_files.remove(run.location, ShardFile(1, 1), 0)
    compact(run)
    assert shard_files.committed_files(run.location, 0) == [ShardFile(0, 0), ShardFile(2, 3)]
    for table, data in taken.items():
        run.location.put(shard_files.shard_name(table, 1, 0), data or b"")
    compact(run)
    assert shard_files.committed_files(run.location, 0) == [ShardFile(0, 3)]
    assert rows_of(run) == whole


def test_large_leases_stay_apart(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compacting, "MOST_BYTES", 1)
    assert compact(run).files_after == LEASES


def test_of_a_damaged_merged_file_whole_leases_are_kept(run: RunDir) -> None:
    """Distrust finds a lease by its rows: the file can be read."""
    before = {(row["problem_id"], row["leaf"]): row for row in Run(run.location.url).trajectories()}
    engines = {n.engine_id for tree in Run(run.location.url).trees() for n in tree.nodes.values() if n.engine_id}
    compact(run)
    found = repair.check_run(run, distrust=engines)
    assert len(found.damaged) == LEASES
    found.faults = [fault for fault in found.faults if fault.lease == 2]
    folder = repair.repair(run, found)
    assert folder is not None
    assert run.committed(0) == {0, 1, 3}
    assert run.location.names(f"{folder}/round=0/nodes") == ["shard-000000-000003.parquet"]
    left = {(row["problem_id"], row["leaf"]): row for row in Run(run.location.url).trajectories()}
    assert all(before[key] == row for key, row in left.items())
    assert 0 < len(left) < len(before)


def test_an_unreadable_merged_file_is_named(run: RunDir) -> None:
    compact(run)
    path = Path(run.location.path("round=0/kept/shard-000000-000003.parquet"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(StorageError, match="shard-000000-000003"):
        list(Run(run.location.url).kept())
    assert len(repair.check_run(run).damaged) == LEASES


@pytest.mark.parametrize("name", ["run-0.1.0", "run-0.2.0.dev0"])
def test_runs_of_earlier_versions_are_merged_into_todays_schema(tmp_path: Path, name: str) -> None:
    shutil.copytree(STORED / name, tmp_path / "run")
    run = open_run(str(tmp_path / "run"))
    before = rows_of(run)
    compact(run)
    assert rows_of(run) == before
    assert repair.check_run(run).faults == []
    for index in run.rounds():
        assert len(shard_files.committed_files(run.location, index)) == 1
