from __future__ import annotations

import json
import signal
import subprocess
import sys
import tracemalloc
from array import array
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from berry.pipeline.core.values.intervals import wilson
from berry.pipeline.errors import InputError
from berry.pipeline.stages.dataset.reading import read_trees
from berry.pipeline.stages.export.base import Filters, Layout
from berry.pipeline.stages.export.export import MANIFEST, ExportRequest, export
from berry.pipeline.stages.export.registry import export_format, formats
from berry.pipeline.stages.export.writer import Writer

ALL = [(name, trainer) for name in formats() for trainer in export_format(name).layouts]


def rows(folder: Path, split: str = "train") -> list[dict]:
    return pq.read_table(folder / f"{split}.parquet").to_pylist()


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_what_is_written_in_several_batches_is_all_there(stored_run, tmp_path, monkeypatch, kind) -> None:
    monkeypatch.setattr("berry.pipeline.stages.export.writer.BATCH_ROWS", 5)
    done = export(stored_run(count=8), ExportRequest("sft", heldout_share=0.0, kind=kind), str(tmp_path / "out"))
    path = tmp_path / "out" / f"train.{kind}"
    found = rows(tmp_path / "out") if kind == "parquet" else [json.loads(line) for line in path.open()]
    assert len(found) == done.rows["train"] > 20


@pytest.mark.parametrize(("name", "trainer"), ALL)
def test_every_layout_is_written_and_read_back(stored_run, tmp_path, name, trainer) -> None:
    run = stored_run(count=8)
    target = tmp_path / "out"
    done = export(run, ExportRequest(name, trainer, heldout_share=0.0), str(target))
    made = rows(target)
    assert len(made) == done.rows["train"] > 0
    assert set(made[0]) == set(export_format(name).layouts[trainer].schema.names)
    manifest = json.loads((target / MANIFEST).read_text())
    assert manifest["synthetic"] is True
    assert manifest["rows"] == done.rows


def test_held_out_rows_are_of_other_problems(stored_run, tmp_path) -> None:
    run = stored_run(count=20)
    export(run, ExportRequest("orm", heldout_share=0.4), str(tmp_path / "out"))
    train = {r["problem_id"] for r in rows(tmp_path / "out")}
    held = {r["problem_id"] for r in rows(tmp_path / "out", "heldout")}
    assert train
    assert held
    assert not train & held


def test_process_labels_join_to_the_response_and_say_where_it_goes_wrong(stored_run, tmp_path) -> None:
    run = stored_run(count=8)
    export(run, ExportRequest("prm", heldout_share=0.0), str(tmp_path / "out"))
    responses = {t["trajectory_id"]: t for tree in read_trees(run) for t in tree.trajectories}
    wrong = 0
    for row in rows(tmp_path / "out"):
        stored = responses[row["source_id"]]
        assert "".join(row["completions"]) == stored["response"]
        assert row["labels"] == [s > 0 for s in row["soft"]]
        assert row["labels"][-1] == (stored["verdict"] == "pass")
        first = row["labels"].index(False) if False in row["labels"] else None
        assert row["first_error"] == first
        wrong += first is not None
    assert wrong


def test_unsure_labels_are_joined_to_the_next_sure_one(stored_run, tmp_path) -> None:
    run = stored_run(count=8)
    export(run, ExportRequest("prm", heldout_share=0.0, filters=Filters(min_visits=2)), str(tmp_path / "out"))
    for row in rows(tmp_path / "out"):
        assert min(row["visits"]) >= 2
        assert row["weights"] == [1.0] * len(row["visits"])
        widths = [
            high - low for low, high in (wilson(s * v, v) for s, v in zip(row["soft"], row["visits"], strict=True))
        ]
        assert row["confidence"] == [pytest.approx(1 - width) for width in widths]


def test_sibling_pairs_share_their_prefix_and_differ_in_value(stored_run, tmp_path) -> None:
    run = stored_run(count=8)
    export(run, ExportRequest("pairs", heldout_share=0.0, filters=Filters(min_margin=0.3)), str(tmp_path / "out"))
    verdicts = {(tree.problem_id, t["response"]): t["verdict"] for tree in read_trees(run) for t in tree.trajectories}
    made = rows(tmp_path / "out")
    assert any(row["prefix"] for row in made)  # below the first step there is a prefix
    for row in made:
        assert row["score_chosen"] - row["score_rejected"] > 0.3
        assert [m["role"] for m in row["prompt"]] == ["user"], "a part of an answer must not be a turn of its own"
        for side, verdict in (("chosen", "pass"), ("rejected", "fail")):
            (message,) = row[side]
            assert message["content"].startswith(row["prefix"])
            assert verdicts[row["problem_id"], message["content"]] == verdict, "a whole response, as it was sampled"


