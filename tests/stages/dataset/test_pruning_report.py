"""What `berry inspect` says about cuts, held against runs whose every prefix has a known value."""

from __future__ import annotations

import pytest

from berry.pipeline.core.assignment.splits import split_of
from berry.pipeline.core.search import audit
from berry.pipeline.report.pruning import cut_lines, stage_lines
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.storage.run.duckdb_views import connect

CUT = {"cut": {"below": 0.05, "speculative": False}, "audit_share": 0.5}
HELD = {"training": {"heldout_share": 0.5}}


def audited_ids(run) -> set[str]:
    config = stored_config(run)
    ids = {row[0] for row in connect(run).execute("select distinct problem_id from nodes").fetchall()}
    return {i for i in ids if audit.is_unpruned(config, i)}


def test_audited_trees_are_whole_and_the_others_cut(stored_run) -> None:
    run = stored_run(count=30, rollout=CUT, rewards=HELD)
    ids = audited_ids(run)
    assert 5 < len(ids) < 25
    cut_by_problem = dict(
        connect(run)
        .execute("select problem_id, count(*) filter (drop_reason = 'cut_in_loop') from trajectories group by 1")
        .fetchall()
    )
    assert all(cut_by_problem[i] == 0 for i in ids)
    assert sum(cut_by_problem.values()) > 10


def test_a_cut_by_the_truth_is_right_and_saves_tokens(stored_run) -> None:
    run = stored_run(count=30, rollout=CUT, rewards=HELD)
    (line,) = cut_lines(run)
    assert line.cut == "prm below 0.05"
    assert line.problems == len(audited_ids(run))
    assert line.leaves == 12 * line.problems
    assert line.given_up > 10
    assert line.precision is not None
    assert line.precision > 0.9 > line.failing  # values below 0.05: at most one leaf in twenty passes
    assert line.tokens_saved is not None
    assert 0.02 < line.tokens_saved < 1
    assert line.good_lost is not None
    assert line.good_lost < 0.1


@pytest.mark.parametrize("policy", [{"type": "beam", "beams": 2, "width": 3}, {"type": "value", "cut_below": 0.1}])
def test_policies_that_give_branches_up_are_audited_too(stored_run, policy) -> None:
    run = stored_run(count=16, policy=policy, rollout={"audit_share": 0.5}, rewards=HELD)
    (line,) = cut_lines(run)
    assert line.given_up > 0
    assert line.precision is not None
    assert line.precision > line.failing
    assert line.leaves == line.problems * (6 if policy["type"] == "beam" else 16)


def test_rules_at_the_end_are_held_against_every_held_out_tree_where_none_is_pruned_in_the_loop(stored_run) -> None:
    rules = [{"type": "verdict"}, {"type": "orm", "at_least": 0.5}, {"type": "prm", "at_least": 0.3}]
    run = stored_run(count=24, pruning=rules, end_scores=("prm", "orm"), rewards=HELD)
    ids = {row[0] for row in connect(run).execute("select distinct problem_id from nodes").fetchall()}
    held = {i for i in ids if split_of(stored_config(run)).part(i) == "heldout"}
    lines = cut_lines(run)
    assert [line.cut for line in lines] == ["orm rule, below 0.5", "prm rule, below 0.3"]
    assert 5 < lines[0].problems == len(held) < 20
    assert lines[0].precision == 1.0  # the value of a whole answer is 0 or 1
    assert lines[0].good_lost == 0.0
    assert lines[0].tokens_saved is None


def test_stages_end_with_the_kept_share(stored_run) -> None:
    run = stored_run(count=20, rollout=CUT, pruning=[{"type": "verdict"}, {"type": "shortest", "k": 1}])
    (line,) = stage_lines(run)
    kept, total = connect(run).execute("select count(*) filter (kept), count(*) from trajectories").fetchall()[0]
    assert line.branches == total
    assert line.left["other rules"] == pytest.approx(kept / total)
    shares = list(line.left.values())
    assert shares == sorted(shares, reverse=True)
    assert shares[0] < 1
