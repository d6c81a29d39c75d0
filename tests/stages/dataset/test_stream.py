"""`berry.Run.stream` and `berry tail`: what is kept, as it is committed, each once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from berry.pipeline import schema
from berry.pipeline.api.runs import Run
from berry.pipeline.cli import app
from berry.pipeline.errors import InputError
from berry.pipeline.stages.dataset.maintenance.compact import compact
from berry.pipeline.stages.dataset.stream import KeptStream, StreamCursor
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.parquet.shard_files import shard_name
from berry.pipeline.storage.run.directory import RunDir, open_run
from berry.pipeline.storage.run.weights_file import RunWeights, write_weights

LEASES = 3


@pytest.fixture
def whole(stored_run: Callable[..., RunDir]) -> RunDir:
    return stored_run(count=7 * LEASES)


def kept_ids(run: RunDir) -> list[str]:
    return [row["trajectory_id"] for row in Run(run.location.url).kept()]


def take(stream: KeptStream, count: int) -> list[str]:
    return [next(stream)["trajectory_id"] for _ in range(count)]


def copy_lease(source: RunDir, target: RunDir, lease: int) -> None:
    for table in schema.TABLES:
        name = shard_name(table, lease, 0)
        target.location.put(name, source.location.get(name) or b"")


@pytest.fixture(params=["local", "s3"])
def growing(request: pytest.FixtureRequest, whole: RunDir, tmp_path: Path) -> RunDir:
    """A run in progress: no lease is committed yet."""
    place = str(tmp_path / "growing") if request.param == "local" else request.getfixturevalue("s3").url("runs/a")
    run = RunDir(locate(place))
    for name in ("run.yaml", "versions.json"):
        run.location.put(name, whole.location.get(name) or b"")
    return run


@pytest.mark.slow
def test_a_run_in_progress_is_followed_to_its_end_while_its_files_are_merged(growing: RunDir, whole: RunDir) -> None:
    expected = kept_ids(whole)
    assert len(expected) > LEASES
    to_come = [2, 0, 1]  # leases end out of order

    def wait(_: float) -> None:
        copy_lease(whole, growing, to_come.pop(0))
        if not to_come:
            compact(growing)

    stream = KeptStream(growing, wait=wait)
    rows = list(stream)
    ids = [row["trajectory_id"] for row in rows]
    assert ids != expected, "they come as they are committed"
    assert sorted(ids) == sorted(expected)
    assert all(row["steps"] and row["round"] == 0 for row in rows)
    assert list(KeptStream(growing, cursor=stream.cursor)) == []


def test_from_its_cursor_a_stream_goes_on_with_the_next_row_whatever_was_merged(whole: RunDir) -> None:
    expected = kept_ids(whole)
    found: list[str] = []
    cursor = None
    while len(found) < len(expected):  # a trainer that dies after every second row
        stream = KeptStream(whole, cursor=cursor, follow=False)
        found += take(stream, min(2, len(expected) - len(found)))
        cursor = stream.cursor
        if len(found) == 4:
            compact(whole)
    assert found == expected
    assert next(KeptStream(whole, cursor=cursor, follow=False), None) is None


def test_what_is_there_is_read_without_waiting(growing: RunDir, whole: RunDir) -> None:
    copy_lease(whole, growing, 1)
    rows = list(KeptStream(growing, follow=False))
    assert {row["lease"] for row in rows} == {1}


def test_rounds_behind_the_weights_that_serve_are_left_out(whole: RunDir) -> None:
    write_weights(whole.location, RunWeights(round_index=2))
    assert list(KeptStream(whole, follow=False, max_age=1)) == []
    assert len(list(KeptStream(whole, follow=False, max_age=2))) == len(kept_ids(whole))


def test_a_cursor_is_short_and_comes_back() -> None:
    cursor = StreamCursor({0: {*range(100_000), 100_003}, 2: set()}, (1, 7, 3))
    assert len(cursor.dump()) < 100
    assert StreamCursor.load(cursor.dump()) == cursor


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"done": {"0": 3}, "partly": null}'])
def test_a_text_that_is_no_cursor_is_refused(whole: RunDir, text: str) -> None:
    with pytest.raises(InputError, match="is none that a stream has given"):
        KeptStream(whole, cursor=text)


def tail(*words: str) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["tail", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.output.splitlines()]


def test_tail_prints_each_row_once(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parents[2] / "stored" / "run-0.2.0.dev0", tmp_path / "run")
    run, seen = str(tmp_path / "run"), str(tmp_path / "seen.json")
    expected = kept_ids(open_run(run))
    rows = tail(run, "--no-follow", "--cursor", seen, "--columns", "trajectory_id, steps")
    assert [row["trajectory_id"] for row in rows] == expected
    assert all(set(row) == {"trajectory_id", "steps"} for row in rows)
    assert tail(run, "--no-follow", "--cursor", seen) == []
    with pytest.raises(InputError, match="have no nothing"):
        tail(run, "--no-follow", "--columns", "nothing")


def test_tail_names_a_file_that_holds_no_cursor(whole: RunDir, tmp_path: Path) -> None:
    seen = tmp_path / "seen.json"
    seen.write_text('{"done')
    with pytest.raises(InputError, match=f"--cursor {seen}: the cursor '{{\"done' is none"):
        CliRunner().invoke(
            app, ["tail", whole.location.show(), "--no-follow", "--cursor", str(seen)], catch_exceptions=False
        )
