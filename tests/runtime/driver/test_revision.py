"""`berry reprune` and `berry reverify`: stored trees under new rules, without an engine."""

from __future__ import annotations

import json
from typing import Any

import pytest

ROWS = "select trajectory_id, verdict, kept, drop_reason from '{}/trajectories/*.parquet' order by 1"
NODES = (
    "select problem_id, node, value, value_n, value_kind, reached, sample, weight from '{}/nodes/*.parquet' "
    "order by 1, 2"
)
KEPT = "select * from '{}/kept/*.parquet' order by trajectory_id"


@pytest.mark.slow
def test_repruned_by_the_same_rules_a_run_is_the_same(berry: Any) -> None:
    assert berry.run("run", str(berry.config()), "--local")[0] == 0
    code, out = berry.run("reprune", "runs/job", "--as", "same")
    assert code == 0, out
    for query in (ROWS, NODES, KEPT):
        assert berry.query("runs/job/revisions/same", query) == berry.query("runs/job", query)


@pytest.mark.slow
def test_new_rules_drop_with_their_reason_and_leave_the_run_alone(berry: Any) -> None:
    assert berry.run("run", str(berry.config()), "--local")[0] == 0
    before = berry.query("runs/job", ROWS)
    code, out = berry.run("reprune", "runs/job", "pruning=[{type: verdict}, {type: shortest, k: 1}]", "--as", "short")
    assert code == 0, out
    assert berry.query("runs/job", ROWS) == before
    short = "runs/job/revisions/short"
    per_problem = "select max(n) from (select count(*) n from '{}/kept/*.parquet' group by problem_id)"
    assert berry.query(short, per_problem) == [(1,)]
    reasons = dict(berry.query(short, "select drop_reason, count(*) from '{}/trajectories/*.parquet' group by 1"))
    assert reasons["not_shortest"] > 0
    code, out = berry.run("reprune", "runs/job", "seed=3")
    assert code == 2
    assert "only pruning, verification and problems can change" in out


@pytest.mark.slow
def test_reverified_with_corrected_answers_verdicts_values_and_kept_follow(berry: Any) -> None:
    problems = berry.folder / "p.jsonl"
    row = {"prompt": "Start with 4. Then add 5. What is the result?"}

    def write(answer: str) -> None:
        spec = {"type": "math", "answer": answer}
        problems.write_text("".join(json.dumps({"id": f"p{i}", **row, "verifier": spec}) + "\n" for i in range(6)))

    write("10000")
    config = str(berry.config(problems=[{"type": "file", "path": "p.jsonl"}]))
    assert berry.run("run", config, "--local")[0] == 0
    assert berry.query("runs/job", "select count(*) from '{}/kept/*.parquet'") == [(0,)]
    write("9")
    code, out = berry.run("reverify", "runs/job")
    assert code == 0, out
    assert berry.run("run", config, "--local", "--run", "right")[0] == 0
    for query in (ROWS, NODES):
        assert berry.query("runs/job/revisions/reverified", query) == berry.query("right", query)
    assert berry.query("runs/job/revisions/reverified", "select count(*) from '{}/kept/*.parquet'")[0][0] > 0


@pytest.mark.slow
def test_copies_are_dropped_across_leases_and_an_interrupted_revision_knows_what_it_had_seen(berry: Any) -> None:
    row = {"prompt": "Start with 4. Then add 5. What is the result?", "verifier": {"type": "math", "answer": "9"}}
    (berry.folder / "p.jsonl").write_text("".join(json.dumps({"id": f"p{i}", **row}) + "\n" for i in range(6)))
    config = berry.config(problems=[{"type": "file", "path": "p.jsonl"}], storage={"lease_problems": 2})
    assert berry.run("run", str(config), "--local")[0] == 0
    rules = "pruning=[{type: verdict}, {type: exact_duplicate, min_tokens: 0}]"
    copies = "select count(*) - count(distinct trim(response)) from '{}/kept/*.parquet'"
    assert berry.query("runs/job", copies)[0][0] > 0
    assert berry.run("reprune", "runs/job", rules, "--as", "once")[0] == 0
    once = "runs/job/revisions/once"
    assert berry.query(once, copies) == [(0,)]
    whole = berry.query(once, ROWS)
    last = sorted((berry.folder / once).rglob("trajectories/shard-*.parquet"))[-1]
    last.unlink()
    assert berry.run("reprune", "runs/job", rules, "--as", "once")[0] == 0
    assert berry.query(once, ROWS) == whole
