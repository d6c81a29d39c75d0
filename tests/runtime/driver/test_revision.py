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
    code, out = berry.run("reprune", "runs/job", "pruning=[{type: verdict}]", "--as", "short")
    assert code == 2
    assert "Run it with the old values, or make another revision with --as NAME" in " ".join(out.split())
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
    code, out = berry.run("dedup", "runs/job", "--min-words", "1", "--as", "apart")
    assert code == 0, out
    assert berry.query("runs/job/revisions/apart", copies) == [(0,)]
    assert berry.run("check", "runs/job/revisions/apart")[0] == 0
    code, out = berry.run("dedup", "runs/job", "--threshold", "0.7", "--as", "apart")
    assert (code, "was made with --threshold 0.8" in out) == (2, True)
    code, out = berry.run("dedup", "runs/job", "--memory", "much")
    assert (code, "is no size" in out) == (2, True)


@pytest.mark.slow
def test_problems_belong_to_the_run_and_an_edited_file_is_no_damage_of_it(berry: Any) -> None:
    """Resumed or verified again on other texts it is refused by id; exports have what was asked."""
    problems = berry.folder / "p.jsonl"

    def write(text: str, answer: str) -> None:
        asked = {"prompt": f"{text} with 4. Then add 5. What is the result?"}
        spec = {"type": "math", "answer": answer}
        rows = [{"id": f"p{i}", **asked, "verifier": spec} for i in range(6)]
        problems.write_text("".join(json.dumps(row) + "\n" for row in rows))

    write("Start", "9")
    config = str(berry.config(problems=[{"type": "file", "path": "p.jsonl"}]))
    assert berry.run("run", config, "--local")[0] == 0
    write("Begin", "9")
    code, out = berry.run("run", config, "--local")
    assert code == 2, out
    assert "have changed the text of 6 (p0, p1, p2, p3, p4, p5); restore them, or use --fork NAME" in " ".join(
        out.split()
    )
    code, out = berry.run("reverify", "runs/job")
    assert code == 2, out
    assert "the text of 6 (p0, p1," in out
    code, out = berry.run("check", "runs/job")
    assert code == 0, out
    assert "note: since the run began its problem files have changed the text of 6" in out
    assert out.rstrip().endswith("whole")
    problems.unlink()
    code, out = berry.run("export", "runs/job", "--format", "rl", "-o", "rl", "--as", "jsonl")
    assert code == 0, out
    rows = [json.loads(line) for path in (berry.folder / "rl").glob("*.jsonl") for line in path.open()]
    assert len(rows) == 6
    assert all("Start with 4." in json.dumps(row["prompt"]) for row in rows)
    write("Start", "10")
    code, out = berry.run("run", config, "--local")
    assert code == 2, out
    assert "have changed the verifier of 6 (p0," in out


@pytest.mark.slow
def test_a_commit_that_a_finished_run_has_lost_is_damage_and_is_made_again(berry: Any) -> None:
    config = str(berry.config(storage={"compact": False, "lease_problems": 8}))
    assert berry.run("run", config, "--local")[0] == 0
    whole = berry.query("runs/job", ROWS)
    (berry.folder / "runs/job/round=0/trajectories/shard-000002.parquet").unlink()
    code, out = berry.run("check", "runs/job")
    assert code == 3, out
    assert "the run had finished, and the lease's commit is not there" in " ".join(out.split())
    assert berry.run("check", "runs/job", "--repair")[0] == 0
    assert berry.run("run", config, "--local")[0] == 0
    assert berry.query("runs/job", ROWS) == whole
    assert berry.run("check", "runs/job")[0] == 0
