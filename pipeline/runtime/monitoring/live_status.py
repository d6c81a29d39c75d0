"""Writes what a run shows to its run directory, so that `berry status` can show it elsewhere.

driver ─► StatusRecorder ─► the user's display
               └─► a thread ─► storage.run.live, every two seconds, never in the driver's way
                          └─► metrics/progress-*.jsonl, every ten: what a report draws over time
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from berry.pipeline.errors import BerryError, StorageError
from berry.pipeline.runtime.display import Display, View
from berry.pipeline.storage.jsonl_log import JsonlLog
from berry.pipeline.storage.run import live
from berry.pipeline.storage.run.directory import RunDir

NOTES = 20  # the newest lines that are written
PROGRESS = "progress"  # the log's name
PROGRESS_EVERY_S = 10.0


class StatusRecorder:
    """A `Display` that passes everything on to another one and writes it."""

    def __init__(self, inner: Display, run: RunDir, site: str | None) -> None:
        self._inner = inner
        self._run = run
        self._site = site
        self._started_at = time.time()
        self._phase = ""
        self._view: dict[str, Any] = {}
        self._notes: deque[str] = deque(maxlen=NOTES)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="live")
        self._writing: Future[None] | None = None
        self._next = 0.0
        self._progress = JsonlLog(run.location, PROGRESS if site is None else f"{PROGRESS}-{site}")
        self._next_progress = 0.0

    def phase(self, text: str) -> None:
        self._phase = text
        self._inner.phase(text)
        self._write()

    def note(self, text: str) -> None:
        self._notes.append(text)
        self._inner.note(text)

    def update(self, view: View) -> None:
        self._phase = ""
        self._view = asdict(view)
        self._inner.update(view)
        if time.monotonic() >= self._next:
            self._write()

    def end(self, ended: str) -> None:
        """Writes how the run ended, however slow the storage is."""
        self._pool.shutdown(wait=True)
        self._put(ended)

    def _write(self) -> None:
        """Writes in the thread; nothing where the last writing is still under way."""
        if self._writing is None or self._writing.done():
            self._next = time.monotonic() + live.EVERY_S
            self._writing = self._pool.submit(self._put, "")

    def _put(self, ended: str) -> None:
        now = live.Live(
            host=os.uname().nodename,
            process=os.getpid(),
            started_at=self._started_at,
            written_at=time.time(),
            phase=self._phase,
            ended=ended,
            view=self._view,
            notes=list(self._notes),
            site=self._site,
        )
        try:
            live.write(self._run, now)
            if self._view and (ended or time.monotonic() >= self._next_progress):
                self._next_progress = time.monotonic() + PROGRESS_EVERY_S
                self._progress.append([{"at": now.written_at, **self._view}])
        except StorageError:
            return  # a run does not end because its status can't be written


@contextmanager
def recording(inner: Display, run: RunDir, site: str | None) -> Iterator[StatusRecorder]:
    """Writes for the length of a run. The caller calls `end` when the run ends well; an error is written here."""
    display = StatusRecorder(inner, run, site)
    try:
        yield display
    except BerryError as error:
        display.end(f"failed: {error}")
        raise
    except BaseException as error:
        display.end(f"failed: {type(error).__name__}")
        raise
