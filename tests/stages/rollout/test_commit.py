"""What an attempt that was replaced still has in hand is not written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.stages.leases.lease import FirstResultCounts, Lease
from berry.pipeline.stages.rollout import worker
from berry.pipeline.stages.rollout.journal import LeaseJournal
from berry.pipeline.storage.files import Location, locate
from berry.pipeline.storage.parquet import shard_files

TABLES: dict[str, Any] = {"nodes": [], "kept": [], "trajectories": []}


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return locate(tmp_path / "run")


async def commit(location: Location, journal: LeaseJournal, *, age_s: float, token: str | None = None) -> bool:
    lease = Lease(7, ()) if token is None else Lease(7, (), commit_rule=FirstResultCounts(token))
    return await worker.commit(location, lease, round_index=0, age_s=age_s, journal=journal, tables=TABLES, metadata={})


async def second_attempt(location: Location) -> LeaseJournal:
    journal = LeaseJournal(location, 7, 0)
    journal.load(attempt=1)
    await journal.begin()
    return journal


async def test_the_first_attempt_writes_nothing_once_a_second_has_begun(location: Location) -> None:
    first = LeaseJournal(location, 7, 0)
    assert not first.is_replaced()
    second = await second_attempt(location)
    assert first.is_replaced()
    assert not second.is_replaced()
    assert not await commit(location, first, age_s=60)
    assert shard_files.committed(location, 0) == set()
    assert await commit(location, second, age_s=60)
    assert shard_files.committed(location, 0) == {7}


async def test_nor_after_the_second_has_ended(location: Location) -> None:
    first = LeaseJournal(location, 7, 0)
    second = await second_attempt(location)
    assert await commit(location, second, age_s=60)
    await second.remove()
    written = location.stamps("round=0/trajectories")
    assert not await commit(location, first, age_s=60)
    assert location.stamps("round=0/trajectories") == written


async def test_a_young_lease_asks_nobody(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LeaseJournal, "is_replaced", lambda _: pytest.fail("it asked"))
    assert await commit(location, LeaseJournal(location, 7, 0), age_s=1)


async def test_between_sites_the_first_result_counts_whatever_its_age(location: Location) -> None:
    first = LeaseJournal(location, 7, 0)
    second = await second_attempt(location)
    assert await commit(location, first, age_s=60, token="west")
    assert not await commit(location, second, age_s=1, token="east")


async def test_two_attempts_that_have_written_nothing_do_not_share_segments(location: Location) -> None:
    first, second = LeaseJournal(location, 7, 0), await second_attempt(location)
    await first.begin()
    assert location.names(second.folder) == ["000-000000", "001-000000"]
