"""Computes log-probabilities of a share of the trajectories again, by the engine that made them and by another one.

LeaseReport ─► dataset.logprob_samples ─► two workers ─► core.agreement ─► alarm, metrics/recompute.json, fence
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from berry.pipeline.config.sections.engine import Recompute
from berry.pipeline.core.agreement import Finding, Gap, judge
from berry.pipeline.errors import EngineError, StorageError
from berry.pipeline.runtime.worker import Worker
from berry.pipeline.stages.dataset.logprob_samples import LogprobSample, gap, samples
from berry.pipeline.stages.leases.lease import LeaseReport
from berry.pipeline.storage.run.directory import RunDir

MOST_WAITING = 256  # leases; more are left out, since the run does not wait for its audit
DRAIN_S = 60.0  # for what is waiting when the run ends
log = logging.getLogger(__name__)


class LogprobAudit:
    """Compares what engines say of the same tokens; names, and fences if wanted, an engine that disagrees."""

    def __init__(
        self,
        settings: Recompute,
        run: RunDir,
        workers: Sequence[Worker],
        *,
        round_index: int,
        alarm: Callable[[str], None],
        fence: Callable[[str], bool],
    ) -> None:
        self._settings = settings
        self._run = run
        self._workers = {w.worker_id: w for w in workers}
        self._round = round_index
        self._alarm = alarm
        self._fence = fence
        self._reports: asyncio.Queue[LeaseReport] = asyncio.Queue(MOST_WAITING)
        self._gaps: list[Gap] = []
        self._asked: Counter[tuple[str, str]] = Counter()
        self._alarmed: set[tuple[str, ...]] = set()
        self._fenced: list[str] = []
        self.left_out = 0

    def submit(self, report: LeaseReport) -> None:
        """Takes a committed lease; it is left out where too many wait."""
        try:
            self._reports.put_nowait(report)
        except asyncio.QueueFull:
            self.left_out += 1

    async def work(self) -> None:
        """Looks at one report after the other until cancelled."""
        while True:
            report = await self._reports.get()
            try:
                await self._audit(report)
            except (EngineError, StorageError) as error:
                log.warning("lease %d is not computed again: %s", report.lease, error)
            finally:
                self._reports.task_done()

    async def drain(self) -> None:
        """Looks at what is waiting, for `DRAIN_S` at most, and writes the figures."""
        try:
            await asyncio.wait_for(self._reports.join(), DRAIN_S)
        except TimeoutError:
            self.left_out += self._reports.qsize()
        await asyncio.to_thread(self._run.write_metrics, "recompute", self.figures())

    async def _audit(self, report: LeaseReport) -> None:
        share = self._settings.share
        drawn = await asyncio.to_thread(
            lambda: list(samples(self._run.location, report.lease, self._round, share=share))
        )
        for sample in drawn:
            for worker in self._checkers(sample.engine_id):
                await self._compare(sample, worker)
        finding = judge(self._gaps, min_samples=self._settings.min_samples, tolerance=self._settings.tolerance)
        if finding.suspects and finding.suspects not in self._alarmed:
            self._alarmed.add(finding.suspects)
            await self._raise_alarm(finding)

    def _checkers(self, maker: str) -> list[Worker]:
        """The maker itself, and the other one that has been asked least about it."""
        others = [name for name in self._workers if name != maker and name not in self._fenced]
        other = min(others, key=lambda name: (self._asked[maker, name], name), default=None)
        if other is not None:
            self._asked[maker, other] += 1
        return [self._workers[name] for name in (maker, other) if name in self._workers]

    async def _compare(self, sample: LogprobSample, worker: Worker) -> None:
        version, logprobs = await worker.logprobs(sample.prompt_ids, sample.response_ids)
        if version == sample.weights_version:
            self._gaps.append(Gap(sample.trajectory_id, sample.engine_id, worker.worker_id, gap(sample, logprobs)))

    async def _raise_alarm(self, finding: Finding) -> None:
        names = ", ".join(finding.suspects)
        worst = max((p.worst for p in finding.pairs if p.disagrees), key=lambda g: g.nats)
        what = (
            f"{names} gives other log-probabilities than the other engines"
            if finding.decided
            else f"{names} give different log-probabilities; with no third opinion nobody can say which is wrong"
        )
        text = (
            f"ALARM: {what}: up to {worst.nats:.3g} nats a token apart (trajectory {worst.trajectory_id}), "
            f"{finding.tolerance:.2g} are ordinary; metrics/recompute.json has the evidence"
        )
        if finding.decided and self._settings.fence:
            self._fenced += [name for name in finding.suspects if name not in self._fenced and self._fence(name)]
            text += "".join(
                f"; {name} gets no further lease; `berry check RUN --distrust {name} --repair` takes out what it made"
                for name in self._fenced
            )
        self._alarm(text)
        await asyncio.to_thread(self._run.write_metrics, "recompute", self.figures())

    def figures(self) -> dict[str, Any]:
        """What metrics/recompute.json holds; differences in nats a token."""
        finding = judge(self._gaps, min_samples=self._settings.min_samples, tolerance=self._settings.tolerance)
        return {
            "samples": len(self._gaps),
            "leases_left_out": self.left_out,
            "tolerance_nats": finding.tolerance,
            "suspects": list(finding.suspects),
            "decided": finding.decided,
            "fenced": list(self._fenced),
            "pairs": [{**asdict(pair), "disagrees": pair.disagrees} for pair in finding.pairs],
            "own_nats": {
                name: max((g.nats for g in self._gaps if g.maker == g.checker == name), default=None)
                for name in self._workers
            },
        }
