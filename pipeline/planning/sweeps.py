"""Lays out the settings of a sweep, plans each, and finds where the knee is.

--vary KEY=a,b,c … ─► Setting (product, in order) ─► run ─► Point ─► Point with Expected (plan) ─► series ─► Knee
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from berry.pipeline.config.plan import Calibration
from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import ConfigError
from berry.pipeline.planning.capacity import CapacityPlan, plan
from berry.pipeline.planning.runs import Measured, measured_workload, workload_of
from berry.pipeline.planning.sheets import Prices

ENOUGH = 0.95  # of the best throughput: what a knee must reach


@dataclass(frozen=True, slots=True)
class Setting:
    """One combination of values: `values` by key, in the order they were given."""

    values: tuple[tuple[str, Any], ...]

    @property
    def overrides(self) -> list[str]:
        return [f"{key}={json.dumps(value)}" for key, value in self.values]

    @property
    def name(self) -> str:
        return ", ".join(f"{key.rpartition('.')[2]} {short(value)}" for key, value in self.values)

    @property
    def slug(self) -> str:
        """Makes a folder's name, which stays the same whatever else is varied."""
        text = json.dumps(self.values).encode()
        return f"{re.sub(r'[^A-Za-z0-9.]+', '-', self.name)[:60]}-{hashlib.blake2b(text, digest_size=3).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Expected:
    """What the plan says of a setting: rates a second, shares in [0, 1], waits in ms; `call_wait_ms` is None without
    tools."""

    trajectories_per_s: float
    tokens_per_s: float
    engine_idle_share: float
    check_wait_ms: float
    kept_per_hour: float
    usd_per_million_kept: float | None
    binding: str
    call_wait_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """One measured run of a setting; `ratio` is slots for each GPU (or engine), `call_wait_ms` None without tools."""

    setting: str
    series: str
    x: float
    repeat: int
    ratio: float
    slots: int
    start_s: float
    end_s: float
    trajectories: int
    trajectories_per_s: float
    tokens_per_s: float
    engine_idle_share: float
    check_wait_ms: float
    check_mean_ms: float
    check_p99_ms: float
    cpu_ms: float
    cores_busy: float
    kept_share: float
    kept_per_hour: float
    usd_per_million_kept: float | None
    synthetic: bool
    run: str
    overrides: str  # JSON
    figures: str  # JSON, all that metrics/run.json has
    call_wait_ms: float | None = None
    expected: Expected | None = field(default=None)

    @property
    def error(self) -> float | None:
        """Computes the error of the plan's throughput: 0.1 for 10% too high."""
        return None if self.expected is None else self.expected.trajectories_per_s / self.trajectories_per_s - 1


@dataclass(frozen=True, slots=True)
class Knee:
    """Where a series stops being worth more slots, and why; `x` is None where it does not."""

    series: str
    x: float | None
    reason: str


def parse_vary(texts: Sequence[str]) -> list[Setting]:
    """Combines all values of `KEY=a,b,c` options. Raises ConfigError."""
    axes: list[tuple[str, list[Any]]] = []
    for text in texts:
        key, separator, values = text.partition("=")
        if not separator or not key.strip() or not values.strip():
            raise ConfigError(f"--vary {text!r}: write KEY=a,b,c, for example cluster.ratio=1,2,4")
        try:
            parsed = yaml.safe_load(f"[{values}]")
        except yaml.YAMLError as error:
            raise ConfigError(f"--vary {text!r}: {values!r} is no list of YAML values: {error}") from error
        if any(value is None for value in parsed) or len({json.dumps(v) for v in parsed}) < len(parsed):
            raise ConfigError(f"--vary {text!r}: has an empty or repeated value; give each once")
        if key.strip() in [k for k, _ in axes]:
            raise ConfigError(f"--vary {text!r}: {key.strip()} is varied already; put all its values into one --vary")
        axes.append((key.strip(), parsed))
    if not axes:
        raise ConfigError("nothing to vary: give --vary KEY=a,b,c, for example --vary cluster.ratio=1,2,4")
    keys = [key for key, _ in axes]
    return [Setting(tuple(zip(keys, values, strict=True))) for values in itertools.product(*(v for _, v in axes))]