def test_certain_pairs_alone(stored_run, tmp_path) -> None:
    run = stored_run(count=30, policy={"type": "fixed", "branching": [4, 16]}, repair_rate=(0.0, 0.0))
    export(run, ExportRequest("pairs", heldout_share=0.0), str(tmp_path / "all"))
    export(run, ExportRequest("pairs", heldout_share=0.0, filters=Filters(certain=True)), str(tmp_path / "sure"))
    assert all(r["certain"] for r in rows(tmp_path / "sure"))
    assert len(rows(tmp_path / "sure")) < len(rows(tmp_path / "all"))


def test_preferences_between_answers_are_right_over_wrong(stored_run, tmp_path) -> None:
    run = stored_run(count=8)
    export(run, ExportRequest("dpo", heldout_share=0.0), str(tmp_path / "out"))
    verdicts = {(tree.problem_id, t["response"]): t["verdict"] for tree in read_trees(run) for t in tree.trajectories}
    made = rows(tmp_path / "out")
    for row in made:
        assert verdicts[row["problem_id"], row["chosen"][0]["content"]] == "pass"
        assert verdicts[row["problem_id"], row["rejected"][0]["content"]] == "fail"
    assert len({r["source_id"] for r in made}) == len(made)


def test_rl_rows_carry_the_check_and_the_pass_rate(stored_run, tmp_path) -> None:
    run = stored_run(count=5)
    export(run, ExportRequest("rl", "verl", heldout_share=0.0), str(tmp_path / "out"))
    gold = {
        tree.problem_id: getattr(tree.problem and tree.problem.verifier, "answer", None) for tree in read_trees(run)
    }
    for row in rows(tmp_path / "out"):
        assert row["reward_model"]["ground_truth"] == gold[row["problem_id"]]
        assert json.loads(row["extra_info"]["verifier"])["type"] == "math"
        assert 0 <= row["pass_rate_low"] <= row["pass_rate"] <= row["pass_rate_high"] <= 1
        assert row["pass_rate_n"] == 3, "the chains from the root, however many leaves they have"


def test_a_pass_rate_that_is_not_sure_enough_is_null_where_that_is_asked_for(stored_run, tmp_path) -> None:
    filters = Filters(min_confidence=0.2)
    export(stored_run(count=12), ExportRequest("rl", heldout_share=0.0, filters=filters), str(tmp_path / "out"))
    made = rows(tmp_path / "out")
    assert {row["pass_rate_n"] for row in made if row["pass_rate"] is not None} == {3}
    assert all(row["pass_rate_high"] - row["pass_rate_low"] <= 0.8 for row in made if row["pass_rate"] is not None)
    with pytest.raises(InputError, match="nothing to export"):
        export(stored_run("other", count=2), ExportRequest("prm", filters=Filters(min_visits=99)), str(tmp_path / "no"))


def test_where_branches_were_cut_no_threshold_chooses_among_labels(stored_run, tmp_path) -> None:
    run = stored_run(count=12, rollout={"cut": {"below": 0.4, "spare": 0.2, "speculative": False}})
    export(run, ExportRequest("rl", heldout_share=0.0), str(tmp_path / "all"))
    made = rows(tmp_path / "all")
    assert all(row["pass_rate"] is not None for row in made), "all of them are right in the mean"
    nothing = [row for row in made if not row["pass_rate_n"]]
    assert nothing, "some have lost all their chains"
    assert {(row["pass_rate"], row["pass_rate_low"], row["pass_rate_high"]) for row in nothing} == {(0.0, 0.0, 1.0)}
    for name in ("rl", "prm"):
        with pytest.raises(InputError, match="branches of this run were cut"):
            export(run, ExportRequest(name, filters=Filters(min_visits=2)), str(tmp_path / name))


@pytest.mark.parametrize("name", ["sft", "tree"])
def test_json_lines_hold_the_same_rows(stored_run, tmp_path, name) -> None:
    run = stored_run(count=4)
    export(run, ExportRequest(name, heldout_share=0.0), str(tmp_path / "a"))
    export(run, ExportRequest(name, heldout_share=0.0, kind="jsonl"), str(tmp_path / "b"))
    lines = [json.loads(line) for line in (tmp_path / "b" / "train.jsonl").read_text().splitlines()]
    assert lines == rows(tmp_path / "a")


