"""The forward-to-backward ratio of a round, from what its driver and its training have counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.report.passes import pass_lines
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.run.directory import RunDir


def _run(folder: Path, figures: dict[str, Any] | None, learned: dict[str, Any] | None) -> RunDir:
    (folder / "round=0").mkdir(parents=True)
    run = RunDir(locate(folder))
    if learned is not None:
        run.location.put("round=0/learned.json", json.dumps(learned).encode())
    if figures is not None:
        run.write_metrics("round-0", figures)
    return run


PASSES = {"policy": {"trained": 400, "reference": 100}, "prm": {"trained": 600, "reference": 0}}
FORWARD = {"forward_tokens": {"engines": 9000, "prm": 2500, "orm": 400}, "other_problems": 0}


def test_everything_that_was_read_counts_over_what_was_trained(tmp_path: Path) -> None:
    [line] = pass_lines(_run(tmp_path / "r", FORWARD, {"passes": PASSES}))
    assert (line.engines, line.reward_models, line.references, line.trained) == (9000, 2900, 100, 1000)
    assert line.forward_a_backward == pytest.approx((9000 + 2900 + 100 + 1000) / 1000)


def test_a_round_of_which_another_driver_made_a_part_has_no_ratio(tmp_path: Path) -> None:
    [line] = pass_lines(_run(tmp_path / "r", {**FORWARD, "other_problems": 3}, {"passes": PASSES}))
    assert (line.engines, line.reward_models, line.forward_a_backward) == (None, None, None)
    assert line.trained == 1000


@pytest.mark.parametrize("learned", [None, {"notes": []}, {"passes": {}}])
def test_a_round_that_nothing_was_trained_on_has_no_line(tmp_path: Path, learned: dict[str, Any] | None) -> None:
    assert pass_lines(_run(tmp_path / "r", FORWARD, learned)) == []


def test_figures_of_an_earlier_version_have_no_ratio(tmp_path: Path) -> None:
    [line] = pass_lines(_run(tmp_path / "r", {"generated_tokens": 5}, {"passes": PASSES}))
    assert line.forward_a_backward is None
