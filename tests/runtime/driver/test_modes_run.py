"""Runs with modes, whole: the recipe on a real model, killed and gone on with; and kills on the synthetic engine."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

RECIPE = Path(__file__).parents[3] / "configs" / "recipes" / "thinking.yaml"
MODES = [
    {"name": "wide", "all": True},
    {"name": "chains", "all": True, "policy": {"type": "best_of_n", "n": 4}},
]
SLOW = {"type": "synthetic", "tokens_per_s": 60, "max_num_seqs": 64}
ROWS = "select trajectory_id, problem_id, mode, verdict, kept from '{}/trajectories/*.parquet' order by 1"
COUNTS = "select mode, count(*), count(distinct problem_id) from '{}/trajectories/*.parquet' group by 1 order by 1"


@pytest.mark.slow
@pytest.mark.parametrize("all_modes", [True, False], ids=["all", "shares"])
def test_killed_midway_and_run_again_every_problem_is_there_once_in_its_modes(
    berry: Any, until: Callable[..., None], all_modes: bool
) -> None:
    modes = MODES if all_modes else [{"share": 0.5, **{k: v for k, v in m.items() if k != "all"}} for m in MODES]
    rollout = {"policy": {"type": "fixed", "branching": [3, 2]}, "modes": modes}
    problems = [{"type": "synthetic", "count": 16, "seed": 3}]
    config = str(berry.config(engine=SLOW, rollout=rollout, problems=problems))
    process = berry.start("run", config, "--local")
    commits, journal = (berry.folder / f"runs/job/round=0/{name}" for name in ("trajectories", "journal"))
    until(
        lambda: any(commits.glob("shard-*.parquet")) and any(journal.glob("lease-*/*")),
        what="a committed lease and a journal",
    )
    process.send_signal(signal.SIGKILL)
    process.wait()
    code, out = berry.run("run", config, "--local", "engine.tokens_per_s=null", "--run", "whole")
    assert code == 0, out
    code, out = berry.run("run", config, "--local")
    assert code == 0, out
    assert "resuming: " in out
    assert berry.query("runs/job", ROWS) == berry.query("whole", ROWS)
    counts = berry.query("runs/job", COUNTS)
    if all_modes:
        assert counts == [("chains", 64, 16), ("wide", 96, 16)]
    else:
        assert sum(problems for _, _, problems in counts) == 16
    figures = json.loads((berry.folder / "runs/job/metrics/run.json").read_text())["modes"]
    assert {mode: its["trajectories"] for mode, its in figures.items()} == {mode: n for mode, n, _ in counts}
    code, out = berry.run("run", config, "--local", "rollout.modes.0.name=other")
    assert code == 2
    assert "rollout.modes.0.name: 'wide' in the run, 'other' now" in out


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.timeout(900)
def test_a_real_model_thinks_in_one_mode_and_answers_at_once_in_the_other(
    berry: Any, until: Callable[..., None]
) -> None:
    words = ("run", str(RECIPE), "--local", "--run", "runs/job", "problems.0.count=8", "storage.lease_problems=4")
    process = berry.start(*words)
    commits = berry.folder / "runs/job/round=0/trajectories"
    until(lambda: any(commits.glob("shard-*.parquet")) or process.poll() is not None, within_s=300, what="a commit")
    process.send_signal(signal.SIGKILL)
    process.wait()
    code, out = berry.run(*words, timeout_s=500)
    assert code == 0, out
    assert berry.query("runs/job", COUNTS) == [("plain", 64, 8), ("thinking", 64, 8)]
    roots = berry.query(
        "runs/job",
        "select mode, template_args, text from '{}/nodes/*.parquet' where parent is null order by problem_id",
    )
    for mode, arguments, text in roots:
        assert json.loads(arguments) == {"enable_thinking": mode == "thinking"}
        assert text.endswith("=") is (mode == "plain"), "the template has read its argument"
    kept = "select mode, template_args, prompt_token_ids from '{}/kept/*.parquet'"
    assert all(
        json.loads(given) == {"enable_thinking": mode == "thinking"} for mode, given, _ in berry.query("runs/job", kept)
    )
    [(plain, thinking)] = berry.query(
        "runs/job",
        "select avg(n_tokens) filter (mode = 'plain'), avg(n_tokens) filter (mode = 'thinking') "
        "from '{}/trajectories/*.parquet'",
    )
    assert plain < thinking
    code, out = berry.run("inspect", "runs/job")
    assert code == 0, out
    assert "thinking" in out
    assert "pass@k" in out
    assert "@1 " in out
    code, out = berry.run("export", "runs/job", "--format", "sft", "--tokens", "--mode", "thinking", "-o", "data")
    assert code == 0, out
    code, out = berry.run("eval", "runs/job")
    assert code == 2
    assert "--mode NAME" in out


SCORES = "select problem_id || '/' || node, mode, prm from '{}/nodes/*.parquet' where parent is not null order by 1"


@pytest.mark.slow
def test_modes_are_scored_by_reward_models_of_their_own_whose_weights_are_pushed_apart(
    berry: Any, until: Callable[..., None], value_model: Callable[..., str], tmp_path: Path
) -> None:
    """What each scored is held against runs that one of the models scored alone."""
    first, second = (
        value_model(tmp_path / f"prm-{name}", f"v-{name}", seed) for name, seed in (("first", 1), ("second", 2))
    )
    modes = [{"name": name, "all": True, "policy": {"type": "best_of_n", "n": 4}} for name in ("gentle", "strict")]
    problems = [{"type": "synthetic", "count": 24, "seed": 3}]
    raw = {"problems": problems, "storage": {"lease_problems": 2, "compact": False}}
    alone = {}
    for name, model in (("first", first), ("second", second)):
        rewards = {"prm": {"model": model, "backend": "transformers"}}
        config = berry.config(engine={"type": "synthetic"}, rollout={"modes": modes}, rewards=rewards, **raw)
        code, out = berry.run("run", str(config), "--local", "--run", name)
        assert code == 0, out
        alone[name] = {node: score for node, _, score in berry.query(name, SCORES)}
    models = {
        "gentle": {"what": "prm", "model": first, "backend": "transformers"},
        "strict": {"what": "prm", "model": second, "backend": "transformers"},
    }
    named = [{**mode, "prm": mode["name"]} for mode in modes]
    slow = {"type": "synthetic", "tokens_per_s": 40, "max_num_seqs": 16}
    config = berry.config(engine=slow, rollout={"modes": named}, rewards={"models": models}, **raw)
    process = berry.start("run", str(config), "--local")
    commits = berry.folder / "runs/job/round=0/trajectories"
    until(lambda: any(commits.glob("shard-*.parquet")) or process.poll() is not None, what="a committed lease")
    push = ("weights", "push", "runs/job", second, "--what", "prm", "--version", "pushed", "--name")
    code, out = berry.run(*push, "gentle")
    assert code == 0, out
    out = process.communicate(timeout=100)[0]
    assert process.returncode == 0, out
    by_mode: dict[str, set[str]] = {"gentle": set(), "strict": set()}
    rows = berry.query("runs/job", SCORES)
    assert len(rows) == len(alone["first"])
    for node, mode, score in rows:
        by = {name for name, scores in alone.items() if scores[node] == pytest.approx(score, abs=1e-5)}
        assert by, (node, mode, score)
        by_mode[mode] |= by if len(by) == 1 else set()
    assert by_mode == {"gentle": {"first", "second"}, "strict": {"second"}}
    marks = [
        json.loads(pq.read_schema(shard).metadata[b"berry.rewards"]) for shard in sorted(commits.glob("*.parquet"))
    ]
    assert {its["strict"] for its in marks} == {"v-second"}
    assert {its["gentle"] for its in marks} == {"v-first", "pushed"}
    code, out = berry.run("weights", "show", "runs/job")
    assert "gentle     pushed" in out
    assert "strict     as configured" in out
    code, out = berry.run("weights", "push", "runs/job", second, "--what", "prm")
    assert (code, "--name is missing" in out, "gentle, strict" in out) == (2, True, True), out
    code, out = berry.run(*push, "gentl")
    assert (code, "has no prm of this name (gentle, strict)" in out) == (2, True), out
