"""`berry run` and `berry export` leave out what overlaps with evaluation sets, and say what they screened."""

from __future__ import annotations

import json
from typing import Any

import pytest

from berry.pipeline.config.sections.problems import SyntheticProblems
from berry.pipeline.stages.problems.sources import iter_problems

SOURCE = {"type": "synthetic", "count": 12, "seed": 3}


@pytest.mark.slow
def test_a_run_and_its_exports_hold_no_evaluation_problem(berry: Any) -> None:
    problems = list(iter_problems([SyntheticProblems.model_validate(SOURCE)]))
    for name, problem in (("run.jsonl", problems[0]), ("export.jsonl", problems[1])):
        (berry.folder / name).write_text(json.dumps({"prompt": problem.text}) + "\n")
    config = str(berry.config(problems=[SOURCE], screening={"files": ["run.jsonl"], "overlap": 0.9}))
    code, out = berry.run("run", config, "--local")
    assert code == 0, out
    told = "12 problems against evaluation items (1 of run.jsonl): 1 overlap and were left out"
    assert out.count(told) == 2, out  # as it begins, and in the summary
    ids = "select distinct problem_id from '{}/trajectories/*.parquet'"
    assert {row[0] for row in berry.query("runs/job", ids)} == {p.id for p in problems[1:]}
    versions = json.loads((berry.folder / "runs/job/versions.json").read_text())
    assert list(versions["screening"]["overlapping"]) == [problems[0].id]

    code, out = berry.run("export", "runs/job", "--format", "rl", "--heldout", "0", "--as", "jsonl", "-o", "out",
                          "--screen", "export.jsonl")  # fmt: skip
    assert code == 0, out
    assert "screened: 11 problems against evaluation items (1 of export.jsonl): 1 overlap and were left out" in out
    assert f"screened by the run: {told}" in out
    assert len((berry.folder / "out/train.jsonl").read_text().splitlines()) == 10
    screening = json.loads((berry.folder / "out/manifest.json").read_text())["screening"]
    assert list(screening["run"]["overlapping"]) == [problems[0].id]
    assert list(screening["export"]["overlapping"]) == [problems[1].id]
