"""What is neither right nor wrong stays apart from both in labels, tables, rates and exports."""

from __future__ import annotations

from collections import Counter

import pytest

from berry.pipeline.cli.problems_table import problems_table
from berry.pipeline.cli.summary import counts_table
from berry.pipeline.records import Ending, ending
from berry.pipeline.report.summary import summarise
from berry.pipeline.stages.dataset.reading import read_trees, stored_config
from berry.pipeline.stages.dataset.text_views import connect
from berry.pipeline.stages.export.export import ExportRequest, export
from berry.pipeline.stages.training.step_labels import ending_of, labelled_paths
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.checker import CheckRequest

REASONS = (Reason.NO_ANSWER, Reason.NO_CODE, Reason.SANDBOX_FAULT, Reason.WRONG_ANSWER, Reason.CORRECT)


async def _by_turns(request: CheckRequest) -> Verdict:
    """Every kind of verdict, drawn by the response."""
    return verdict(REASONS[sum(map(ord, request.response)) % len(REASONS)], answer="1")


@pytest.fixture
def run(stored_run):
    return stored_run(count=24, check=_by_turns, rollout={"sampling": {"max_tokens": 60}})


def test_every_outcome_has_its_own_name_in_code_and_sql(run) -> None:
    rows = connect(run).execute("select verdict, verdict_reason, finish, outcome from trajectories").fetchall()
    found = Counter(outcome for *_, outcome in rows)
    assert set(found) >= {"pass", "wrong", "no_answer", "truncated", "unverifiable"}
    assert all(ending(row[0], row[1], row[2]) == row[3] for row in rows)
    assert ending(None, None, "cancelled") is Ending.UNCHECKED
    assert ending("fail", "no_code", "stop") is Ending.NO_ANSWER


def test_tables_and_rates_count_them_apart(run) -> None:
    summary = summarise(run)
    of_rows = dict(connect(run).execute("select outcome, count(*) from trajectories group by 1").fetchall())
    assert summary.outcomes == of_rows
    assert summary.trajectories == sum(of_rows.values())
    for line in summary.lines:
        passed, wrong = line.outcomes.get("pass", 0), line.outcomes.get("wrong", 0)
        assert line.share_passed == (pytest.approx(passed / (passed + wrong)) if passed + wrong else None)
    names = [str(column.header) for column in problems_table(summary.lines, 5).columns]
    assert names[1:-2] == [name.replace("_", " ") for name in summary.outcomes]
    assert counts_table(summary, title="").row_count > len(of_rows)


def test_labels_and_exports_call_nothing_wrong_that_is_not(run, tmp_path) -> None:
    import pyarrow.parquet as pq

    config = stored_config(run)
    apart = 0
    for stored in read_trees(run):
        rows = {row["trajectory_id"]: row for row in stored.trajectories}
        paths = labelled_paths(stored, step=config.rollout.step, thinking=None, decode=lambda _: "")
        assert {p.trajectory_id for p in paths} == {
            name for name, row in rows.items() if ending_of(row) in (Ending.PASS, Ending.WRONG) and row["n_tokens"]
        }
        for path in paths:
            assert path.passed == (ending_of(rows[path.trajectory_id]) is Ending.PASS)
        apart += len(rows) - len(paths)
        for node in stored.tree.leaves():
            if not node.children and stored.values[node.node_id].value == 0:
                assert node.verdict is not None
                assert not node.verdict.unanswered
    assert apart > 20
    wrong = {
        text for (text,) in connect(run).execute("select response from trajectories where outcome = 'wrong'").fetchall()
    }
    done = export(run, ExportRequest("dpo", source="trajectories"), str(tmp_path / "dpo"))
    rejected = [
        row["rejected"][-1]["content"] for path in done.files.values() for row in pq.read_table(path).to_pylist()
    ]
    assert rejected
    assert set(rejected) <= wrong
    done = export(run, ExportRequest("tree", heldout_share=0.0), str(tmp_path / "tree"))
    leaves = [leaf for row in pq.read_table(done.files["train"]).to_pylist() for leaf in row["leaves"]]
    assert {leaf["outcome"]: leaf["reward"] for leaf in leaves} == {
        "pass": 1.0,
        "wrong": 0.0,
        "no_answer": None,
        "truncated": None,
        "unverifiable": None,
    }


def test_what_sparing_costs_and_of_what_kind_the_pass_rates_are_is_told(stored_run) -> None:
    cut = {"below": 0.4, "speculative": False}
    spared = summarise(stored_run("spared", count=12, rollout={"cut": {**cut, "spare": 0.5}}))
    assert 0 < spared.spared_tokens < spared.generated_tokens
    assert spared.roots == {"estimate": 12}
    bare = summarise(stored_run("bare", count=12, rollout={"cut": {**cut, "spare": 0.0}}))
    assert bare.spared_tokens == 0
    assert bare.roots == {"survivors": 12}
    assert bare.pass_at == {}
