"""`berry plan` of several engines: who gets how many problems, which engine binds, and what is solved a dollar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from berry.pipeline.cli.plan import build
from berry.pipeline.planning.formulas.passing import share_passing_at_most

RAW: dict[str, Any] = {
    "name": "two",
    "problems": [{"type": "synthetic", "count": 400, "seed": 3}],
    "engines": {
        "small": {"type": "synthetic", "tokens_per_s": 100, "max_num_seqs": 64, "role": {"labels": {"kind": "cheap"}}},
        "large": {"type": "synthetic", "tokens_per_s": 100, "max_num_seqs": 16, "role": {"labels": {"kind": "dear"}}},
    },
    "routing": {"type": "escalate", "order": ["small", "large"]},
    "rollout": {"policy": {"type": "best_of_n", "n": 4}, "sampling": {"max_tokens": 256}},
    "cluster": {
        "name": "priced",
        "nodes": {
            "cheap": {"cores": 2, "usd_per_hour": 1.0, "labels": {"kind": "cheap"}},
            "dear": {"cores": 2, "usd_per_hour": 3.0, "labels": {"kind": "dear"}},
        },
        "roles": {"sandbox": {"cpus": 1, "slots": 8}},
    },
}
RATES = ["workload.pass_rate_alike=0.0", "workload.small.pass_rate=0.3", "workload.large.pass_rate=0.5"]


@pytest.mark.parametrize(
    ("most", "rate", "alike", "share"),
    [
        (0, 0.3, 0.0, 0.7**4),
        (0, 0.3, 1.0, 0.7),
        (0, 0.0, 0.3, 1.0),
        (0, 1.0, 0.3, 0.0),
        (4, 0.3, 0.3, 1.0),
        (0, 0.5, 1 / 3, 1 / 5),  # a uniform pass rate: 0 to 4 of 4 are equally likely
        (1, 0.5, 1 / 3, 2 / 5),
    ],
)
def test_the_share_that_passes_seldom(most: int, rate: float, alike: float, share: float) -> None:
    assert share_passing_at_most(most, 4, rate, alike) == pytest.approx(share, abs=1e-6)


def plan_of(tmp_path: Path, *overrides: str, **changes: Any) -> Any:
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump({**RAW, **changes}))
    return build(str(path), [*RATES, *overrides], [], prices=None, run=None)


def test_what_the_first_never_solves_is_the_work_of_the_next(tmp_path: Path) -> None:
    report = plan_of(tmp_path)
    small, large = report.plans
    assert small.workload.problems == 400
    assert large.workload.problems == round(400 * 0.7**4)
    assert large.placement.rollout.actors == small.placement.rollout.actors == 1
    ((cluster, total),) = report.sums
    assert cluster == "priced"
    assert total.hours == pytest.approx(max(small.totals.hours, large.totals.hours))
    assert total.usd == pytest.approx(4.0 * total.hours)
    assert total.solved == pytest.approx(400 * (1 - 0.7**4) + 96 * (1 - 0.5**4), rel=1e-3)
    assert total.binds.startswith("small: ")
    columns = dict(report.columns)["priced: all engines"]
    assert "a dollar" in dict(columns)["run: problems solved"]


def test_a_slow_engine_binds_and_a_budget_bounds_what_it_gets(tmp_path: Path) -> None:
    slow = {**RAW["engines"], "large": {**RAW["engines"]["large"], "tokens_per_s": 10}}
    ((_, total),) = plan_of(tmp_path, engines=slow).sums
    assert total.binds.startswith("large: ")
    capped = plan_of(tmp_path, engines=slow, routing={**RAW["routing"], "max_problems": 10})
    assert capped.plans[1].workload.problems == 10
    ((_, total),) = capped.sums
    assert total.binds.startswith("small: ")
    assert total.solved == pytest.approx(400 * (1 - 0.7**4) + 10 * (1 - 0.5**4), rel=1e-3)


def test_sandboxes_that_all_share_bind_where_they_are_too_few(tmp_path: Path) -> None:
    check = {"cpu_ms": 1, "wait_ms": 400}
    ((_, total),) = plan_of(tmp_path, problems=[{"type": "synthetic", "count": 400, "seed": 3, "check": check}]).sums
    assert total.binds == "sandbox, which all engines share"
