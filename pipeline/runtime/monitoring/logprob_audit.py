"""Beside a run: log-probabilities of a share of its trajectories computed again, by their maker and by another engine.

LeaseReport ─► stages.recompute.samples ─► two engines ─► core.agreement ─► alarm, metrics/recompute.json, fence
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from berry.pipeline.config.recompute import Recompute
from berry.pipeline.core.agreement import Finding, Gap, judge
from berry.pipeline.errors import EngineError, StorageError
from berry.pipeline.runtime.worker import Replica
from berry.pipeline.stages.dataset.logprob_samples import Sample, gap, samples
from berry.pipeline.stages.leases.lease import LeaseReport
from berry.pipeline.storage.dataset import RunDir

QUEUE = 256  # leases that may wait; more are left out: the run does not wait for its checks
DRAIN_S = 60.0
log = logging.getLogger(__name__)


class Recomputing:
    def __init__(
        self,
        settings: Recompute,
        run: RunDir,
        replicas: Sequence[Replica],
        *,
        round_index: int,
        alarm: Callable[[str], None],
        fence: Callable[[str], bool],
    ) -> None:
        self._settings = settings
        self._run = run
        self._replicas = {r.worker_id: r for r in replicas}
        self._round = round_index
        self._alarm = alarm
        self._fence = fence
        self._reports: asyncio.Queue[LeaseReport] = asyncio.Queue(QUEUE)
        self._gaps: list[Gap] = []
        self._asked: Counter[tuple[str, str]] = Counter()
        self._alarmed: set[tuple[str, ...]] = set()
        self._fenced: list[str] = []
        self.left_out = 0

    def submit(self, report: LeaseReport) -> None:
        try:
            self._reports.put_nowait(report)
        except asyncio.QueueFull:
            self.left_out += 1

    async def work(self) -> None:
        """Until cancelled."""
        while True:
            report = await self._reports.get()
            try:
                await self._look_at(report)
            except (EngineError, StorageError) as error:
                log.warning("lease %d is not computed again: %s", report.lease, error)
            finally:
                self._reports.task_done()

    async def drain(self) -> None:
        """What is waiting, for a minute at most."""
        try:
            await asyncio.wait_for(self._reports.join(), DRAIN_S)
        except TimeoutError:
            self.left_out += self._reports.qsize()
        await asyncio.to_thread(self._run.write_metrics, "recompute", self.figures())

    async def _look_at(self, report: LeaseReport) -> None:
        share = self._settings.share
        found = await asyncio.to_thread(
            lambda: list(samples(self._run.location, report.lease, self._round, share=share))
        )
        for sample in found:
            for replica in self._checkers(sample.engine_id):
                await self._compare(sample, replica)
        finding = judge(self._gaps, min_samples=self._settings.min_samples, tolerance=self._settings.tolerance)
        if finding.suspects and finding.suspects not in self._alarmed:
            self._alarmed.add(finding.suspects)
            await self._raise_alarm(finding)

    def _checkers(self, maker: str) -> list[Replica]:
        """The maker itself, and the other one that has been asked least about it."""
        others = [name for name in self._replicas if name != maker and name not in self._fenced]
        other = min(others, key=lambda name: (self._asked[maker, name], name), default=None)
        if other is not None:
            self._asked[maker, other] += 1
        return [self._replicas[name] for name in (maker, other) if name in self._replicas]

    async def _compare(self, sample: Sample, replica: Replica) -> None:
        version, logprobs = await replica.logprobs(sample.prompt_ids, sample.response_ids)
        if version == sample.weights_version:
            self._gaps.append(Gap(sample.trajectory_id, sample.engine_id, replica.worker_id, gap(sample, logprobs)))

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
                for name in self._replicas
            },
        }
