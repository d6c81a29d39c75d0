"""Settings of a sweep, its knee, its file, and the machine whose cores everything shares."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from berry.pipeline.config.plan import Calibration
from berry.pipeline.config.reading.loading import load
from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import ConfigError
from berry.pipeline.planning import runs, sweep_file
from berry.pipeline.planning.capacity import Binding, plan
from berry.pipeline.planning.sweeps import Expected, Point, expected, knees, parse_vary, place_on_axis
from berry.pipeline.report.pictures.plots import as_svg
from berry.pipeline.report.pictures.sweep_plots import draw_sweep
from berry.pipeline.report.sweep_page import SweepReport, agreement, write_page
from berry.pipeline.storage.files import locate

ROOT = Path(__file__).resolve().parents[2]
SWEEP = ROOT / "configs" / "sweep.yaml"


def point(x: float, rate: float, *, series: str = "", repeat: int = 0, planned: float | None = None) -> Point:
    told = None
    if planned is not None:
        told = Expected(planned, planned * 90, 0.1, 5.0, planned * 1800, 2.0, "sandbox slots")
    return Point(
        setting=f"ratio {x:g}{series}",
        series=series,
        x=x,
        repeat=repeat,
        ratio=x,
        slots=int(x),
        start_s=1.0,
        end_s=9.0,
        trajectories=int(8 * rate),
        trajectories_per_s=rate,
        tokens_per_s=rate * 90,
        engine_idle_share=max(0.0, 1 - rate / 70),
        check_wait_ms=1000 / x,
        check_mean_ms=70,
        check_p99_ms=120,
        cpu_ms=20,
        cores_busy=0.01 * rate,
        kept_share=0.5,
        kept_per_hour=rate * 1800,
        usd_per_million_kept=100 / rate,
        synthetic=True,
        run="runs/000-r0",
        overrides="[]",
        figures="{}",
        expected=told,
    )


def test_vary_gives_every_combination_in_order() -> None:
    settings = parse_vary(["cluster.ratio=1,2.5", "problems.0.check={cpu_ms: 3},{cpu_ms: 4, wait_ms: 1}"])
    assert [s.name for s in settings] == [
        "ratio 1, check cpu_ms: 3",
        "ratio 1, check cpu_ms: 4, wait_ms: 1",
        "ratio 2.5, check cpu_ms: 3",
        "ratio 2.5, check cpu_ms: 4, wait_ms: 1",
    ]
    assert settings[3].overrides == ["cluster.ratio=2.5", 'problems.0.check={"cpu_ms": 4, "wait_ms": 1}']
    assert [place_on_axis(s, settings) for s in settings] == [1, 1, 2.5, 2.5]
    named = parse_vary(["cluster=local,hgx-h100"])
    assert [place_on_axis(s, named) for s in named] == [0, 1]


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ([], "nothing to vary"),
        (["cluster.ratio"], "KEY=a,b,c"),
        (["cluster.ratio="], "KEY=a,b,c"),
        (["a={1,2"], "no list of YAML values"),
        (["a=1,1"], "repeated"),
        (["a=1,,2"], "no list|empty"),
        (["a=1", "a=2"], "varied already"),
    ],
)
def test_what_can_not_be_varied_is_refused(texts: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_vary(texts)


def test_the_knee_is_the_first_value_that_gives_nearly_all() -> None:
    rates = {1: 15.0, 2: 30.0, 4: 60.0, 6: 69.0, 8: 70.0}
    (knee,) = knees([point(x, rate) for x, rate in rates.items()], "cluster.ratio")
    assert knee.x == 6
    assert "99% of the best" in knee.reason
    assert "4 gives 86%" in knee.reason
    assert "cheapest at 8" in knee.reason


def test_a_curve_that_still_rises_has_no_knee_and_one_value_is_no_curve() -> None:
    still, alone = knees([point(1, 10), point(2, 20), point(5, 9, series="b")], "cluster.ratio")
    assert still.x is None
    assert "no knee up to cluster.ratio 2: the last step, to 2, still gained 100%" in still.reason
    assert alone.x is None
    assert "one value" in alone.reason


def test_the_file_gives_points_back_and_refuses_another_sweep(tmp_path: Path) -> None:
    location = locate(tmp_path)
    config = load(SWEEP, [], RunConfig)
    assert sweep_file.read(location) == ([], {})
    points = [point(1, 10, planned=11), point(2, 20)]
    sweep_file.write(location, points, sweep_file.shared_of(config, 8))
    back, shared = sweep_file.read(location)
    assert back == [replace(p, expected=None) for p in points]
    sweep_file.refuse_another(shared, config, 8, "here")
    other = load(SWEEP, ["engine.max_num_seqs=8", "cluster.ratio=2"], RunConfig)
    with pytest.raises(ConfigError, match=r"(?s)engine\.max_num_seqs.*cluster\.ratio.*--seconds"):
        sweep_file.refuse_another(shared, other, 9, "here")


def test_pictures_and_page_stand_alone_and_are_labelled(tmp_path: Path) -> None:
    points = [point(x, 15.0 * x, series=s, planned=16.0 * x) for x in (1, 2, 4) for s in ("a", "b")]
    points.append(point(4, 58, series="a", repeat=1, planned=64))
    report = SweepReport("Sweep: t", "cluster.ratio", points, knees(points, "cluster.ratio"), ["a note"])
    figure = draw_sweep(points, title=report.title, axis=report.axis, knees=report.knees)
    throughput = figure.axes[0]
    told = [text.get_text() for text in throughput.texts]
    assert told.count("knee") == sum(knee.x is not None for knee in report.knees)
    assert [a.get_ylabel() for a in figure.axes][:2] == ["trajectories/s", "kept an hour (thousands)"]
    write_page(report, as_svg(figure), tmp_path / "sweep.html")
    page = (tmp_path / "sweep.html").read_text()
    assert "src=" not in page
    assert 'href="http' not in page
    assert "Synthetic engine" in page
    assert "+6.7%" in page
    assert agreement(points) is not None
    bare = [replace(p, expected=None, usd_per_million_kept=None) for p in points]
    draw_sweep(bare, title="t", axis="cluster", categories=["a", "b"])
    assert agreement(bare) is None


STEADY = {
    "trajectories_per_s": 40.0,
    "sequence_tokens_per_s": 198.0,
    "cpu_ms": 20.0,
    "worker_cpu_ms": 5.0,
    "slots": 4,
    "slot_ms": 90.0,
    "check_p99_ms": 180.0,
}


def seen(config: RunConfig) -> tuple[runs.Measured, Calibration]:
    measured = runs.Measured(
        problems=100,
        trajectories=400,
        prompt_tokens=30,
        output_tokens=90,
        output_scv=0.05,
        new_tokens=90,
        pass_rate=0.5,
        kept_share=0.5,
        verify_mean_ms=400,
        verify_p99_ms=900,
        wall_s=10,
        tokens_per_s=3600,
        occupancy=0.6,
        steady=STEADY,
    )
    workload = runs.measured_workload(runs.workload_of(config, {"x": 100})[0], measured)
    return measured, runs.calibrate(workload, config.cluster, measured, Calibration(), location="r")


def planned(ratio: float, *overrides: str) -> Expected:
    base = load(SWEEP, ["cluster.ratio=4"], RunConfig)
    measured, calibration = seen(base)
    config = load(SWEEP, [f"cluster.ratio={ratio}", *overrides], RunConfig)
    workload = runs.measured_workload(runs.workload_of(config, {"x": 100})[0], measured)
    return expected(plan(workload, config.cluster, None, calibration))


def test_one_run_sets_each_factor_from_its_own_figure() -> None:
    _, made = seen(load(SWEEP, ["cluster.ratio=4"], RunConfig))
    assert made.engine_scale == pytest.approx(0.99)
    assert made.orchestration_ms == 5
    assert made.cpu_overhead_ms == pytest.approx(5)  # 20 of all, less 5 of the worker and 10 that are stated
    assert 0 < made.verify_overhead_ms < 30  # of the 30 ms beyond what is stated, some are for sharing cores


def test_the_plan_goes_from_slots_that_bind_to_engines_that_do() -> None:
    rates = [planned(r).trajectories_per_s for r in (1, 2, 4, 8)]
    assert rates == sorted(rates)
    assert planned(4).trajectories_per_s == pytest.approx(4 / 0.090, rel=0.07)  # what it was calibrated with
    assert 1 / 0.090 < planned(1).trajectories_per_s < 1 / 0.070  # fewer checks share the cores
    slow = planned(8, "engine.tokens_per_s=50")
    assert slow.binding == Binding.PACE
    assert slow.trajectories_per_s == pytest.approx(32 * 50 * 0.99 / 90, rel=0.02)


def test_slots_beyond_the_cores_help_checks_that_compute_but_little() -> None:
    computing = ["problems.0.check={cpu_ms: 30}", "engine.tokens_per_s=1000"]
    few, many = planned(3, *computing), planned(8, *computing)
    assert many.trajectories_per_s < 2 / 0.040  # 30 + 5 + 5 ms of two cores
    assert many.trajectories_per_s / few.trajectories_per_s < 1.5  # for 2.7 times the slots


def test_overrides_survive_the_trip_through_json() -> None:
    (setting,) = parse_vary(["problems.0.check={cpu_ms: 25, p99_ms: 60}"])
    config = load(SWEEP, setting.overrides, RunConfig)
    assert json.loads(json.dumps(setting.overrides)) == setting.overrides
    assert config.problems[0].model_dump()["check"]["p99_ms"] == 60


def test_the_wait_of_tool_calls_is_told_where_there_are_any(tmp_path: Path) -> None:
    points = [replace(point(x, 10 * x), call_wait_ms=400 / x) for x in (1.0, 2.0)]
    (knee,) = knees(points, "cluster.ratio")
    assert "checks wait 500 ms for a slot, tool calls 200 ms" in knee.reason
    place = locate(tmp_path)
    sweep_file.write(place, points, {})
    assert sweep_file.read(place)[0] == points
    table = pq.read_table(tmp_path / sweep_file.NAME).drop_columns(["call_wait_ms", "expected_call_wait_ms"])
    pq.write_table(table, tmp_path / sweep_file.NAME)  # as an earlier version wrote it
    assert [one.call_wait_ms for one in sweep_file.read(place)[0]] == [None, None]
