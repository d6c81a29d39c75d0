"""`berry run --local`, whole: results, resume, refusals, kills. On the synthetic engine."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SLOW = {"type": "synthetic", "tokens_per_s": 60, "max_num_seqs": 64}
COUNTS = "select count(*), count(distinct trajectory_id), count(distinct problem_id) from '{}/trajectories/*.parquet'"


def test_a_run_leaves_trajectories_nodes_and_kept_that_agree(berry: Any) -> None:
    code, out = berry.run("run", str(berry.config()), "--local")
    assert code == 0, out
    assert "SYNTHETIC" in out
    assert berry.query("runs/job", COUNTS) == [(240, 240, 40)]
    assert berry.query(
        "runs/job",
        """select count(*) from '{}/trajectories/*.parquet' t anti join '{}/nodes/*.parquet' n
           on t.leaf = n.node and t.problem_id = n.problem_id""",
    ) == [(0,)]
    wrong = "select count(*) from '{}/trajectories/*.parquet' where kept <> (verdict = 'pass')"
    assert berry.query("runs/job", wrong) == [(0,)]
    kept = berry.query(
        "runs/job", "select step_ends, response, step_values, synthetic, token_ids from '{}/kept/*.parquet'"
    )
    assert kept
    for ends, response, labels, synthetic, token_ids in kept:
        assert ends == sorted(set(ends))
        assert ends[-1] == len(response)
        assert len(labels) == len(ends)
        assert labels[-1] == 1.0
        assert synthetic
        assert len(token_ids) > len(ends)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_run(berry: Any) -> None:
    config = str(berry.config())
    rows = "select trajectory_id, answer, verdict, kept from '{}/trajectories/*.parquet' order by 1"
    texts = "select problem_id, node, parent, token_ids, text from '{}/nodes/*.parquet' order by 1, 2"
    assert berry.run("run", config, "--local", "--run", "a")[0] == 0
    assert berry.run("run", config, "--local", "--run", "b")[0] == 0
    assert berry.query("a", rows) == berry.query("b", rows)
    assert berry.query("a", texts) == berry.query("b", texts)


@pytest.mark.slow
def test_a_finished_run_is_not_run_again(berry: Any) -> None:
    config = str(berry.config())
    assert berry.run("run", config, "--local")[0] == 0
    code, out = berry.run("run", config, "--local")
    assert code == 0
    assert "nothing to do" in out
    assert berry.query("runs/job", COUNTS) == [(240, 240, 40)]


@pytest.mark.slow
def test_a_changed_config_is_refused_with_its_keys(berry: Any) -> None:
    config = str(berry.config())
    assert berry.run("run", config, "--local")[0] == 0
    code, out = berry.run("run", config, "seed=5", "--local")
    assert code == 2
    assert "seed: 0 in the run, 5 now" in out
    assert "--fork" in out
    assert berry.run("run", config, "seed=5", "--local", "--fork", "other")[0] == 0
    assert berry.query("runs/other", COUNTS) == [(240, 240, 40)]


@pytest.mark.slow
def test_changed_problems_are_refused(berry: Any) -> None:
    problems = berry.folder / "p.jsonl"
    row = {"prompt": "Start with 4. Then add 5. What is the result?", "verifier": {"type": "math", "answer": "9"}}
    problems.write_text("".join(json.dumps({"id": f"p{i}", **row}) + "\n" for i in range(3)))
    config = str(berry.config(problems=[{"type": "file", "path": "p.jsonl"}]))
    assert berry.run("run", config, "--local")[0] == 0
    problems.write_text("".join(json.dumps({"id": f"q{i}", **row}) + "\n" for i in range(3)))
    code, out = berry.run("run", config, "--local")
    assert code == 2
    assert "the problems have changed" in out


@pytest.mark.slow
def test_two_drivers_on_one_directory_are_refused(berry: Any, until: Callable[..., None]) -> None:
    config = str(berry.config(engine=SLOW | {"tokens_per_s": 5}))
    first = berry.start("run", config, "--local")
    until(lambda: (berry.folder / "runs/job/.lock").exists(), what="the first driver's lock")
    code, out = berry.run("run", config, "--local")
    assert code == 3
    assert f"process {first.pid}" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("signal_number", "where"),
    [(signal.SIGKILL, "local"), (signal.SIGKILL, "off"), (signal.SIGINT, "run"), (signal.SIGTERM, "run")],
    ids=["kill -9, its disk lost", "kill -9, no journal", "Ctrl-C", "SIGTERM"],
)
def test_killed_midway_and_run_again_every_problem_is_there_once(
    berry: Any, until: Callable[..., None], signal_number: signal.Signals, where: str
) -> None:
    scratch = berry.folder / "scratch"
    kept = f"local:{scratch}" if where == "local" else where
    config = str(berry.config(engine=SLOW, storage={"journal": kept}))
    process = berry.start("run", config, "--local")
    commits = berry.folder / "runs/job/round=0/trajectories"
    journal = berry.folder / "runs/job/round=0/journal"
    begun = {"run": (journal, "lease-*/*"), "local": (scratch, "**/lease-*/*"), "off": (commits, "*")}[where]
    until(
        lambda: len(list(commits.glob("shard-*.parquet"))) >= 2 and any(begun[0].glob(begun[1])),
        what="two committed leases and a journal",
    )
    process.send_signal(signal_number)
    out = process.communicate(timeout=30)[0]
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[signal_number], out
    before = {p.name: p.stat().st_mtime_ns for p in commits.glob("shard-*.parquet")}
    assert len(before) < 10, "the run was over before it was killed"
    assert (where == "run") == (journal.exists() and any(journal.iterdir()))
    if where == "local":
        shutil.rmtree(scratch)
    code, out = berry.run("run", config, "--local", "storage.compact=false")
    assert code == 0, out
    assert f"resuming: {len(before)} of 10 leases" in out
    lost = {"off": "what was in flight is generated", "local": "what is in flight on a host that is gone is generated"}
    assert where == "run" or lost[where] in " ".join(out.split())
    after = {p.name: p.stat().st_mtime_ns for p in commits.glob("shard-*.parquet")}
    assert {name: after[name] for name in before} == before, "a committed lease was written again"
    assert berry.query("runs/job", COUNTS) == [(240, 240, 40)]
    assert not journal.exists() or list(journal.iterdir()) == []
    assert berry.run("run", config, "--local", "--run", "whole", "engine.tokens_per_s=null")[0] == 0
    rows = "select trajectory_id, verdict, kept from '{}/trajectories/*.parquet' order by 1"
    assert berry.query("runs/job", rows) == berry.query("whole", rows)


@pytest.mark.slow
def test_a_full_disk_stops_the_run_with_one_error_and_resumes_when_there_is_room(
    berry: Any, until: Callable[..., None]
) -> None:
    """A file-size limit stands in for the full disk: writes fail in the kernel all the same."""
    config = berry.config()
    limited = berry.folder / "limited.py"
    limited.write_text(
        "import resource, runpy, signal, sys\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))\n"
        "    sys.argv = ['berry', 'run', sys.argv[1], '--local']\n"
        "    from berry.pipeline.cli import main\n"
        "    main()\n"
    )
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, str(limited), str(config)], cwd=berry.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "can't be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert berry.run("run", str(config), "--local")[0] == 0
    assert berry.query("runs/job", COUNTS) == [(240, 240, 40)]
    names = [p.name for p in Path(berry.folder / "runs/job").rglob("*") if ".writing" in p.name]
    assert names == []


def test_an_unwritable_directory_is_refused_before_anything_starts(berry: Any) -> None:
    (berry.folder / "file").write_text("where a folder would have to be")
    code, out = berry.run("run", str(berry.config()), "--local", "--run", "file/x")
    assert code == 2
    assert "can't be written" in out
    assert "--run DIR" in out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (("rewards={training: {min_visits: 4}}", "rollout.cut={below: 0.2}"), "min_visits = 4"),
        (("rollout.cut={below: 0.2, spare: 0}",), "rollout.cut.spare = 0"),
    ],
    ids=["threshold", "survivors"],
)
def test_what_training_would_refuse_after_a_round_is_refused_before_anything_starts(
    berry: Any, settings: tuple[str, ...], named: str
) -> None:
    code, out = berry.run("run", str(berry.config()), "rounds={count: 2}", *settings, "--local")
    assert code == 2, out
    assert named in out
    assert not (berry.folder / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("rollout.policy.type=fixd", "did you mean fixed?"),
        ("engine.type=vllm", "engine.model is missing"),
        ("engine={type: vllm, model: no/such/folder}", "no/such/folder"),
        ("engine={type: vllm, model: tiny-arithmetic, max_model_len: 128, kv_cache_gib: 100000}", "not enough memory"),
        ("problems=[{type: file, path: none.jsonl}]", "none.jsonl: no such file"),
        ("rollout.policy.branching=[]", "branching"),
    ],
)
def test_bad_input_is_one_error_before_anything_starts(berry: Any, override: str, wanted: str) -> None:
    code, out = berry.run("run", str(berry.config()), override, "--local")
    assert code == 2, out
    assert wanted in out
    assert "Traceback" not in out
    assert not (berry.folder / "runs").exists()