def test_no_more_than_so_many_rows_a_problem(stored_run, tmp_path) -> None:
    run = stored_run(count=4)
    export(run, ExportRequest("orm", heldout_share=0.0, filters=Filters(per_problem=3)), str(tmp_path / "out"))
    assert len(rows(tmp_path / "out")) == 12


# ---- bad input -----------------------------------------------------------------------------------------------------


def test_a_trainer_without_that_format_is_told_who_has_one(stored_run, tmp_path) -> None:
    with pytest.raises(InputError, match="these have: trl, openrlhf"):
        export(stored_run(count=2), ExportRequest("prm", "verl"), str(tmp_path / "out"))


def test_filters_that_let_nothing_through_say_so_and_leave_no_file(stored_run, tmp_path) -> None:
    target = tmp_path / "out"
    with pytest.raises(InputError, match="lower min-visits"):
        export(stored_run(count=3), ExportRequest("prm", filters=Filters(min_visits=500)), str(target))
    assert list(target.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "run", "said"),
    [
        ("sft", {"error_rate": (1.0, 1.0), "repair_rate": (0.0, 0.0)}, "`berry reprune RUN`"),
        ("dpo", {"error_rate": (0.0, 0.0)}, "more trajectories a problem"),
        ("orm", {"rollout": {"sampling": {"max_tokens": 3}}}, "`berry reverify RUN`"),
    ],
)
def test_a_format_that_a_run_can_not_fill_says_what_is_missing_and_what_makes_it(
    stored_run, tmp_path, name, run, said
) -> None:
    stored = stored_run(count=3, **run)
    all_ = [t for tree in read_trees(stored) for t in tree.trajectories]
    passed, kept = sum(t["verdict"] == "pass" for t in all_), sum(t["kept"] for t in all_)
    with pytest.raises(InputError) as refused:
        export(stored, ExportRequest(name), str(tmp_path / "out"))
    assert said in str(refused.value)
    assert f"of {len(all_)} trajectories {passed} passed" in str(refused.value)
    assert f"{kept} were kept" in str(refused.value)


@pytest.mark.slow
def test_a_file_of_large_rows_is_written_as_it_grows(tmp_path) -> None:
    schema = pa.schema([("ids", pa.list_(pa.int32()))])
    writer = Writer(tmp_path / "x.parquet", "parquet", Layout(schema, lambda row: row))
    tracemalloc.start()
    try:
        for number in range(100):
            writer.add({"ids": array("i", [number]) * 250_000})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        writer.finish()
    assert peak < 40 * 250_000 * 4, "100 rows of a megabyte must not all be held at once"
    table = pq.read_table(tmp_path / "x.parquet")
    assert table.num_rows == 100
    assert table["ids"][99].as_py()[:2] == [99, 99]


def test_a_folder_in_use_is_not_written_to(stored_run, tmp_path) -> None:
    run = stored_run(count=3)
    target = tmp_path / "out"
    export(run, ExportRequest("orm", heldout_share=0.0), str(target))
    with pytest.raises(InputError, match="--replace"):
        export(run, ExportRequest("orm"), str(target))
    export(run, ExportRequest("orm", heldout_share=0.0, kind="jsonl"), str(target), replace=True)
    assert {p.name for p in target.iterdir()} == {"train.jsonl", "README.md", MANIFEST}
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    with pytest.raises(InputError, match="holds other files"):
        export(run, ExportRequest("orm"), str(other), replace=True)


def test_what_a_killed_export_leaves_is_cleared_by_replace_and_nothing_else_is(stored_run, tmp_path) -> None:
    run, target = stored_run(count=3), tmp_path / "out"
    killed = f"""
import os
from berry.pipeline.stages.export import writer
from berry.pipeline.stages.export.export import ExportRequest, export
from berry.pipeline.storage.run.directory import open_run

writer.Writer.finish = lambda self: os.kill(os.getpid(), 9)
export(open_run({run.location.url!r}), ExportRequest("orm", heldout_share=0.0), {str(target)!r})
"""
    done = subprocess.run([sys.executable, "-c", killed], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = {path.name for path in target.iterdir()}
    assert left == {".unfinished", ".train.parquet.writing"}
    (target / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds what an interrupted export left; give another folder, or --replace"):
        export(run, ExportRequest("orm"), str(target))
    export(run, ExportRequest("orm", heldout_share=0.0), str(target), replace=True)
    assert {p.name for p in target.iterdir()} == {"train.parquet", "README.md", MANIFEST, "notes.txt"}
