"""A worker that is closed in the middle of a lease commits nothing of it, and the next one goes on from its journal."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.config.run import RunConfig
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.errors import EngineError
from berry.pipeline.stages.leases.lease import Lease
from berry.pipeline.stages.leases.partition import iter_leases
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.parquet import shard_files
from berry.pipeline.storage.parquet.lease_rows import read_lease
from berry.verifiers.base import Outcome, Reason, Verdict
from berry.verifiers.checker import CheckRequest


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
    location = locate(str(place))
    leases = sorted(shard_files.committed(location, 0))
    return [row for lease in leases for row in read_lease(location, lease, 0).trajectories]


async def test_requests_that_closing_cuts_off_are_no_ends_of_their_own(tmp_path: Path) -> None:
    (lease,) = iter_leases(config(None).problems, size=4, skip=())
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


async def test_a_lease_of_a_round_that_other_sites_have_ended_is_late(tmp_path: Path) -> None:
    (lease,) = iter_leases(config(None).problems, size=4, skip=(), round_index=1)
    ahead = await worker(tmp_path, None)
    ahead.round_index = 2
    assert (await ahead.run(lease)).late
    ahead.round_index = 0
    with pytest.raises(EngineError, match="has not been told of round 1"):
        await ahead.run(lease)
    await ahead.close()
    assert not any(tmp_path.iterdir())


async def test_equal_responses_of_a_problem_are_checked_once_where_no_tool_is_needed(tmp_path: Path) -> None:
    (lease,) = iter_leases(config(None).problems, size=4, skip=())
    asked: list[tuple[str, str]] = []

    def decide(request: CheckRequest) -> Verdict:
        asked.append((request.problem_id, request.response))
        return Verdict(Outcome.PASS, Reason.CORRECT, request.response[-8:])

    checking = await worker(tmp_path, None)
    checking.verify_here = decide
    await checking.run(lease)
    await checking.close()
    stored = [(row["problem_id"], row["response"]) for row in rows(tmp_path)]
    assert len(asked) == len(set(asked)) < len(stored)
    assert set(asked) == set(stored)
    assert all(row["answer"] == row["response"][-8:] for row in rows(tmp_path))
