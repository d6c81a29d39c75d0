"""`berry check`: a whole run is whole under every policy; damage of each kind is found, and repair makes it again."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from berry.pipeline import schema
from berry.pipeline.config import run as run_config
from berry.pipeline.stages.dataset.maintenance import repair
from berry.pipeline.stages.dataset.maintenance.integrity import check_lease
from berry.pipeline.storage.parquet import shard_files, shards
from berry.pipeline.storage.parquet.checked_read import FaultKind
from berry.pipeline.storage.run.directory import RunDir, open_run

SYNTHETIC: dict[str, Any] = {
    "problems": [{"type": "synthetic", "count": 12, "seed": 3}],
    "engine": {"type": "synthetic"},
    "rollout": {
        "policy": {"type": "fixed", "branching": [3, 2]},
        "step": {"type": "delimiter", "delimiters": ["\n"]},
    },
    "storage": {"lease_problems": 3, "compact": False},
}


Make = Callable[[Path, dict[str, Any]], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_run: Make) -> Path:
    """A run of four leases."""
    return make_run(tmp_path_factory.mktemp("made"), SYNTHETIC)


@pytest.fixture
def run(made: Path, tmp_path: Path) -> RunDir:
    shutil.copytree(made, tmp_path / "run")
    return open_run(str(tmp_path / "run"))


def path_of(run: RunDir, table: str, lease: int = 1) -> Path:
    return Path(run.location.path(shard_files.shard_name(table, lease, 0)))


def rewrite(run: RunDir, table: str, change: Callable[[list[dict[str, Any]]], None]) -> None:
    """Rows changed by somebody who writes proper Parquet, with the commit's digests made to match."""
    path = path_of(run, table)
    stored = pq.read_table(path)
    rows = stored.to_pylist()
    change(rows)
    marks = {k.decode().removeprefix("berry."): v.decode() for k, v in (stored.schema.metadata or {}).items()}
    data = shards.encode(rows, schema.TABLES[table], marks)
    path.write_bytes(data)
    if table != schema.COMMIT:
        commit = path_of(run, schema.COMMIT)
        stored = pq.read_table(commit)
        marks = {k.decode(): v.decode() for k, v in (stored.schema.metadata or {}).items()}
        digests = json.loads(marks["berry.digests"]) | {table: shards.digest(data)}
        marks["berry.digests"] = json.dumps(digests)
        pq.write_table(stored.replace_schema_metadata(marks), commit, write_page_checksum=True)


def test_a_run_as_it_was_written_is_whole(run: RunDir) -> None:
    found = repair.check_run(run)
    assert found.faults == []
    assert found.notes == []
    assert found.leases == 4
    assert found.rows["trajectories"] == 72
    assert repair.repair(run, found) is None


@pytest.mark.parametrize(
    "policy",
    [
        {"type": "best_of_n", "n": 4},
        {"type": "entropy", "chains": 3, "forks": 2, "rounds": 1, "branches": 2},
        {"type": "mcts"},
        {"type": "shepherd"},
        {"type": "omega"},
    ],
    ids=lambda p: p["type"],
)
def test_every_kind_of_tree_is_whole(tmp_path: Path, make_run: Make, policy: dict[str, Any]) -> None:
    engine = {"type": "synthetic", "empty_rate": 0.1, "endless_rate": 0.05}
    rollout = SYNTHETIC["rollout"] | {"policy": policy, "sampling": {"max_tokens": 120, "top_logprobs": 3}}
    changes = {"engine": engine, "rollout": rollout, "problems": [{"type": "synthetic", "count": 6, "seed": 4}]}
    place = make_run(tmp_path, SYNTHETIC | changes)
    assert repair.check_run(open_run(str(place))).faults == []


