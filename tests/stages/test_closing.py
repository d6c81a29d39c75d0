"""A worker that is closed in the middle of a lease commits nothing of it, and the next one goes on from its journal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.config.run import RunConfig
from pipeline.engines.synthetic import Synthetic
from pipeline.stages.handout import leases
from pipeline.stages.leases import Lease, LeaseWorker
from pipeline.storage.files import locate
from verifiers.base import Outcome, Reason, Verdict
from verifiers.checker import CheckRequest


def config(tokens_per_s: float | None) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "closing",
            "problems": [{"type": "synthetic", "count": 4, "seed": 3}],
            "engine": {"type": "synthetic", "tokens_per_s": tokens_per_s},
            "rollout": {"policy": {"type": "fixed", "branching": [3, 2]}},
            "storage": {"lease_problems": 4},
        }
    )


async def verify(_: CheckRequest) -> Verdict:
    return Verdict(Outcome.PASS, Reason.CORRECT)


async def worker(place: Path, tokens_per_s: float | None) -> LeaseWorker:
    run = config(tokens_per_s)
    engine = Synthetic(run.engine, engine_id="e")  # pyright: ignore[reportArgumentType]
    await engine.start()
    return LeaseWorker(run, locate(place), engine, verify, "w")


def rows(place: Path) -> list[dict[str, Any]]:
    return pq.read_table(place / "round=0/trajectories").to_pylist()


async def test_requests_that_closing_cuts_off_are_no_ends_of_their_own(tmp_path: Path) -> None:
    (lease,) = leases(config(None).problems, size=4, skip=())
    first = await worker(tmp_path, 100.0)
    running = asyncio.create_task(first.run(lease))
    while first.engine.counters().generated_tokens == 0:
        await asyncio.sleep(0.01)
    await first.close()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not (tmp_path / "round=0/trajectories").exists()
    second = await worker(tmp_path, None)
    report = await second.run(Lease(lease.number, lease.problems, resumed=True))
    await second.close()
    assert report.trajectories == len(rows(tmp_path)) == 24
    assert {r["verdict"] for r in rows(tmp_path)} == {"pass"}
    assert {r["drop_reason"] for r in rows(tmp_path)} <= {None, "duplicate", "near_duplicate"}
