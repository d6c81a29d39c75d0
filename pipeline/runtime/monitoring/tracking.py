"""Shows a run to the experiment trackers of its configuration (`tracking`), from the driver.

    Driver ─► TrackedDisplay ─► the user's display
                   └─► a thread ─► trackers: the view's figures every ten seconds; at the end metrics/run.json, examples

A tracker that fails is left out, and a note says so: no run ends because somebody else's service does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from typing import Any

from berry.pipeline.config.run import RunConfig, plain
from berry.pipeline.runtime.display import Display, View
from berry.pipeline.runtime.monitoring.trackers import Example, Tracker, open_tracker
from berry.pipeline.stages.dataset.reading import read_trees
from berry.pipeline.storage.run.directory import RunDir

EVERY_S = 10.0


class TrackedDisplay:
    """A `Display` that passes everything on to another one, and the figures to trackers. `finished`: what they are told
    at the end."""

    def __init__(self, inner: Display) -> None:
        self._inner = inner
        self._trackers: dict[str, Tracker] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="tracking")
        self._sending: Future[None] | None = None
        self._began = time.monotonic()
        self._next = 0.0
        self._view: View | None = None
        self.finished = False

    def open(self, config: RunConfig, run: RunDir) -> None:
        """Opens all trackers of the configuration."""
        for section in config.tracking:
            self._tried(
                section.type,
                lambda section=section: self._trackers.__setitem__(
                    section.type, open_tracker(section, run.location, name=config.name, config=plain(config))
                ),
            )

    def phase(self, text: str) -> None:
        self._inner.phase(text)

    def note(self, text: str) -> None:
        self._inner.note(text)

    def update(self, view: View) -> None:
        self._inner.update(view)
        self._view = view
        idle = self._sending is None or self._sending.done()
        if self._trackers and idle and time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY_S
            self._sending = self._pool.submit(self._send, asdict(view))

    def _send(self, figures: Mapping[str, Any]) -> None:
        values, step = numbers(figures), int(time.monotonic() - self._began)
        for name, tracker in list(self._trackers.items()):
            self._tried(name, lambda tracker=tracker: tracker.figures(values, step))

    def end(self, config: RunConfig, run: RunDir) -> None:
        """Sends what is known at the end, and closes the trackers."""
        self._pool.shutdown(wait=True)
        if not self._trackers:
            return
        if self._view is not None:
            self._send(asdict(self._view))
        self._send({f"run/{name}": value for name, value in numbers(run.metrics("run") or {}).items()})
        most = {section.type: section.examples for section in config.tracking}
        rows: list[Example] = list(islice(kept_examples(run), max(most.values())))
        for name, tracker in list(self._trackers.items()):
            if rows[: most[name]]:
                self._tried(name, lambda tracker=tracker, name=name: tracker.examples(rows[: most[name]]))
            self._tried(name, lambda tracker=tracker: tracker.close(finished=self.finished))

    def _tried(self, name: str, act: Callable[[], None]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - somebody else's service, which may raise anything
            self._trackers.pop(name, None)
            self._inner.note(f"note: tracking by {name} has ended: {error}; the run goes on without it")


@contextmanager
def tracked(inner: Display, config: RunConfig, run: RunDir) -> Iterator[TrackedDisplay]:
    """Tracks a run for as long as its driver works; without trackers everything is passed on alone."""
    display = TrackedDisplay(inner)
    display.open(config, run)
    try:
        yield display
    finally:
        display.end(config, run)


def kept_examples(run: RunDir) -> Iterator[Example]:
    """A kept trajectory of each problem of the last round, in the order in which they are stored."""
    for stored in read_trees(run, rounds=run.rounds()[-1:]):
        for row in islice(stored.kept, 1):
            prompt = "\n\n".join(message["content"] for message in row["messages"] if message["role"] != "system")
            scores = {"orm": row["orm"], "value": row["step_values"][-1] if row["step_values"] else None}
            yield {"problem": row["problem_id"], "prompt": prompt, "response": row["response"], **scores}


def numbers(figures: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers among figures, by dotted name; those that are not known are left out."""
    found: dict[str, float] = {}
    for key, value in figures.items():
        if isinstance(value, Mapping):
            found |= numbers(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[f"{prefix}{key}"] = float(value)
    return found
