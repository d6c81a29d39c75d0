"""What is written of journals: while a lease ends, for several leases at once, on this host, or not at all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline import schema
from berry.pipeline.core.events import Cancelled, Event
from berry.pipeline.errors import StorageError
from berry.pipeline.stages.rollout.journal import LeaseJournal, flush_together
from berry.pipeline.storage.files import Location, locate
from berry.pipeline.storage.parquet import shard_files
from berry.pipeline.storage.run import segments
from berry.pipeline.storage.run.local_journals import local_journals
from berry.pipeline.storage.run.segments import BatchWriter


async def test_a_segment_on_its_way_is_not_overtaken_by_the_end_of_the_lease(tmp_path: Path, monkeypatch) -> None:
    begun, go_on, write = threading.Event(), threading.Event(), segments.write

    def slow(*arguments: Any, **keywords: Any) -> int:
        begun.set()
        go_on.wait(10)
        return write(*arguments, **keywords)

    monkeypatch.setattr(segments, "write", slow)
    journal = LeaseJournal(locate(str(tmp_path)), 3, 0)
    journal.record("p", Cancelled("node"))
    flush = asyncio.create_task(journal.flush())
    await asyncio.to_thread(begun.wait, 10)
    end = asyncio.create_task(journal.remove())
    await asyncio.sleep(0.05)
    assert not end.done()
    go_on.set()
    assert await flush > 0
    await end
    assert not list(tmp_path.rglob("*-0*"))
    assert await journal.flush() == 0


def journals(location: Location, writer: BatchWriter, count: int) -> list[LeaseJournal]:
    return [LeaseJournal(location, lease, 0, batches=writer) for lease in range(count)]


def said(location: Location, lease: int, *, local: Location | None = None) -> list[Event]:
    """What an attempt that comes later reads of a lease."""
    journal = LeaseJournal(location, lease, 0, local=local)
    journal.load()
    return journal.past["p"].events if journal.past else []


async def record(open_leases: Sequence[LeaseJournal], writer: BatchWriter, moment: int) -> None:
    for journal in open_leases:
        journal.record("p", Cancelled(f"{journal.lease}.{moment}"))
    await flush_together(open_leases, writer)


def events(lease: int, moments: Iterable[int]) -> list[Event]:
    return [Cancelled(f"{lease}.{moment}") for moment in moments]


async def test_all_leases_of_a_worker_are_one_request_a_flush_on_a_store(s3: Any) -> None:
    location = locate(s3.url("run"))
    writer = BatchWriter(location, 0)
    open_leases = journals(location, writer, 8)
    await record(open_leases, writer, 0)  # their folders say where they are
    s3.faults()
    for moment in range(1, 4):
        await record(open_leases, writer, moment)
    assert s3.counts()["requests"] == 3
    assert [said(location, lease) for lease in range(8)] == [events(lease, range(4)) for lease in range(8)]


async def test_batches_go_when_none_of_their_leases_is_open_any_more(tmp_path: Path) -> None:
    location = locate(tmp_path)
    writer = BatchWriter(location, 0)
    one, other = journals(location, writer, 2)
    await record([one, other], writer, 0)
    await record([other], writer, 1)
    await one.remove()
    assert said(location, 0) == []
    assert said(location, 1) == events(1, range(2))
    await record([other], writer, 2)
    await other.remove()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_an_attempt_goes_on_from_the_batches_of_a_dead_worker(tmp_path: Path) -> None:
    location = locate(tmp_path)
    dead, living = BatchWriter(location, 0), BatchWriter(location, 0)
    zombies = journals(location, dead, 3)
    await record(zombies, dead, 0)
    await record(zombies, dead, 1)
    again = LeaseJournal(location, 1, 0, batches=living)
    again.load()
    assert again.past["p"].events == events(1, range(2))
    await again.begin()
    assert zombies[1].is_replaced()
    assert not zombies[2].is_replaced()
    await record(zombies, dead, 99)  # it writes still
    await record([again], living, 2)
    assert said(location, 1) == events(1, range(3))
    assert said(location, 2) == events(2, [0, 1, 99])


@pytest.mark.parametrize("size", [0, 10, 50])
async def test_a_batch_that_is_cut_short_ends_its_journals_there(tmp_path: Path, size: int) -> None:
    location = locate(tmp_path)
    writer = BatchWriter(location, 0)
    open_leases = journals(location, writer, 2)
    for moment in range(3):
        await record(open_leases, writer, moment)
    (batch,) = tmp_path.rglob("*/000001")
    batch.write_bytes(batch.read_bytes()[:size])
    assert [said(location, lease) for lease in range(2)] == [events(lease, [0]) for lease in range(2)]


async def test_a_batch_that_can_not_be_written_is_in_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location = locate(tmp_path)
    writer = BatchWriter(location, 0)
    open_leases = journals(location, writer, 3)
    put = Location.put
    for moment in range(4):
        monkeypatch.setattr(Location, "put", put if moment % 2 else _full)
        with suppress(StorageError):
            await record(open_leases, writer, moment)
    assert [said(location, lease) for lease in range(3)] == [events(lease, range(4)) for lease in range(3)]


def _full(*_: object, **__: object) -> None:
    raise StorageError("no space left")


async def test_a_journal_on_this_host_leaves_only_marks_of_attempts_in_the_run(tmp_path: Path) -> None:
    run, local = locate(tmp_path / "run"), locate(tmp_path / "here")
    first = LeaseJournal(run, 3, 0, local=local)
    first.record("p", Cancelled("3.0"))
    await first.flush()
    assert not (tmp_path / "run").exists()
    assert said(run, 3, local=local) == events(3, [0])
    elsewhere = LeaseJournal(run, 3, 0, local=locate(tmp_path / "other host"))
    elsewhere.load(attempt=1)
    assert elsewhere.past == {}
    await elsewhere.begin()
    assert first.is_replaced()
    await elsewhere.remove()
    await first.remove()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_without_a_journal_nothing_is_written_but_that_an_attempt_was_replaced(tmp_path: Path) -> None:
    run = locate(tmp_path)
    first = LeaseJournal(run, 3, 0, is_off=True)
    first.record("p", Cancelled("3.0"))
    first.reset("p")
    assert await first.flush() == 0
    second = LeaseJournal(run, 3, 0, is_off=True)
    second.load(attempt=1)
    await second.begin()
    assert first.is_replaced()
    assert not second.is_replaced()
    await second.remove()
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_journals_on_a_host_are_those_of_this_run_and_of_leases_that_are_open(tmp_path: Path) -> None:
    run = locate(tmp_path / "runs/demo")
    run.put("run.yaml", b"name: demo")
    here = local_journals(run, f"local:{tmp_path}/scratch")
    assert "demo-" in here.root
    for lease in (3, 4):
        segments.write(here, segments.folder(lease, 0), attempt=0, number=0, records=[b"x"])
    run.put(shard_files.shard_name(schema.COMMIT, 3, 0), b"")
    assert local_journals(run, f"local:{tmp_path}/scratch/").folders("round=0/journal") == ["lease-000004"]
    (tmp_path / "runs/demo/run.yaml").unlink()
    run.put("run.yaml", b"name: demo, and made anew")
    assert local_journals(run, f"local:{tmp_path}/scratch").root != here.root


def test_a_folder_that_can_not_be_written_is_said_with_the_key(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"storage\.journal local:.*file/x"):
        local_journals(locate(tmp_path / "run"), f"local:{tmp_path}/file/x")
