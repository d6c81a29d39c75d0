"""A run with modes: every record says its mode, no rate is one of two, and readers can ask for one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.core.assignment.modes import given_id, mode_name
from berry.pipeline.errors import ConfigError, InputError
from berry.pipeline.planning.runs import workload_of
from berry.pipeline.report.modes import mode_lines
from berry.pipeline.report.page.facts import gather
from berry.pipeline.report.rounds import rounds_by_mode
from berry.pipeline.report.summary import summarise
from berry.pipeline.stages.dataset.maintenance.repair import check_run
from berry.pipeline.stages.dataset.reading import read_trees, stored_config
from berry.pipeline.stages.export.export import ExportRequest, export
from berry.pipeline.stages.leases.reports import read_reports
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.duckdb_views import connect

ALL = [
    {"name": "wide", "all": True},
    {"name": "chains", "all": True, "policy": {"type": "best_of_n", "n": 4}, "system_prompt": "Be brief."},
]
SHARES = [
    {"name": "wide", "share": 0.5},
    {"name": "chains", "share": 0.5, "policy": {"type": "best_of_n", "n": 4}},
]
LEAVES = {"wide": 12, "chains": 4}


@pytest.fixture(params=["all", "shares"])
def run(request: pytest.FixtureRequest, stored_run: Callable[..., RunDir]) -> RunDir:
    return stored_run(count=10, rollout={"modes": ALL if request.param == "all" else SHARES})


def test_every_node_trajectory_and_kept_row_says_its_mode_and_is_searched_as_it_says(run: RunDir) -> None:
    config, db = stored_config(run), connect(run)
    for table in ("nodes", "trajectories", "kept"):
        rows = db.execute(f"select problem_id, mode from {table}").fetchall()
        assert rows
        assert all(mode == mode_name(config, problem_id) for problem_id, mode in rows)
    counts = db.execute("select problem_id, mode, count(*) from trajectories group by 1, 2").fetchall()
    assert {(mode, count) for _, mode, count in counts} == set(LEAVES.items())
    trees = list(read_trees(run))
    assert len({tree.problem_id for tree in trees}) == len(trees) == len(counts)
    for tree in trees:
        assert tree.mode == mode_name(config, tree.problem_id)
        assert tree.problem is not None
        assert tree.problem_id == tree.problem.id
        assert tree.family == given_id(tree.problem_id, tree.mode)
        told = [message["content"] for message in tree.messages if message["role"] == "system"]
        assert told == (["Be brief."] if config.rollout.in_mode(tree.mode or "").system_prompt else [])


def test_each_problem_is_there_once_in_each_mode_or_in_one(run: RunDir) -> None:
    config = stored_config(run)
    trees = list(read_trees(run))
    each = 2 if config.rollout.modes[0].all else 1
    assert len({tree.family for tree in trees}) == 10
    assert len(trees) == 10 * each


def test_a_check_of_the_run_finds_the_problems_that_were_handed_out(run: RunDir) -> None:
    found = check_run(run)
    assert found.faults == []
    assert found.notes == []


def test_figures_are_of_one_mode_and_add_up_to_the_runs(run: RunDir) -> None:
    lines = mode_lines(run, connect(run))
    summary = summarise(run)
    assert [line.mode for line in lines] == ["wide", "chains"]
    assert [line.kept for line in summary.modes] == [line.kept for line in lines]
    assert summary.pass_at == {}, "a rate of two modes"
    assert sum(line.problems for line in lines) == summary.problems
    assert sum(line.trajectories for line in lines) == summary.trajectories
    assert sum(line.kept for line in lines) == summary.kept
    assert sum(line.generated for line in lines) == summary.generated_tokens
    assert sum(line.share_of_tokens or 0 for line in lines) == pytest.approx(1)
    for line in lines:
        assert line.trajectories == LEAVES[line.mode] * line.problems
        assert 0 < line.pass_at[1] < 1
        assert (4 in line.pass_at) is (line.mode == "chains")
    of_reports: dict[str, int] = {}
    for report in read_reports(run.location, 0):
        for mode, counts in report.modes.items():
            of_reports[mode] = of_reports.get(mode, 0) + counts["solved"]
    assert of_reports == {line.mode: line.solved for line in lines}


def test_the_report_has_a_row_for_each_mode_and_no_rate_of_two(run: RunDir) -> None:
    by_mode = rounds_by_mode(run)
    assert [mode for mode, _ in by_mode] == ["wide", "chains"]
    assert [sum(line.trajectories for line in lines) for _, lines in by_mode] == [
        line.trajectories for line in mode_lines(run, connect(run))
    ]
    sections = {section.title: section for section in gather(run).sections}
    assert [row[0] for row in sections["Modes"].rows] == ["wide", "chains"]
    assert {row[1].partition(", mode ")[2] for row in sections["By round and source"].rows} == {"wide", "chains"}


def test_a_mode_is_exported_alone(run: RunDir, tmp_path: Path) -> None:
    db = connect(run)
    for mode in LEAVES:
        done = export(run, ExportRequest("sft", tokens=True, mode=mode), str(tmp_path / mode))
        kept = db.execute("select count(*) from kept where mode = ?", [mode]).fetchone()
        assert kept is not None
        assert sum(done.rows.values()) == kept[0] > 0
    with pytest.raises(InputError, match="--mode fast: the run has the modes wide, chains"):
        export(run, ExportRequest("sft", tokens=True, mode="fast"), str(tmp_path / "none"))


def test_the_same_answer_in_another_mode_is_no_duplicate(stored_run: Callable[..., RunDir]) -> None:
    """Both modes draw alike, so that every answer is there twice."""
    alike: list[dict[str, Any]] = [{"name": "one", "all": True}, {"name": "two", "all": True}]
    rules = ({"type": "verdict"}, {"type": "exact_duplicate", "min_tokens": 0})
    run = stored_run(count=14, rollout={"modes": alike}, pruning=rules, error_rate=[0.0, 0.0], filler_tokens=[0, 0])
    lines = mode_lines(run, connect(run))
    assert lines[0].kept == lines[1].kept >= 14, "an answer of each problem at least, in each mode"


def test_one_workload_for_several_modes_is_refused(run: RunDir) -> None:
    with pytest.raises(ConfigError, match=r"rollout\.modes: .*wide, chains"):
        workload_of(stored_config(run), {"math": 10})


def test_a_run_without_modes_has_none(stored_run: Callable[..., RunDir]) -> None:
    run = stored_run(count=4)
    assert connect(run).execute("select count(*) from nodes where mode is not null").fetchone() == (0,)
    assert mode_lines(run, connect(run)) == []
    assert summarise(run).pass_at
