"""A run's configuration and its results as input of the plan, and `berry plan` itself."""

from __future__ import annotations

import random
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer
from typer.testing import CliRunner

from berry.pipeline import schema
from berry.pipeline.cli.plan import plan as plan_command
from berry.pipeline.config import run as run_config
from berry.pipeline.config.reading.loading import load
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.cluster import named_cluster
from berry.pipeline.errors import ConfigError, StorageError
from berry.pipeline.planning import runs
from berry.pipeline.planning.capacity import verifier_service
from berry.pipeline.planning.formulas import queueing
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.parquet import shards
from berry.pipeline.storage.run.directory import RunDir, open_run

ROOT = Path(__file__).resolve().parents[2]
PLANS = ROOT / "configs" / "plans"
SYNTHETIC = """
problems: [{type: synthetic, count: 40}]
engine: {type: synthetic, tokens_per_s: 200, max_num_seqs: 16}
rollout: {policy: {type: best_of_n, n: 4}}
cluster: local
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "paced.yaml"
    path.write_text(SYNTHETIC)
    return path


@pytest.fixture
def finished(tmp_path: Path, config: Path) -> str:
    """A run of 40 problems × 4 trajectories of 100 tokens, half of them right, at 2,400 tokens/s."""
    place = str(tmp_path / "run")
    run = RunDir(locate(place))
    run.location.put("run.yaml", run_config.dump(load(config, [], RunConfig)).encode())
    columns = {
        "trajectory_id": [f"t{i}" for i in range(160)],
        "problem_id": [f"p{i // 4}" for i in range(160)],
        "verdict": ["pass" if i % 2 else "fail" for i in range(160)],
        "verify_ms": [5.0 + i % 3 for i in range(160)],
        "n_tokens": [100] * 160,
        "n_new_tokens": [100] * 160,
        "kept": [bool(i % 2) for i in range(160)],
    }
    rows = [{name: values[i] for name, values in columns.items()} for i in range(160)]
    tables = {name: [] for name in schema.TABLES} | {"trajectories": rows, "nodes": _trees()}
    shards.write(run.location, round_index=0, lease=0, tables=tables, metadata={})
    run.write_metrics("run", {"wall_s": 16000 / 2400, "tokens_per_s": 2400.0, "occupancy": 0.9})
    return place


def _trees() -> list[dict[str, Any]]:
    """Of each problem the root and four samples, of which the second and the fourth pass."""
    nodes: list[dict[str, Any]] = []
    for problem in range(40):
        of_all = {"problem_id": f"p{problem}", "value_kind": "estimate"}
        nodes.append({**of_all, "node": 0, "depth": 0, "sample": 0, "value": 0.5})
        for i in range(4):
            place = {"node": i + 1, "parent": 0, "depth": 1, "sample": i, "weight": 1.0}
            nodes.append({**of_all, **place, "value": float(i % 2)})
    return nodes


@pytest.fixture
def cli() -> typer.Typer:
    app = typer.Typer()
    app.command()(plan_command)
    return app


def test_a_runs_config_gives_the_workload_and_says_what_it_assumed(config: Path) -> None:
    workload, assumed = runs.workload_of(load(config, [], RunConfig))
    assert workload.problems == 40
    assert workload.paced is not None
    assert workload.paced.tokens_per_s == 200
    assert workload.max_num_seqs == 16
    assert any("half of rollout.sampling.max_tokens" in a for a in assumed)


def test_a_synthetic_engine_without_a_pace_can_not_be_planned(config: Path) -> None:
    loaded = load(config, ["engine.tokens_per_s=null"], RunConfig)
    with pytest.raises(ConfigError, match="tokens_per_s is not set"):
        runs.workload_of(loaded)


def test_a_finished_run_is_measured(finished: str) -> None:
    seen = runs.measure(open_run(finished))
    assert (seen.problems, seen.trajectories, seen.output_tokens) == (40, 160, 100)
    assert seen.pass_rate == 0.5
    assert seen.kept_share == 0.5
    assert seen.verify_mean_ms == pytest.approx(6, abs=0.1)


def test_a_runs_steps_and_spread_replace_what_was_assumed(finished: str, config: Path) -> None:
    seen = runs.measure(open_run(finished))
    assert seen.pass_rate_alike == 0  # each problem has two right and two wrong
    assert seen.output_within is None  # all have the same length
    assert seen.step_tokens is None  # nothing in the table of kept ones
    measured = runs.measured_workload(
        runs.workload_of(load(config, [], RunConfig))[0], runs.Measured(**{**asdict(seen), "step_tokens": 12.5})
    )
    assert (measured.step_tokens, measured.pass_rate_alike, measured.output_within) == (12.5, 0, 0.5)


def test_kinds_of_checks_that_a_run_tells_apart_are_taken_apart(finished: str, config: Path) -> None:
    seen = runs.measure(open_run(finished))
    kinds = {"math": {"trajectories": 80, "slot_ms": 2.0, "scv": 1.0, "slot_cpu_ms": 1.0}}
    kinds["python_function"] = {"trajectories": 80, "slot_ms": 30.0, "scv": 0.0, "slot_cpu_ms": 27.0}
    steady = {"check_kinds": kinds, "slot_ms": 16.0, "check_p99_ms": 100.0}
    seen = runs.Measured(**{**asdict(seen), "steady": steady})
    loaded = load(config, [], RunConfig)
    mixed = runs.measured_workload(runs.workload_of(loaded, {"math": 3, "python_function": 1})[0], seen)
    math, code = mixed.verifiers
    assert (math.share, math.mean_ms, math.cpu_share) == (0.75, 2, 0.5)
    assert (code.share, code.mean_ms, code.p99_ms, code.cpu_share) == (0.25, 30, 30, pytest.approx(0.9))
    assert verifier_service(mixed, runs.Calibration()).mean_s == pytest.approx(0.009)
    assert queueing.lognormal_scv(2, math.p99_ms or 0) == pytest.approx(1)
    other = runs.workload_of(loaded, {"math": 1, "stdio": 1})[0]
    assert runs.not_seen(other, seen) == ["stdio"]
    assert runs.measured_workload(other, seen).verifiers[1] == other.verifiers[1], "stays assumed"


def test_trajectories_of_a_problem_are_alike_in_passing_as_counted_by_hand() -> None:
    assert runs.intraclass_correlation([[1, 1], [0, 0]]) == 1
    assert runs.intraclass_correlation([[1, 1, 0, 0], [1, 1, 0, 0]]) == 0
    # three of three, and one of three: products 1 and 0 within, 1/3 across, a mean of 2/3
    assert runs.intraclass_correlation([[1, 1, 1], [1, 0, 0]]) == pytest.approx((1 / 2 - 1 / 3) / (2 / 3 - 1 / 3))
    assert runs.intraclass_correlation([[1], [0]]) is None
    assert runs.intraclass_correlation([[1, 1, 1, 0]]) is None
    assert runs.intraclass_correlation([[1, 1], [1, 1]]) is None


@pytest.mark.parametrize("cut", [False, True])
def test_how_alike_they_are_is_found_from_many_problems_with_and_without_cuts(cut: bool) -> None:
    """Pass rates even in [0, 1]: p = 1/2, E[v²] = 1/3, and so rho = 1/3. A cut stops a chain in two, spares half."""
    chance = random.Random(1)
    chains = []
    for _ in range(20_000):
        rate = chance.random()
        weights = [chance.choice((0.0, 2.0)) if cut and chance.random() < 0.5 else 1.0 for _ in range(4)]
        chains.append([weight * (chance.random() < rate) for weight in weights])
    assert runs.intraclass_correlation(chains) == pytest.approx(1 / 3, abs=0.02)


def test_a_search_that_keeps_the_good_is_measured_by_its_unbiased_rates(finished: str, config: Path) -> None:
    """All leaves pass, since what would have failed was cut; with nothing spared no rate is known, and none is made
    up."""
    run = open_run(finished)
    passing = {"verdict": "pass", "verify_ms": 5.0, "n_tokens": 100, "n_new_tokens": 100, "kept": True}
    nodes = [{**node, "value_kind": "survivors"} for node in _trees()]
    rows = [{**passing, "trajectory_id": f"t{i}", "problem_id": f"p{i % 40}"} for i in range(80)]
    tables = {name: [] for name in schema.TABLES} | {"trajectories": rows, "nodes": nodes}
    shards.write(run.location, round_index=1, lease=0, tables=tables, metadata={})
    seen = runs.measure(run)
    assert (seen.pass_rate, seen.pass_rate_alike) == (None, None)
    assert seen.kept_share == pytest.approx((80 + 80) / (160 + 80))
    workload = runs.workload_of(load(config, [], RunConfig))[0]
    assert runs.measured_workload(workload, seen).pass_rate == workload.pass_rate, "stays assumed"


def test_what_a_trees_size_rests_on_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "beam.yaml"
    path.write_text(SYNTHETIC.replace("best_of_n, n: 4", "beam"))
    changes = ["rollout.budget.stop_after_correct=2", "rollout.sampling.max_tokens=64"]
    workload, assumed = runs.workload_of(load(path, changes, RunConfig))
    assert workload.step_tokens == 8
    assert any(a.startswith("steps of 8 tokens") for a in assumed)
    lasting = list(runs.never_measured(load(path, changes, RunConfig).rollout))
    assert any("scores that know right steps" in a for a in lasting)
    assert any("rollout.budget.stop_after_correct save nothing" in a for a in lasting)


@pytest.mark.parametrize("name", ["local", "hgx-h100", "gb200-nvl72", "trainium2", "workstation", "h100-cpu"])
def test_a_model_in_fp32_is_planned_on_every_shipped_cluster(name: str) -> None:
    loaded = load(ROOT / "configs" / "tiny.yaml", [], RunConfig)
    made = runs.plan(runs.workload_of(loaded)[0], named_cluster(name), None, runs.Calibration())
    assert 64 * 8 < made.totals.trajectories <= 64 * 16  # some answers end before they have branched three times


def test_a_calibrated_plan_takes_as_long_as_the_run_did(finished: str, config: Path) -> None:
    loaded = load(config, [], RunConfig)
    seen = runs.measure(open_run(finished))
    workload = runs.measured_workload(runs.workload_of(loaded)[0], seen)
    start = runs.Calibration()
    made = runs.calibrate(workload, loaded.cluster, seen, start, location=finished)
    assert made.source.startswith("run ")
    again = runs.plan(workload, loaded.cluster, None, made)
    assert seen.trajectories / again.rate + runs.fill_s(again) == pytest.approx(seen.wall_s, rel=0.01)


def test_a_run_without_results_can_not_calibrate(tmp_path: Path, config: Path) -> None:
    run = RunDir(locate(str(tmp_path / "empty")))
    run.location.put("run.yaml", run_config.dump(load(config, [], RunConfig)).encode())
    with pytest.raises(StorageError, match="no committed trajectories"):
        runs.measure(run)


@pytest.mark.slow
def test_the_command_compares_clusters_and_draws_them(cli: typer.Typer, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    result = CliRunner().invoke(cli, [str(PLANS / "code-only.yaml"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    for word in ("hgx-h100", "trainium2", "GPU idle share", "slots needed", "CPU nodes"):
        assert word in result.output
    assert (out / "plan.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "plan.html").read_text()
    assert "src=" not in page
    assert 'href="http' not in page
    svg = page[page.index("<svg") : page.index("</svg>") + 6]
    assert ElementTree.fromstring(svg).tag.endswith("svg")


def test_one_cluster_that_can_not_is_reported_beside_those_that_can(cli: typer.Typer) -> None:
    plan = str(PLANS / "math-only.yaml")
    words = [plan, "workload.model=llama-3.1-70b", "--cluster", "hgx-h100", "--cluster", "gb200-nvl72"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0, result.output
    assert "hgx-h100 can't do it" in result.output
    assert "at least 2 devices" in result.output


def test_a_plan_from_a_run_is_labelled_with_its_source(cli: typer.Typer, config: Path, finished: str) -> None:
    result = CliRunner().invoke(cli, [str(config), "--calibrate", finished])
    assert result.exit_code == 0, result.output
    assert "160 trajectories of 100 tokens" in result.output
    assert "synthetic" in result.output


def test_an_unknown_key_of_a_plan_is_refused(cli: typer.Typer) -> None:
    result = CliRunner().invoke(cli, [str(PLANS / "math-only.yaml"), "workload.promt_tokens=3"])
    assert isinstance(result.exception, ConfigError)
    assert "prompt_tokens" in str(result.exception)
