"""Makes sandbox slots more or fewer while a run goes on, by what engines and sandboxes wait for (`ratio: auto`).

    workers ─► WaitWindow ─► core.balance.decide ─► SandboxSlots.resize (one process: its pool; Ray: sandbox actors)
                                    └─► metrics/balance-*.jsonl, the log, the display

A decision that changes something is written at once, the others every `WRITE_S`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from berry.pipeline.config.sections.cluster import Autoscaling
from berry.pipeline.core.balance import Action, ResizeDecision, State, Waits, decide
from berry.pipeline.errors import StorageError
from berry.pipeline.runtime.monitoring.polling import pause_s, snapshots_of
from berry.pipeline.runtime.monitoring.wait_times import WaitWindow
from berry.pipeline.runtime.worker import SandboxSlots, Worker
from berry.pipeline.storage import jsonl_log
from berry.pipeline.storage.run.directory import RunDir

NAME = "balance"
SAMPLES_A_WINDOW = 4
WRITE_S = 10.0
log = logging.getLogger(__name__)


class Autoscaler:
    """Decides once a window of `settings.tick_s` seconds; of more than a hundred workers a window is longer."""

    def __init__(
        self,
        settings: Autoscaling,
        slots: SandboxSlots,
        workers: Sequence[Worker],
        run: RunDir,
        *,
        note: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._slots = slots
        self._workers = workers
        self._lines = jsonl_log.JsonlLog(run.location, NAME)
        self._note = note
        self._state = State(slots.size())
        self._unwritten: list[dict[str, Any]] = []
        self._written_at = 0.0

    async def work(self) -> None:
        """Measures, decides and resizes until cancelled."""
        try:
            while True:
                waits = await self._measure()
                if waits is None:
                    continue
                self._state, decision = decide(self._state, waits, self._slots.bounds(), self._settings)
                if decision.action is not Action.KEEP:
                    await self._carry_out(decision)
                self._unwritten.append(record(decision, waits))
                await self._write(at_once=decision.action is not Action.KEEP)
        finally:
            await self._write(at_once=True)

    async def _measure(self) -> Waits | None:
        window = WaitWindow()
        for sample in range(SAMPLES_A_WINDOW + 1):
            if sample:
                await asyncio.sleep(pause_s(self._settings.tick_s / SAMPLES_A_WINDOW, self._workers))
            workers = list(self._workers)
            snapshots = await snapshots_of(workers)
            checks = await workers[0].check_counters() if workers else []
            window.add(time.monotonic(), snapshots, checks)
        return window.waits()

    async def _carry_out(self, decision: ResizeDecision) -> None:
        ids = {"slots_before": decision.before, "slots_after": decision.after, "reason": str(decision.reason)}
        log.info("sandbox slots: %s: %s", decision.action, decision.words, extra={"ids": ids})
        self._note(f"sandbox slots {decision.before} → {decision.after}: {decision.words}")
        await self._slots.resize(decision.after)

    async def _write(self, *, at_once: bool) -> None:
        if not self._unwritten or not (at_once or time.monotonic() - self._written_at >= WRITE_S):
            return
        rows, self._unwritten = self._unwritten, []
        self._written_at = time.monotonic()
        try:
            await asyncio.to_thread(self._lines.append, rows)
        except StorageError as error:
            log.warning("decisions of the balance are not written yet: %s", error)


def record(decision: ResizeDecision, waits: Waits) -> dict[str, Any]:
    """A decision and the waits it came from, as they are written; `time` in s since the epoch, shares in [0, 1]."""
    shares = {"starved": round(waits.starved, 4), "slots_idle": round(waits.slots_idle, 4)}
    return {"time": round(time.time(), 3), **asdict(decision), **asdict(waits), **shares}
