"""Runs a sweep: its runs one after the other, on this cluster; it can be resumed after any of them.

    settings × repeats ─► (measured already?) ─► driver.run ─► Point ─► OUT/sweep.parquet, whole, after every run

The same seeded work under every setting, and only the steady state counts. Repeats go round the settings rather than
following each other, so that a disturbance of the host does not hit all runs of one setting. A run that was
interrupted is measured again from its beginning: two halves of a run have no steady state.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.placement import place_actors
from berry.pipeline.errors import ConfigError
from berry.pipeline.planning import sweep_file, totals
from berry.pipeline.planning.sheets import Prices
from berry.pipeline.planning.sweeps import Point, Setting, place_on_axis
from berry.pipeline.runtime.display import Display
from berry.pipeline.runtime.driver.outcome import Launch, RunOutcome
from berry.pipeline.runtime.driver.run import run
from berry.pipeline.storage.files import Location

DISTURBED_CORES = 0.2  # taken by other programs, from which on a run counts as disturbed


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is run: `config_of` a setting is the sweep's own configuration with the setting's values."""

    config: RunConfig
    config_of: Callable[[Setting], RunConfig]
    settings: Sequence[Setting]
    repeats: int
    measure_s: float
    prices: Prices | None
    address: str | None = None
    local: bool = False


def run_all(sweep: Sweep, location: Location, display: Display) -> tuple[list[Point], bool]:
    """Measures every point that is not measured yet; returns all points, and False if it was interrupted. Raises
    ConfigError and what a run raises."""
    points, stored = sweep_file.read(location)
    sweep_file.refuse_another(stored, sweep.config, sweep.measure_s, location.url)
    configs = {s: sweep.config_of(s) for s in sweep.settings}  # all are checked before the first is run
    for config in configs.values():
        place_actors(config.cluster, config.engine_roles)
    shared = sweep_file.shared_of(sweep.config, sweep.measure_s)
    done = {(p.setting, p.repeat) for p in points}
    for repeat in range(sweep.repeats):
        for setting in sweep.settings:
            if (setting.name, repeat) in done:
                continue
            folder = f"runs/{setting.slug}-r{repeat}"
            location.remove_folder(folder)
            display.note(f"{setting.name}, run {repeat + 1} of {sweep.repeats}")
            run_dir = location.path(folder) if location.is_local else location.show(folder)
            launch = Launch(run_dir, address=sweep.address, local=sweep.local, measure_s=sweep.measure_s)
            outcome = run(configs[setting], launch, display)
            point = _point(sweep, setting, configs[setting], outcome, folder, repeat)
            if point is None:
                return points, False
            points.append(point)
            sweep_file.write(location, points, shared)
            elsewhere = json.loads(point.figures)["steady"]["elsewhere_cores"]
            if elsewhere is not None and elsewhere > DISTURBED_CORES:
                display.note(f"  DISTURBED: other programs took {elsewhere:.2f} cores meanwhile")
            calls = "" if point.call_wait_ms is None else f", tool calls {point.call_wait_ms:,.0f} ms"
            display.note(
                f"  {point.trajectories_per_s:,.1f} trajectories/s over {point.end_s - point.start_s:.1f} s, "
                f"engines {point.engine_idle_share:.0%} idle, checks wait {point.check_wait_ms:,.0f} ms{calls}"
            )
    wanted = {(s.name, r) for s in sweep.settings for r in range(sweep.repeats)}
    return [p for p in points if (p.setting, p.repeat) in wanted], True


def _point(
    sweep: Sweep, setting: Setting, config: RunConfig, outcome: RunOutcome, folder: str, repeat: int
) -> Point | None:
    """None when the run was interrupted. Raises ConfigError when there was too little work to measure."""
    figures = outcome.figures
    steady = figures.get("steady")
    lasted = 0.0 if steady is None else steady["end_s"] - steady["start_s"]
    if not outcome.finished and lasted < sweep.measure_s:
        return None
    if steady is None or not steady["trajectories"]:
        raise ConfigError(
            f"{setting.name}: all problems were done before a steady state was reached: give more of them "
            f"(problems.0.count=…), or fewer at once (rollout.problems_in_flight=…)"
        )
    placed = place_actors(config.cluster, config.engine_roles)
    kept = (figures.get("kept_share") or 0.0) * steady["trajectories_per_s"] * 3600
    usd = totals.usd_per_hour(config.cluster, sweep.prices)
    return Point(
        setting=setting.name,
        series=Setting(setting.values[1:]).name,
        x=place_on_axis(setting, sweep.settings),
        repeat=repeat,
        ratio=placed.slots_per_gpu,
        slots=placed.sandbox.total_slots,
        start_s=steady["start_s"],
        end_s=steady["end_s"],
        trajectories=steady["trajectories"],
        trajectories_per_s=steady["trajectories_per_s"],
        tokens_per_s=steady["tokens_per_s"],
        engine_idle_share=steady["engine_idle_share"],
        check_wait_ms=steady["check_wait_ms"] or 0.0,
        check_mean_ms=steady["check_mean_ms"] or 0.0,
        check_p99_ms=steady["check_p99_ms"] or 0.0,
        cpu_ms=steady["cpu_ms"] or 0.0,
        cores_busy=(steady["cpu_ms"] or 0.0) / 1e3 * steady["trajectories_per_s"] / placed.cores,
        kept_share=figures.get("kept_share") or 0.0,
        kept_per_hour=kept,
        usd_per_million_kept=usd / kept * 1e6 if usd is not None and kept else None,
        synthetic=any(one.engine.type == "synthetic" for one in config.each_engine.values()),
        run=folder,
        overrides=json.dumps(setting.overrides),
        figures=json.dumps(figures),
        call_wait_ms=steady.get("call_wait_ms"),
    )
