"""Log-probabilities computed again beside a run: who is asked, what is said, who is fenced. Real shards, pretended
replicas; with real engines in tests/engines/test_recompute.py."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.engine import Recompute
from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.errors import ConfigError, EngineError
from berry.pipeline.runtime.monitoring.logprob_audit import LogprobAudit
from berry.pipeline.runtime.scripted import ScriptedWorker
from berry.pipeline.stages.dataset.logprob_samples import LogprobSample, gap, samples
from berry.pipeline.stages.leases.lease import LeaseReport
from berry.pipeline.stages.leases.partition import iter_leases
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.run.directory import RunDir
from berry.verifiers.base import Outcome, Reason, Verdict

RAW: dict[str, Any] = {
    "name": "t",
    "problems": [{"type": "synthetic", "count": 12, "seed": 3}],
    "engine": {"type": "synthetic"},
    "rollout": {
        "policy": {"type": "best_of_n", "n": 4},
        "step": {"type": "delimiter", "delimiters": ["\n"]},
    },
}


async def verify(_: Any) -> Verdict:
    return Verdict(Outcome.PASS, Reason.CORRECT, None, {}, 0.0)


async def committed(run: RunDir, makers: list[str]) -> list[LeaseReport]:
    """Leases of four problems, each made by the next of these engines."""
    config = validate(RAW, RunConfig, where="test")
    reports = []
    for lease, name in zip(iter_leases(config.problems, size=4, skip=()), makers, strict=True):
        engine = Synthetic(SyntheticEngine(), engine_id=name)
        await engine.start()
        worker = LeaseWorker(config, run.location, engine, verify, name)
        reports.append(await worker.run(lease))
        await worker.close()
    return reports


class Pretended(ScriptedWorker):
    """Gives what is stored, off by half a nat a token where it or the maker, not both, is one of `wrong`."""

    def __init__(self, worker_id: str, stored: dict[tuple[int, ...], LogprobSample], *, wrong: str = "") -> None:
        super().__init__(worker_id)
        self.version = "v0"
        self.asked: list[str] = []
        self._stored = stored
        self._wrong = wrong

    async def logprobs(self, prompt_ids: list[int], response_ids: list[int]) -> tuple[str, list[float]]:
        sample = self._stored[*prompt_ids, *response_ids]
        self.asked.append(sample.engine_id)
        off = 0.5 if (sample.engine_id in self._wrong) != (self.worker_id in self._wrong) else 0.0
        return self.version, [(total or 0.0) / count + off for count, total in sample.segments for _ in range(count)]


def all_samples(run: RunDir, reports: list[LeaseReport], share: float = 1.0) -> list[LogprobSample]:
    return [s for r in reports for s in samples(run.location, r.lease, 0, share=share)]


def by_tokens(found: list[LogprobSample]) -> dict[tuple[int, ...], LogprobSample]:
    return {(*s.prompt_ids, *s.response_ids): s for s in found}


def recomputing(
    run: RunDir, replicas: Sequence[Pretended], said: list[str], fenced: list[str], **changes: Any
) -> LogprobAudit:
    return LogprobAudit(
        Recompute(**{"share": 1.0, "min_samples": 4, **changes}),
        run,
        replicas,
        round_index=0,
        alarm=said.append,
        fence=lambda name: fenced.append(name) is None,
    )


async def run_through(beside: LogprobAudit, reports: list[LeaseReport]) -> dict[str, Any]:
    task = asyncio.create_task(beside.work())
    for report in reports:
        beside.submit(report)
    await beside.drain()
    task.cancel()
    return beside.figures()


async def test_the_replica_that_is_off_raises_one_alarm_and_is_fenced(tmp_path: Path) -> None:
    run = RunDir(locate(tmp_path))
    reports = await committed(run, ["a", "b", "c"])
    stored = by_tokens(all_samples(run, reports))
    said: list[str] = []
    fenced: list[str] = []
    replicas = [Pretended(name, stored, wrong="c") for name in ("a", "b", "c")]
    figures = await run_through(recomputing(run, replicas, said, fenced), reports)
    assert fenced == ["c"]
    assert len(said) == 1
    assert said[0].startswith("ALARM: c gives other log-probabilities than the other engines: up to 0.5 nats")
    assert "berry check RUN --distrust c --repair" in said[0]
    assert figures["suspects"] == ["c"]
    assert (run.metrics("recompute") or {})["fenced"] == ["c"]


async def test_every_trajectory_is_asked_of_its_maker_and_the_others_in_turn(tmp_path: Path) -> None:
    run = RunDir(locate(tmp_path))
    reports = await committed(run, ["a", "b", "c"])
    stored = by_tokens(all_samples(run, reports))
    said: list[str] = []
    replicas = [Pretended(name, stored) for name in ("a", "b", "c")]
    figures = await run_through(recomputing(run, replicas, said, []), reports)
    assert said == []
    assert figures["samples"] == 2 * 48
    for replica in replicas:
        counts = {name: replica.asked.count(name) for name in ("a", "b", "c")}
        assert counts[replica.worker_id] == 16
        assert all(counts[name] == 8 for name in counts if name != replica.worker_id)


async def test_of_two_replicas_neither_is_fenced(tmp_path: Path) -> None:
    run = RunDir(locate(tmp_path))
    reports = await committed(run, ["a", "b", "a"])
    stored = by_tokens(all_samples(run, reports))
    said: list[str] = []
    fenced: list[str] = []
    replicas = [Pretended("a", stored, wrong="b"), Pretended("b", stored, wrong="b")]
    await run_through(recomputing(run, replicas, said, fenced), reports)
    assert fenced == []
    assert "with no third opinion nobody can say which is wrong" in said[0]


async def test_other_weights_and_lost_replicas_give_no_comparison(tmp_path: Path) -> None:
    class Lost(Pretended):
        async def logprobs(self, prompt_ids: list[int], response_ids: list[int]) -> tuple[str, list[float]]:
            raise EngineError("lost")

    run = RunDir(locate(tmp_path))
    reports = await committed(run, ["a", "b", "a"])
    stored = by_tokens(all_samples(run, reports))
    newer = Pretended("a", stored)
    newer.version = "v1"
    figures = await run_through(recomputing(run, [newer, Lost("b", stored)], [], []), reports)
    assert figures["samples"] == 0


async def test_the_share_is_drawn_the_same_way_every_time(tmp_path: Path) -> None:
    run = RunDir(locate(tmp_path))
    reports = await committed(run, ["a", "b", "c"])
    whole, half = all_samples(run, reports), all_samples(run, reports, 0.5)
    assert len(whole) == 48
    assert 12 < len(half) < 36
    assert [s.trajectory_id for s in all_samples(run, reports, 0.5)] == [s.trajectory_id for s in half]
    one = whole[0]
    assert gap(one, [(total or 0.0) / count for count, total in one.segments for _ in range(count)]) == pytest.approx(0)


def test_an_engine_that_can_not_is_refused_before_the_run() -> None:
    with pytest.raises(ConfigError, match=r"recompute.share 0.5 needs an engine of type vllm"):
        validate({**RAW, "recompute": {"share": 0.5}}, RunConfig, where="test")
