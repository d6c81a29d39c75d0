"""Writes a sweep as one self-contained HTML page and as rows of a table: what was measured, what the plan said, the
knees."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from berry.pipeline.planning.sweeps import Knee, Point, in_series, mean
from berry.pipeline.report.pages import fill

COLUMNS = (
    "setting", "runs", "trajectories/s", "plan", "plan is off by", "tokens/s", "kept/hour", "engines idle (plan)",
    "slots", "check (ms)", "wait (ms; plan)", "cores busy", "US$ a million kept", "binds, by the plan",
)  # fmt: skip


NARROW = (0, 2, 4, 7, 10, 12)  # of COLUMNS, what a terminal has room for


@dataclass(frozen=True, slots=True)
class SweepReport:
    """What a sweep found: a point a setting, where curves bend, and remarks."""

    title: str
    axis: str
    points: Sequence[Point]
    knees: Sequence[Knee]
    notes: Sequence[str]

    @property
    def synthetic(self) -> bool:
        """Whether any point is of the synthetic engine, which is no model."""
        return any(p.synthetic for p in self.points)


def rows(points: Sequence[Point]) -> list[list[str]]:
    """Makes a row of text for each setting, repeats averaged."""
    return [_row(here) for by_x in in_series(points).values() for here in by_x.values()]


def _row(here: Sequence[Point]) -> list[str]:
    first, expected = here[0], here[0].expected
    speed = mean(here, "trajectories_per_s") or 0.0
    cost = mean(here, "usd_per_million_kept")
    return [
        first.setting,
        str(len(here)),
        f"{speed:,.1f}",
        "" if expected is None else f"{expected.trajectories_per_s:,.1f}",
        "" if expected is None else f"{expected.trajectories_per_s / speed - 1:+.1%}",
        f"{mean(here, 'tokens_per_s') or 0:,.0f}",
        f"{mean(here, 'kept_per_hour') or 0:,.0f}",
        f"{mean(here, 'engine_idle_share') or 0:.0%}"
        + ("" if expected is None else f" ({expected.engine_idle_share:.0%})"),
        f"{first.slots}",
        f"{mean(here, 'check_mean_ms') or 0:,.0f}",
        f"{mean(here, 'check_wait_ms') or 0:,.0f}" + ("" if expected is None else f" ({expected.check_wait_ms:,.0f})"),
        f"{mean(here, 'cores_busy') or 0:.0%}",
        "no price" if cost is None else f"{cost:,.2f}",
        "" if expected is None else expected.binding,
    ]


def agreement(points: Sequence[Point]) -> str | None:
    """Says how far off the plan was, over settings with repeats averaged; None without a plan."""
    off = []
    for by_x in in_series(points).values():
        for here in by_x.values():
            expected = here[0].expected
            speed = mean(here, "trajectories_per_s")
            if expected is not None and speed:
                off.append(abs(expected.trajectories_per_s / speed - 1))
    if not off:
        return None
    return (
        f"The plan's throughput is off by {statistics.median(off):.1%} in the median and {max(off):.1%} at worst, over "
        f"{len(off)} settings"
    )


def write_page(report: SweepReport, svg: str, path: Path) -> None:
    """Writes one HTML file without references to others."""
    page = fill(
        "sweep.html.j2",
        report=report,
        svg=svg,
        columns=COLUMNS,
        rows=rows(report.points),
        agreement=agreement(report.points),
    )
    path.write_text(page, encoding="utf-8")
