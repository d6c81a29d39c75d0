"""A run of two models, killed and gone on with: the same problems go on from one to the other, and rows say which."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

ENGINES = {
    "small": {
        "type": "synthetic",
        "error_rate": [0.05, 0.7],
        "tokens_per_s": 60,
        "max_num_seqs": 24,
        "role": {"cpus": 0.5},
    },
    "large": {
        "type": "synthetic",
        "error_rate": [0.0, 0.1],
        "tokens_per_s": 60,
        "max_num_seqs": 16,
        "role": {"cpus": 0.5},
    },
}
ROWS = "select trajectory_id, problem_id, mode, model, verdict, kept from '{}/trajectories/*.parquet' order by 1"
UNSOLVED = (
    "select split_part(problem_id, '@', 1) from '{}/trajectories/*.parquet' where mode = 'small' group by 1 "
    "having count(*) filter (verdict = 'pass') = 0 order by 1"
)
WENT_ON = (
    "select distinct split_part(problem_id, '@', 1) from '{}/trajectories/*.parquet' where mode = 'large' order by 1"
)
MADE_BY = (
    "select distinct mode, model, engine_id, weights_version from '{}/nodes/*.parquet' where parent >= 0 order by 1"
)


@pytest.mark.slow
def test_killed_midway_and_run_again_the_same_problems_go_on(berry: Any, until: Callable[..., None]) -> None:
    problems = [{"type": "synthetic", "count": 20, "seed": 3}]
    routing = {"type": "escalate", "order": ["small", "large"], "max_problems": 6}
    rollout = {"policy": {"type": "best_of_n", "n": 4}, "step": {"type": "delimiter", "delimiters": ["\n"]}}
    raw = {"engines": ENGINES, "routing": routing, "rollout": rollout, "problems": problems}
    config = str(berry.config(engine=None, **raw, storage={"compact": False}))
    process = berry.start("run", config, "--local")
    commits, journal = (berry.folder / f"runs/job/round=0/{name}" for name in ("trajectories", "journal"))
    until(
        lambda: any(commits.glob("shard-*[13579].parquet")) and any(journal.glob("lease-*/*")),
        what="a committed lease of what went on, and a journal",
    )
    process.send_signal(signal.SIGKILL)
    process.wait()
    fast = ("engines.small.tokens_per_s=null", "engines.large.tokens_per_s=null")
    code, out = berry.run("run", config, "--local", *fast, "--run", "whole")
    assert code == 0, out
    assert "20 problems go to small, those that it never solves on to large, at most 6" in out
    code, out = berry.run("run", config, "--local")
    assert code == 0, out
    assert "resuming: " in out
    assert berry.query("runs/job", ROWS) == berry.query("whole", ROWS)
    unsolved = berry.query("runs/job", UNSOLVED)
    assert len(unsolved) > 6
    assert len(berry.query("runs/job", WENT_ON)) == 6
    assert set(berry.query("runs/job", WENT_ON)) < set(unsolved)
    assert berry.query("runs/job", MADE_BY) == [
        ("large", "synthetic-large", "large-0", "v0"),
        ("small", "synthetic-small", "small-0", "v0"),
    ]
    figures = json.loads((berry.folder / "runs/job/metrics/run.json").read_text())["engines"]
    assert {name: its["problems"] for name, its in figures.items()} == {"small": 20, "large": 6}
    for words in (("check", "runs/job"), ("compact", "runs/job"), ("reverify", "runs/job"), ("check", "runs/job")):
        code, out = berry.run(*words)
        assert code == 0, (words, out)
    assert berry.query("runs/job", ROWS) == berry.query("whole", ROWS)
    assert berry.query("runs/job/revisions/reverified", ROWS) == berry.query("whole", ROWS)
    code, out = berry.run("status", "runs/job")
    assert "20 problems" in out
    assert "6 problems" in out
    for words, message in (
        (("annotate", "runs/job"), "berry annotate knows one model"),
        (
            ("weights", "push", "runs/job", "."),
            "--engine is missing: name the engine whose weights they are",
        ),
        (("weights", "push", "runs/job", ".", "--engine", "big"), "--engine big: name the engine"),
    ):
        code, out = berry.run(*words)
        assert (code, message in out) == (2, True), out
