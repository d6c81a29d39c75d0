"""`berry plan` plans each mode by its own settings and sums them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from berry.pipeline.cli.plan import build
from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import ConfigError
from berry.pipeline.planning.modes import workloads
from berry.pipeline.report.plan_page import write_page

RAW = {
    "name": "modes",
    "problems": [{"type": "synthetic", "count": 400, "seed": 3}],
    "engine": {"type": "synthetic", "tokens_per_s": 2000, "max_num_seqs": 64},
    "rollout": {
        "policy": {"type": "best_of_n", "n": 8},
        "sampling": {"max_tokens": 512},
        "modes": [
            {"name": "long", "share": 0.25},
            {"name": "short", "share": 0.75, "sampling": {"max_tokens": 64}, "policy": {"type": "best_of_n", "n": 2}},
        ],
    },
}


def test_a_mode_has_the_problems_and_the_lengths_of_its_own() -> None:
    long, short = workloads(RunConfig.model_validate(RAW))
    assert (long.mode, short.mode) == ("long", "short")
    assert long.workload.problems + short.workload.problems == 400
    assert long.workload.problems == pytest.approx(100, abs=25)
    assert (long.workload.output_tokens, short.workload.output_tokens) == (256, 32)


def test_where_all_problems_are_searched_in_all_modes_each_has_all_of_them() -> None:
    modes = [{"name": "a", "all": True}, {"name": "b", "all": True}]
    both = workloads(RunConfig.model_validate({**RAW, "rollout": {"modes": modes}}))
    assert [one.workload.problems for one in both] == [400, 400]


def test_the_sum_is_what_the_modes_come_to(tmp_path: Path) -> None:
    path = tmp_path / "modes.yaml"
    path.write_text(yaml.safe_dump(RAW))
    report = build(str(path), [], ["local"], prices=None, run=None)
    ((cluster, total),) = report.sums
    assert report.headings == ["local: long", "local: short"]
    assert cluster == "local"
    assert total.trajectories == sum(p.totals.trajectories for p in report.plans)
    assert total.trajectories == 8 * report.plans[0].workload.problems + 2 * report.plans[1].workload.problems
    assert total.hours == pytest.approx(sum(p.totals.hours for p in report.plans))
    assert [heading for heading, _ in report.columns][-1] == "local: all modes"
    assert any("assumed of mode short" in note for note in report.notes)
    write_page(report, "<svg></svg>", tmp_path / "plan.html")
    assert "local: all modes" in (tmp_path / "plan.html").read_text()
    with pytest.raises(ConfigError, match="--calibrate runs/x"):
        build(str(path), [], ["local"], prices=None, run="runs/x")
