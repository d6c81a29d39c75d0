"""A run that version 0.1.0 stored, stopped in its second round, is read by everything that reads runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from berry.pipeline.cli import app
from berry.pipeline.config.sections.rewards import RewardTraining
from berry.pipeline.config.sections.rounds import GrpoTraining, SftTraining
from berry.pipeline.core.assignment.splits import split_of
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.errors import InputError
from berry.pipeline.records import ValueKind
from berry.pipeline.rewards.policy.examples import every_tree
from berry.pipeline.stages.dataset.logprob_samples import samples
from berry.pipeline.stages.dataset.reading import read_trees, stored_config
from berry.pipeline.stages.export.base import Filters
from berry.pipeline.stages.export.export import ExportRequest, export
from berry.pipeline.stages.export.registry import export_format, formats
from berry.pipeline.stages.leases.reports import read_reports
from berry.pipeline.stages.training.policy_trees import collect_trees
from berry.pipeline.stages.training.reward_data import collect
from berry.pipeline.storage.run.directory import RunDir, open_run
from berry.pipeline.storage.run.weights_file import read_weights

STORED = Path(__file__).parent / "run-0.1.0"
TRAJECTORIES, KEPT, NODES = 108, 74, 189  # of nine leases, as version 0.1.0 counted them
POOLED = Filters(kinds=(ValueKind.POOLED,))  # its labels are no unbiased estimates: they must be asked for by name
PROBLEM = "synthetic-5-0"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A copy, since readers may leave something in it."""
    shutil.copytree(STORED, tmp_path / "run")
    return open_run(str(tmp_path / "run"))


def berry(*words: str) -> str:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_its_labels_are_refused_unless_they_are_asked_for_by_their_name(run: RunDir) -> None:
    place = run.location.show()
    for words in (["export", place, "--format", "prm", "-o", "x"], ["train", place, "--what", "prm"]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code
        told = str(done.exception)
        assert "pooled" in told
        assert f"berry annotate {place}" in told


def test_its_counts_are_those_that_it_was_stored_with(run: RunDir) -> None:
    reports = [report for round_index in run.rounds() for report in read_reports(run.location, round_index)]
    assert (sum(r.trajectories for r in reports), sum(r.kept for r in reports)) == (TRAJECTORIES, KEPT)
    query = "select (select count(*) from trajectories), (select count(*) from kept), (select count(*) from nodes)"
    told = berry("inspect", run.location.show(), "--sql", query)
    assert [int(word) for word in told.split() if word.isdigit()] == [TRAJECTORIES, KEPT, NODES]
    trees = list(read_trees(run))
    assert sum(len(tree.trajectories) for tree in trees) == TRAJECTORIES
    assert sum(len(tree.kept) for tree in trees) == KEPT
    assert all(tree.problem is not None and tree.synthetic for tree in trees)


def test_it_is_whole(run: RunDir) -> None:
    assert "9 leases" in berry("check", run.location.show())


@pytest.mark.parametrize("command", ["inspect", "status"])
def test_commands_that_look_at_it(run: RunDir, command: str) -> None:
    assert "run-0.1.0" in berry(command, run.location.show())


def test_a_tree_of_it_is_shown(run: RunDir) -> None:
    assert PROBLEM in berry("show", run.location.show(), PROBLEM)


def test_its_kept_rows_are_streamed(run: RunDir) -> None:
    columns = "trajectory_id,steps,logprob_sum"
    told = berry("tail", run.location.show(), "--no-follow", "--columns", columns)
    rows = [json.loads(line) for line in told.splitlines()]
    assert len({row["trajectory_id"] for row in rows}) == len(rows) == KEPT
    assert all(row["steps"] and row["logprob_sum"] < 0 for row in rows)


def test_its_answers_are_evaluated(run: RunDir, tmp_path: Path) -> None:
    told = berry("eval", run.location.show(), "--out", str(tmp_path / "curves"))
    assert "majority" in told


def test_its_weights_are_those_that_served(run: RunDir) -> None:
    weights = read_weights(run.location)
    assert (weights.round_index, weights.engine) == (1, None)
    assert weights.rewards["prm"].version == "prm-r0"
    assert "prm-r0" in berry("weights", "show", run.location.show())


@pytest.mark.parametrize(("form", "trainer"), [(n, t) for n in formats() for t in export_format(n).layouts])
def test_every_export_of_it(run: RunDir, tmp_path: Path, form: str, trainer: str) -> None:
    done = export(run, ExportRequest(form, trainer, filters=POOLED), str(tmp_path / "out"))
    written = sum(pq.read_table(path).num_rows for path in done.files.values())
    assert written == sum(done.rows.values()) > 0
    assert form != "sft" or written == KEPT
    assert done.synthetic


def test_trainers_read_it(run: RunDir) -> None:
    config = stored_config(run)
    speaks = vocabulary.of_engine(config.engine)
    splits = collect(run, config, RewardTraining(), speaks, rounds=[0, 1], progress=lambda *_: None).sample
    paths = [*splits.train, *splits.validation, *splits.heldout]
    assert sum(path.passed is not None for path in paths) > 0
    assert all(len(path.soft) == len(path.ends) > 0 for path in paths)
    split = split_of(config)
    learned_from = list(every_tree(collect_trees(run, SftTraining(), split, rounds=[0, 1])))
    assert 0 < sum(len(tree.sequences) for tree in learned_from) <= KEPT
    with pytest.raises(InputError, match="no log-probabilities of its tokens"):
        list(every_tree(collect_trees(run, GrpoTraining(), split, rounds=[0, 1])))
    assert len(list(samples(run.location, 0, 0, share=1.0))) > 0


def test_it_is_pruned_anew(run: RunDir) -> None:
    berry("reprune", run.location.show(), "pruning=[]", "--as", "all")
    kept = berry("inspect", run.location.show("revisions/all"), "--sql", "select count(*) from kept")
    assert str(TRAJECTORIES) in kept


def test_it_is_verified_anew(run: RunDir) -> None:
    before = sorted((t["trajectory_id"], t["verdict"]) for tree in read_trees(run) for t in tree.trajectories)
    berry("reverify", run.location.show(), "--slots", "1")
    again = open_run(run.location.show("revisions/reverified"))
    after = sorted((t["trajectory_id"], t["verdict"]) for tree in read_trees(again) for t in tree.trajectories)
    assert after == before


@pytest.mark.slow
def test_it_goes_on_where_it_stopped(run: RunDir) -> None:
    old = {path: path.read_bytes() for path in Path(run.location.show()).rglob("shard-*.parquet")}
    berry("run", run.location.show("run.yaml"), "--run", run.location.show(), "--local", "storage.compact=false")
    assert [len(run.committed(r)) for r in (0, 1)] == [6, 6]
    assert run.journalled(1) == set()
    assert all(path.read_bytes() == data for path, data in old.items())
    summary = json.loads((Path(run.location.show()) / "metrics" / "run.json").read_text())
    assert summary
    assert "9 leases" not in (told := berry("check", run.location.show()))
    assert "12 leases" in told