@pytest.mark.parametrize("table", list(schema.TABLES))
def test_no_flipped_bit_in_a_file_changes_what_is_read_unseen(run: RunDir, table: str) -> None:
    """A bit of every file, all over it: either found, or without any effect on rows or marks."""
    path = path_of(run, table)
    whole, before = path.read_bytes(), pq.read_table(path)
    chance, configs = random.Random(table), run_config.digests_of(run.config() or {})
    for offset in range(0, len(whole), max(1, len(whole) // 24)):
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        if not check_lease(run.location, 1, 0, configs=configs, problems=None).faults:
            now = pq.read_table(path)
            assert now.equals(before), f"byte {offset} of {len(whole)}"
            assert table == schema.COMMIT, "the commit names the others' digests: any change is seen"


def cut_short(run: RunDir) -> None:
    data = path_of(run, "nodes").read_bytes()
    path_of(run, "nodes").write_bytes(data[: len(data) // 2])


def lose_a_file(run: RunDir) -> None:
    path_of(run, "kept").unlink()


def swap_two_leases(run: RunDir) -> None:
    path_of(run, "nodes", 1).write_bytes(path_of(run, "nodes", 2).read_bytes())


def another_column(run: RunDir) -> None:
    table = pq.read_table(path_of(run, "kept"))
    pq.write_table(table.append_column("more", pa.array([1] * table.num_rows)), path_of(run, "kept"))


def flip_in_a_page(run: RunDir) -> None:
    path = path_of(run, "trajectories")
    column = pq.read_metadata(path).row_group(0).column(4)
    assert column.path_in_schema == "response"
    data = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    data[start + column.total_compressed_size - 2] ^= 4
    path.write_bytes(data)


def drop_a_node(run: RunDir) -> None:
    def drop(rows: list[dict[str, Any]]) -> None:
        del rows[-1]

    rewrite(run, "nodes", drop)


def repeat_a_trajectory(run: RunDir) -> None:
    rewrite(run, "trajectories", lambda rows: rows.append(rows[0]))


def lose_a_problem(run: RunDir) -> None:
    def drop(rows: list[dict[str, Any]]) -> None:
        rows[:] = [r for r in rows if r["problem_id"] != rows[0]["problem_id"]]

    for table in schema.TABLES:
        rewrite(run, table, drop)


def change_a_kept_token(run: RunDir) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[0]["token_ids"][0] += 1

    rewrite(run, "kept", change)


def unmark_a_kept_one(run: RunDir) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        next(r for r in rows if r["kept"])["kept"] = False

    rewrite(run, "trajectories", change)


def shorten_a_trajectory(run: RunDir) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[0]["n_tokens"] -= 1

    rewrite(run, "trajectories", change)


@pytest.mark.parametrize(
    ("damage", "kind", "says"),
    [
        (cut_short, FaultKind.UNREADABLE, "nodes"),
        (lose_a_file, FaultKind.MISSING, "though the lease is committed"),
        (swap_two_leases, FaultKind.MARKS, "says lease '2'"),
        (another_column, FaultKind.SCHEMA, "the column more is unknown"),
        (flip_in_a_page, FaultKind.CHECKSUM, "CRC"),
        (drop_a_node, FaultKind.IDS, "is not there"),
        (repeat_a_trajectory, FaultKind.IDS, "is there 2 times"),
        (lose_a_problem, FaultKind.IDS, "was handed out and is not there"),
        (change_a_kept_token, FaultKind.COUNTS, "other tokens than the nodes"),
        (unmark_a_kept_one, FaultKind.COUNTS, "is kept False with the drop reason None"),
        (shorten_a_trajectory, FaultKind.COUNTS, "its nodes hold"),
    ],
    ids=lambda v: getattr(v, "__name__", None),
)
def test_damage_is_found_and_named(run: RunDir, damage: Callable[[RunDir], None], kind: FaultKind, says: str) -> None:
    damage(run)
    found = repair.check_run(run)
    assert found.damaged == [(0, 1)]
    assert any(f.kind is kind and says in f.detail for f in found.faults), found.faults


def test_what_was_damaged_is_taken_out_and_made_again_as_it_was(
    run: RunDir, made: Path, tmp_path: Path, make_run: Make
) -> None:
    flip_in_a_page(run)
    path_of(run, "kept", 3).unlink()
    found = repair.check_run(run)
    assert found.damaged == [(0, 1), (0, 3)]
    assert repair.repair(run, found) == "damaged/000"
    assert run.committed(0) == {0, 2}
    assert repair.check_run(run).faults == []
    assert (tmp_path / "run/damaged/000/round=0/trajectories/shard-000001.parquet").is_file()
    make_run(tmp_path, SYNTHETIC)  # resumed
    assert repair.check_run(run).faults == []
    for table in schema.TABLES:
        for lease in range(4):
            name = shard_files.shard_name(table, lease, 0)
            drop = [c for c in ("verify_ms",) if c in schema.TABLES[table].names]
            again, first = (pq.read_table(place / name).drop_columns(drop) for place in (tmp_path / "run", made))
            assert again.equals(first), name


def test_what_a_distrusted_engine_made_is_a_fault(run: RunDir) -> None:
    found = repair.check_run(run, distrust=["local-0"])
    assert found.damaged == [(0, lease) for lease in range(4)]
    assert {f.kind for f in found.faults} == {FaultKind.DISTRUSTED}
    assert repair.check_run(run, distrust=["rollout-7"]).faults == []


def test_problems_that_are_edited_or_gone_are_a_note_and_no_fault(tmp_path: Path, make_run: Make) -> None:
    problems = tmp_path / "p.jsonl"
    row = {"prompt": "Start with 4. Then add 5. What is the result?", "verifier": {"type": "math", "answer": "9"}}
    problems.write_text("".join(json.dumps({"id": f"p{i}", **row}) + "\n" for i in range(3)))
    place = make_run(tmp_path, SYNTHETIC | {"problems": [{"type": "file", "path": str(problems)}]})
    problems.write_text(json.dumps({"id": "other", **row}))
    found = repair.check_run(open_run(str(place)))
    assert found.faults == []
    assert "hold other problems than the run was made of (3 then, 1 now, or other ids)" in found.notes[0]
    problems.unlink()
    found = repair.check_run(open_run(str(place)))
    assert found.faults == []
    assert "p.jsonl" in found.notes[0]
