"""Solved problems a dollar of a small model, a large one, and both: `python -P tests/benchmarks/escalate.py`.

    small     as many answers a problem as it takes to solve what the others solve
    large     four answers a problem
    escalate  four of the small one; four of the large one where none of them passes
    plan      `berry plan` of the third, with lengths and pass rates of a pilot of 100 problems, beside the measured

Engines are SYNTHETIC and paced: the small one has 64 sequences for $1 an hour, the large one 20 for $3; searches,
checks, leases and storage are real. Dollars are those of every node of a run's cluster for as long as it ran, idle or
not. All three have to solve nearly all problems: with no such demand the cheaper model alone, which stops where
problems get hard for it, always solves more a dollar than it does together with a dearer one.
Targets: 1.5 times the solved problems a dollar of either alone, the plan within 15%.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from berry.pipeline.cli.plan import build
from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.planning.runs import intraclass_correlation
from berry.pipeline.runtime.display import View
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.driver.run import run
from berry.pipeline.storage.run.directory import open_run
from berry.pipeline.storage.run.duckdb_views import connect

PACE = 100.0  # tokens/s of a running sequence
ENGINES: dict[str, dict[str, Any]] = {
    "small": {"error_rate": [0.0, 0.6], "max_num_seqs": 64, "role": {"cpus": 0.5, "labels": {"kind": "cheap"}}},
    "large": {"error_rate": [0.0, 0.1], "max_num_seqs": 20, "role": {"cpus": 0.5, "labels": {"kind": "dear"}}},
}
NODES = {
    "small": {"cores": 1, "usd_per_hour": 1.0, "labels": {"kind": "cheap"}},
    "large": {"cores": 1, "usd_per_hour": 3.0, "labels": {"kind": "dear"}},
}
WORTH_TARGET, PLAN_TARGET = 1.5, 0.15


class Quiet:
    def phase(self, text: str) -> None: ...

    def update(self, view: View) -> None: ...

    def note(self, text: str) -> None: ...


def config(names: Sequence[str], *, problems: int, answers: int, seed: int) -> dict[str, Any]:
    """A run on these engines, one after the other."""
    routing = {"type": "escalate", "order": list(names)} if len(names) > 1 else None
    return {
        "name": "-".join(names),
        "seed": 1,
        "problems": [{"type": "synthetic", "count": problems, "seed": seed}],
        "engines": {name: {"type": "synthetic", "tokens_per_s": PACE, **ENGINES[name]} for name in names},
        "routing": routing,
        "rollout": {"policy": {"type": "best_of_n", "n": answers}, "step": {"type": "delimiter", "delimiters": ["\n"]}},
        "cluster": {
            "name": "priced",
            "nodes": {name: NODES[name] for name in names},
            "roles": {"sandbox": {"cpus": 0.5, "slots": 4, "max": 1}},
        },
        "storage": {"lease_problems": 4},
        "report": False,
    }


def measured(place: Path, raw: dict[str, Any]) -> tuple[float, float, float]:
    """Runs it; returns the share of its problems that were solved, its hours, and problems solved a dollar."""
    loaded = validate(raw, RunConfig, where="benchmark")
    outcome = run(loaded, Launch(str(place), local=True), Quiet())
    assert outcome.finished
    hours = outcome.figures["wall_s"] / 3600
    query = "select count(distinct coalesce(variant_of, problem_id)) filter (verdict = 'pass') from trajectories"
    row = connect(open_run(str(place))).execute(query).fetchone()
    assert row is not None
    usd = hours * sum(node.usd_per_hour or 0.0 for node in loaded.cluster.nodes.values())
    return row[0] / raw["problems"][0]["count"], hours, row[0] / usd


def seen_by_mode(place: Path) -> list[str]:
    """What a pilot says of each mode, as overrides of a plan."""
    rows = connect(open_run(str(place))).execute(
        "select mode, problem_id, list(cast(verdict = 'pass' as double)), avg(n_tokens) from trajectories group by 1, 2"
    )
    by_mode: dict[str, list[tuple[list[float], float]]] = {}
    for mode, _, passed, tokens in rows.fetchall():
        by_mode.setdefault(mode, []).append((passed, tokens))
    overrides = []
    for mode, its in by_mode.items():
        alike = intraclass_correlation([passed for passed, _ in its])
        rate = fmean(fmean(passed) for passed, _ in its)
        figures = {"output_tokens": fmean(tokens for _, tokens in its), "pass_rate": rate, "pass_rate_alike": alike}
        overrides += [f"workload.{mode}.{key}={value}" for key, value in figures.items() if value is not None]
    return overrides


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=800, help="of escalate; a quarter of them of either alone")
    parser.add_argument("--answers", type=int, default=64, help="of the small model alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base, few = Path(folder), options.problems // 4
        print(f"{'':10} {'problems':>9} {'solved':>7} {'minutes':>8} {'solved a $':>11}")

        def one(name: str, raw: dict[str, Any]) -> tuple[float, float, float]:
            found = measured(base / name, raw)
            count = raw["problems"][0]["count"]
            print(f"{name:10} {count:9,} {found[0]:7.1%} {60 * found[1]:8.2f} {found[2]:11,.0f}", flush=True)
            return found

        both = ("small", "large")
        one("pilot", config(both, problems=100, answers=4, seed=6))
        _, hours, worth = one("escalate", raw := config(both, problems=options.problems, answers=4, seed=5))
        alone = one("large", config(("large",), problems=few, answers=4, seed=5))[2]
        best = max(alone, one("small", config(("small",), problems=few // 2, answers=options.answers, seed=5))[2])
        (base / "plan.yaml").write_text(yaml.safe_dump(raw))
        overrides = ["workload.prompt_tokens=110", *seen_by_mode(base / "pilot")]
        report = build(str(base / "plan.yaml"), overrides, [], prices=None, run=None)
        ((_, total),) = report.sums
        assert total.usd is not None
        assert total.solved is not None
        told, share = total.solved / total.usd, total.solved / options.problems
        print(f"{'plan':10} {options.problems:9,} {share:7.1%} {60 * total.hours:8.2f} {told:11,.0f}")
        print(f"{'':10} {total.binds} binds")
        off, off_hours = told / worth - 1, total.hours / hours - 1
        print(f"escalate over the better one alone: {worth / best:.2f} × (target {WORTH_TARGET})")
        print(f"plan over measured: {off:+.1%} solved a dollar, {off_hours:+.1%} time (target {PLAN_TARGET:.0%})")


if __name__ == "__main__":
    main()
