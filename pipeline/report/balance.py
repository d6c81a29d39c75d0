"""Tells what `ratio: auto` did in a run: its decisions over time, what it had measured, and why.

metrics/balance-*.jsonl ─► BalanceStory ─► a line of the summary, draw_balance ─► metrics/balance.svg
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from berry.pipeline.storage import jsonl_log
from berry.pipeline.storage.run.directory import RunDir

NAME = "balance"
PICTURE = "metrics/balance.svg"
LABELLED = 12  # changes whose reason is written into the picture


@dataclass(frozen=True, slots=True)
class BalanceStory:
    """Rows as written down, oldest first; at least one."""

    rows: tuple[dict[str, Any], ...]

    @property
    def changes(self) -> list[dict[str, Any]]:
        """The decisions that changed the number of slots."""
        return [row for row in self.rows if row["action"] != "keep"]

    @property
    def line(self) -> str:
        """What became of the balance, as one line of the summary."""
        waited = sum(r["starved"] for r in self.rows) / len(self.rows)
        idle = sum(r["slots_idle"] for r in self.rows) / len(self.rows)
        slots = [self.rows[0]["before"], *(r["after"] for r in self.changes)]
        shown = slots if len(slots) <= 6 else [*slots[:2], "…", *slots[-3:]]
        return (
            f"{' → '.join(map(str, shown))} sandbox slots in {len(self.changes)} changes; engines waited for verdicts "
            f"{waited:.1%} of their capacity, slots were {idle:.0%} idle; reasons in {PICTURE}"
        )


def story(run: RunDir) -> BalanceStory | None:
    """Reads what was balanced; None where nothing was: a fixed ratio, or a cluster with no room. Raises
    StorageError."""
    rows = jsonl_log.read(run.location, NAME)
    return BalanceStory(tuple(rows)) if rows else None


def write_picture(run: RunDir, told: BalanceStory) -> None:
    """Writes the picture into the run directory. Raises StorageError."""
    from berry.pipeline.report.pictures.plots import as_svg

    run.location.put(PICTURE, as_svg(draw_balance(told.rows)).encode())


def draw_balance(rows: Sequence[dict[str, Any]]) -> Any:
    """Draws two panels over time: slots open, asked for and busy; what engines and slots had to wait for."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from berry.pipeline.report.pictures.plots import PALETTE, STYLE

    seconds = [row["time"] - rows[0]["time"] for row in rows]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 7), layout="constrained")
        FigureCanvasAgg(figure)
        slots, waits = figure.subplots(2, 1, sharex=True)
        slots.step(seconds, [r["after"] for r in rows], where="post", color=PALETTE[0], lw=2, label="slots asked for")
        slots.plot(seconds, [r["open_slots"] for r in rows], ":", color=PALETTE[6], lw=1.2, label="slots open")
        slots.plot(seconds, [r["busy"] for r in rows], "--", color=PALETTE[2], label="slots busy (mean of a tick)")
        slots.set_ylabel("sandbox slots")
        slots.set_ylim(0, 1.25 * max(r["after"] for r in rows) + 1)
        slots.set_title("ratio: auto, decision by decision")
        _reasons(slots, rows, seconds)
        waits.plot(
            seconds, [100 * r["starved"] for r in rows], color=PALETTE[1], lw=1.8, label="engines wait for verdicts"
        )
        waits.plot(seconds, [100 * r["slots_idle"] for r in rows], "--", color=PALETTE[4], label="slots wait for work")
        waits.set_ylabel("share of capacity (%)")
        waits.set_xlabel("seconds")
        waits.set_ylim(-3, 103)
        for axes in (slots, waits):
            axes.legend(frameon=False, fontsize=9, loc="upper right")
    return figure


def _reasons(axes: Any, rows: Sequence[dict[str, Any]], seconds: Sequence[float]) -> None:
    """Writes the reasons beside the changes, the latest ones where there are many."""
    changed = [(s, r) for s, r in zip(seconds, rows, strict=True) if r["action"] != "keep"][-LABELLED:]
    for at, row in changed:
        text = f"{row['before']} → {row['after']}\n{row['reason'].replace('_', ' ')}"
        where = {"xytext": (3, 5), "textcoords": "offset points"}
        axes.annotate(text, (at, max(row["before"], row["after"])), fontsize=7.5, va="bottom", **where)
