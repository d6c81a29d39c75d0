"""`berry eval`: from a stored run, from runs that it makes, resumed, compared; what it refuses in words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from berry.pipeline.cli import main

RUN: dict[str, Any] = {
    "problems": [{"type": "synthetic", "count": 24, "seed": 3}],
    "engine": {"type": "synthetic"},
    "rollout": {"step": {"type": "delimiter", "delimiters": ["\n"]}},
}


def berry(*words: str | Path, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("sys.argv", ["berry", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    search = {"name": "fixed", "budget": 4, "rollout": {"policy": {"type": "fixed", "branching": [2, 2]}}}
    path.write_text(yaml.safe_dump({"run": RUN, "samples": 16, "searches": [search]}))
    return path


def points(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "eval.parquet").to_pylist()


@pytest.mark.slow
def test_runs_are_made_once_and_all_four_files_written(
    evaluation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    assert berry("eval", evaluation, "--local", "--out", out, monkeypatch=monkeypatch) == 0
    first = points(out)
    assert {p["method"] for p in first} >= {"pass@1", "pass@k", "majority", "fixed, majority", "fixed, any"}
    assert {p["budget"] for p in first if p["method"] == "majority"} == {1, 2, 4, 8, 16}
    assert (out / "eval.png").read_bytes()[:4] == b"\x89PNG"
    page = (out / "eval.html").read_text()
    assert page.count("<svg") == 2, (
        "a picture of samples and one of searches, which stand below each other where it is narrow"
    )
    assert "<td>fixed, majority</td>" in page
    assert "are set in <code>rewards</code> of" in page
    assert "TFLOP" not in page, "no column of what nothing is known of"
    assert "http" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    ).replace("https://matplotlib.org", "")
    assert "| majority |" in (out / "eval.md").read_text()
    assert "points a doubling" in capsys.readouterr().out
    assert berry("eval", evaluation, "--local", "--out", out, monkeypatch=monkeypatch) == 0
    assert points(out) == first
    assert "nothing to do" in capsys.readouterr().err


@pytest.mark.slow
def test_subsampled_curves_equal_fresh_runs_within_their_intervals(
    evaluation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    assert berry("eval", evaluation, "searches=[]", "--local", "--out", out, monkeypatch=monkeypatch) == 0
    words = ("searches=[]", "samples=4", "run.seed=99", "--local", "--out", fresh)
    assert berry("eval", evaluation, *words, monkeypatch=monkeypatch) == 0
    many = {(p["method"], p["budget"]): p for p in points(out) if p["difficulty"] == "all"}
    for p in points(fresh):
        if p["difficulty"] == "all" and not p["method"].startswith("G-Pass"):
            told = many[p["method"], p["budget"]]
            spread = (told["high"] - told["low"] + p["high"] - p["low"]) / 2
            assert abs(told["accuracy"] - p["accuracy"]) <= spread


@pytest.mark.slow
def test_a_stored_run_is_evaluated_and_compared(
    evaluation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    assert berry("eval", evaluation, "--local", "--out", out, monkeypatch=monkeypatch) == 0
    chains = out / "runs" / "chains"
    capsys.readouterr()
    assert berry("eval", chains, "--budgets", "1,4,64", "--compare", chains, monkeypatch=monkeypatch) == 0
    told = capsys.readouterr().out
    assert "64 samples are not drawn: 24 of 24 problems have fewer than 64 checked chains" in told
    assert "majority at 4: +0.0 (+0.0 to +0.0), p 1.000" in told
    assert {p["budget"] for p in points(chains / "eval") if p["method"] == "majority"} == {1, 4}


@pytest.mark.slow
def test_benchmarks_are_problem_files_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("sums", "products"):
        rows = [
            {"id": f"{name}-{i}", "prompt": f"{i}+1?", "verifier": {"type": "math", "answer": str(i + 1)}}
            for i in range(3)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = tmp_path / "two.yaml"
    wanted = {"run": RUN, "samples": 2, "benchmarks": {n: {"path": f"{n}.jsonl"} for n in ("sums", "products")}}
    path.write_text(yaml.safe_dump(wanted))
    out = tmp_path / "out"
    assert berry("eval", path, "benchmarks.sums.limit=2", "--local", "--out", out, monkeypatch=monkeypatch) == 0
    assert {(p["benchmark"], p["problems"]) for p in points(out) if p["difficulty"] == "all"} == {
        ("sums", 2),
        ("products", 3),
    }
    again = ("--benchmark", f"mine={tmp_path / 'sums.jsonl'}", "--out", tmp_path / "mine")
    assert berry("eval", out / "runs" / "chains", *again, monkeypatch=monkeypatch) == 0
    assert {p["benchmark"] for p in points(tmp_path / "mine")} == {"mine"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["searches.0.budget=0"], "searches.0.budget"),
        (["budgets=[64]"], "budgets: 64 is more than samples 16"),
        (["run.rounds=3"], "run.rounds: an evaluation measures one set of weights"),
        (["searches.0.rollout.policy.type=fixd"], "fixd"),
        (["benchmarks.x={path: nowhere.jsonl}"], "nowhere.jsonl"),
        (["benchmarks.x={path: nowhere.jsonl, dataset: gms8k}"], "gms8k"),
        (["--budgets", "1,x"], "--budgets '1,x': whole numbers"),
        (["--compare", "elsewhere"], "--compare is for a RUN"),
    ],
)
def test_bad_input_is_told_before_anything_runs(
    words: list[str],
    message: str,
    evaluation: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    out = tmp_path / "out"
    assert berry("eval", evaluation, *words, "--local", "--out", out, monkeypatch=monkeypatch) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (out / "runs").exists()


def test_what_a_run_does_not_hold_is_told(
    evaluation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    assert berry("eval", evaluation, "searches=[]", "samples=2", "--local", "--out", out, monkeypatch=monkeypatch) == 0
    chains = out / "runs" / "chains"
    assert berry("eval", chains, "--round", "3", monkeypatch=monkeypatch) == 2
    assert "--round 3: the run has the rounds 0" in capsys.readouterr().err
    assert berry("eval", chains, "seed=2", monkeypatch=monkeypatch) == 2
    assert "a run is as it is stored" in capsys.readouterr().err
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"id": "x", "prompt": "?", "verifier": {"type": "math", "answer": "1"}}) + "\n")
    assert berry("eval", chains, "--benchmark", other, monkeypatch=monkeypatch) == 2
    assert "ids in the file and in the run must be equal" in " ".join(capsys.readouterr().err.split())