def place_on_axis(setting: Setting, settings: Sequence[Setting]) -> float:
    """Puts a setting on the axis: the first key's value where it is a number, else its index among the values."""
    names = categories(settings)
    first = setting.values[0][1]
    return float(names.index(short(first))) if names else float(first)


def categories(settings: Sequence[Setting]) -> list[str]:
    """Names the first key's values, where they are not numbers."""
    values = [s.values[0][1] for s in settings]
    if all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return []
    return list(dict.fromkeys(short(v) for v in values))


def short(value: Any) -> str:
    text = json.dumps(value).replace('"', "").replace("{", "").replace("}", "")
    return text if len(text) <= 40 else text[:37] + "..."


def planned(config: RunConfig, seen: Measured, calibration: Calibration, prices: Prices | None) -> CapacityPlan:
    """Plans a setting, with lengths and shares as a calibrating run measured them."""
    workload = measured_workload(workload_of(config, {"measured": seen.problems})[0], seen)
    return plan(workload, config.cluster, prices, calibration)


def expected(p: CapacityPlan) -> Expected:
    waits = {use.name: 1e3 * use.wait_s for use in p.uses}
    return Expected(
        trajectories_per_s=p.rate,
        tokens_per_s=p.tokens_per_s,
        engine_idle_share=p.gpu_idle_share,
        check_wait_ms=waits.get("sandbox", 0.0),
        call_wait_ms=waits.get("tool calls"),
        kept_per_hour=p.kept_per_hour,
        usd_per_million_kept=p.usd_per_million_kept,
        binding=p.binding.value,
    )


def in_series(points: Sequence[Point]) -> Mapping[str, Mapping[float, list[Point]]]:
    """Groups points by series and place on the axis, repeats together."""
    series: dict[str, dict[float, list[Point]]] = defaultdict(lambda: defaultdict(list))
    for point in sorted(points, key=lambda p: (p.series, p.x, p.repeat)):
        series[point.series][point.x].append(point)
    return series


def mean(points: Sequence[Point], name: str) -> float | None:
    values = [getattr(p, name) for p in points]
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def knees(points: Sequence[Point], axis: str) -> list[Knee]:
    return [_knee(series, by_x, axis) for series, by_x in in_series(points).items()]


def _knee(series: str, by_x: Mapping[float, list[Point]], axis: str) -> Knee:
    places = sorted(by_x)
    rates = [mean(by_x[x], "trajectories_per_s") or 0.0 for x in places]
    best = max(rates)
    at = next(i for i, rate in enumerate(rates) if rate >= ENOUGH * best)
    here = by_x[places[at]]
    idle, wait = mean(here, "engine_idle_share") or 0.0, mean(here, "check_wait_ms") or 0.0
    calls = mean(here, "call_wait_ms")
    calling = "" if calls is None else f", tool calls {calls:,.0f} ms"
    state = f"engines are idle for {idle:.0%} of their capacity and checks wait {wait:,.0f} ms for a slot{calling}"
    if len(places) == 1:
        return Knee(series, None, f"one value of {axis} only: nothing to compare it with")
    if at + 1 == len(places):
        gain = rates[at] / rates[at - 1] - 1
        why = f"the last step, to {places[at]:g}, still gained {gain:.0%}, and there {state}: try larger values"
        return Knee(series, None, f"no knee up to {axis} {places[at]:g}: {why}")
    parts = [f"{axis} {places[at]:g} gives {rates[at]:,.1f} trajectories/s, {rates[at] / best:.0%} of the best"]
    if at > 0:
        parts.append(f"{places[at - 1]:g} gives {rates[at - 1] / best:.0%}")
    parts.append(f"{places[-1]:g} gives {rates[-1] / best:.0%}")
    costs = [mean(by_x[x], "usd_per_million_kept") for x in places]
    cost = ""
    known = [(c, x) for c, x in zip(costs, places, strict=True) if c is not None and c > 0]
    if known:
        least, cheapest = min(known)
        cost = f". A kept trajectory is cheapest at {cheapest:g} (US$ {least:,.2f} a million)"
    binding = here[0].expected.binding if here[0].expected is not None else ""
    bound = f". By the plan {binding} binds there" if binding else ""
    return Knee(series, places[at], f"{'; '.join(parts)}. There {state}{bound}{cost}")
