"""Shows the progress of a run: a panel on a terminal, plain lines elsewhere; and what a shorter command is at."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from berry.pipeline.report.status import described_calls
from berry.pipeline.runtime.display import Display, View

PLAIN_EVERY_S = 10.0
SAID_AFTER_S = 5.0


@contextmanager
def make_display() -> Iterator[Display]:
    """A display for standard error: live if it is a terminal."""
    if not sys.stderr.isatty():
        yield PlainDisplay()
        return
    display = LiveDisplay(Console(stderr=True))
    with display.live:
        yield display


@contextmanager
def working(text: str) -> Iterator[Callable[[str], None]]:
    """Says on standard error what a command is at, for one that reads or computes and has no run to show: with the
    seconds so far on a terminal, elsewhere a line where it is still at it after SAID_AFTER_S. Gives a function that
    changes the text."""
    if sys.stderr.isatty():
        columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn()
        with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
            task = shown.add_task(text, total=None)
            yield lambda now: shown.update(task, description=now)
        return
    at = [text]
    timer = threading.Timer(SAID_AFTER_S, lambda: print(f"{at[0]} …", file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield lambda now: at.__setitem__(0, now)
    finally:
        timer.cancel()


@contextmanager
def progress_bar(*columns: ProgressColumn) -> Iterator[Progress]:
    """Rich's progress bar on standard error: drawn on a terminal, gone at the end; elsewhere a line for each task that
    goes on, every PLAIN_EVERY_S."""
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        if console.is_terminal:
            yield bar
            return
        ended = threading.Event()

        def tell() -> None:
            while not ended.wait(PLAIN_EVERY_S):
                for task in bar.tasks:
                    print(_said(task), file=sys.stderr, flush=True)

        teller = threading.Thread(target=tell, daemon=True, name="progress")
        teller.start()
        try:
            yield bar
        finally:
            ended.set()
            teller.join()


def _said(task: Task) -> str:
    """A task in a line: how many of how many, or, of a task whose total is 1, the share."""
    if task.total is None:
        return f"{task.description} …"
    if task.total == 1:
        return f"{task.description}: {task.completed:.0%}"
    return f"{task.description}: {task.completed:,.0f} of {task.total:,.0f}"


def facts(view: View) -> list[tuple[str, str]]:
    """The figures to show, in order."""
    hit = "–" if view.cache_hit is None else f"{view.cache_hit:.0%}"
    calls: list[tuple[str, str]] = []
    if view.call_ms is not None:
        told = described_calls(view.calling, view.calls, view.call_ms, view.bad_calls, view.nondeterministic)
        calls.append(("tool calls", told))
    return [
        ("problems", f"{view.problems}/{view.total_problems}"),
        (
            "trajectories",
            f"{view.trajectories:,} committed, {view.verified:,} checked, {view.passed:,} passed",
        ),
        ("kept", f"{view.kept:,}"),
        ("tokens/s", f"{view.tokens_per_s:,.0f}"),
        ("sequences", f"{view.running} running, {view.waiting} waiting"),
        ("cache hit", hit),
        ("sandbox queue", f"{view.sandbox_queue}"),
        *calls,
        ("ETA", duration(view.eta_s)),
    ]


def duration(seconds: float | None) -> str:
    """Seconds as hours and minutes, or as minutes and seconds; a dash where they are not known."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{rest:02d}"


class PlainDisplay:
    """One line every ten seconds, for logs."""

    def __init__(self) -> None:
        self._last = 0.0

    def phase(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def update(self, view: View) -> None:
        now = time.monotonic()
        if now - self._last < PLAIN_EVERY_S:
            return
        self._last = now
        print(
            f"{duration(view.elapsed_s)}  " + "  ".join(f"{k}: {v}" for k, v in facts(view)),
            file=sys.stderr,
            flush=True,
        )


class LiveDisplay:
    """Shows the newest figures in a panel that is drawn over and over, for terminals."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live = Live(console=console, refresh_per_second=4, transient=True)

    def phase(self, text: str) -> None:
        self.live.update(Spinner("dots", text=Text(text)))

    def note(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False)

    def update(self, view: View) -> None:
        table = Table.grid(padding=(0, 2))
        table.add_row(duration(view.elapsed_s), ProgressBar(view.total_problems, view.problems, width=40))
        for name, value in facts(view):
            table.add_row(f"[dim]{name}[/]", value)
        self.live.update(table)
