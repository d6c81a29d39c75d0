"""Totals from manifests: the same as from the commit files, whatever became of the manifests."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, replace
from json import dumps
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berry.pipeline import schema
from berry.pipeline.records import TokenLedger
from berry.pipeline.stages.leases import reports
from berry.pipeline.stages.leases.lease import LeaseReport
from berry.pipeline.stages.leases.reports import ManifestWriter, forget, read_reports
from berry.pipeline.storage.files import Location, locate
from berry.pipeline.storage.parquet import shard_files, shards
from berry.pipeline.storage.run import manifests

ROUND = 0


def report_of(lease: int, kept: int = 3) -> LeaseReport:
    ledger = TokenLedger(prompt=7 * lease, generated=100 + lease, extra={"segments": lease})
    modes = {"short": {"problems": 1, "solved": 1, "trajectories": 2, "kept": 1, "generated": 5}}
    return LeaseReport(lease, f"w{lease % 3}", 4, 2, 16, kept, {"wrong": 13}, ledger, 0.1 * lease, modes=modes)


def commit(location: Location, lease: int, kept: int = 3) -> LeaseReport:
    report = report_of(lease, kept)
    tables: dict[str, list[dict[str, object]]] = {table: [] for table in schema.TABLES}
    shards.write(location, round_index=ROUND, lease=lease, tables=tables, metadata={"report": dumps(asdict(report))})
    return report


@pytest.fixture
def location(tmp_path: Path) -> Location:
    return locate(tmp_path / "run")


@pytest.fixture
def footers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The leases whose commit file was read."""
    read, seen = reports.read_commit_marks, []

    def counted(location: Location, lease: int, round_index: int) -> dict[str, str]:
        seen.append(lease)
        return read(location, lease, round_index)

    monkeypatch.setattr(reports, "read_commit_marks", counted)
    return seen


def stored(location: Location, notes: list[str] | None = None) -> list[LeaseReport]:
    found = list(read_reports(location, ROUND, note=([] if notes is None else notes).append))
    return sorted(found, key=lambda report: report.lease)


def filled(location: Location, leases: range, *, fewest: int = 1) -> ManifestWriter:
    writer = ManifestWriter(location, ROUND)
    writer.FEWEST = fewest
    for lease in leases:
        writer.add(commit(location, lease))
    writer.write()
    return writer


def files(location: Location) -> list[str]:
    return location.names(manifests.folder(ROUND))


def damage_each(location: Location, change: Callable[[bytes], bytes]) -> None:
    for name in files(location):
        place = Path(location.path(f"{manifests.folder(ROUND)}/{name}"))
        place.write_bytes(change(place.read_bytes()))


def test_reports_come_from_manifests_and_only_later_ones_from_files(location: Location, footers: list[int]) -> None:
    filled(location, range(40))
    late = [commit(location, lease) for lease in (7000, 1_000_001)]
    assert stored(location) == [*map(report_of, range(40)), *late]
    assert {7000, 1_000_001} <= set(footers)
    assert len(footers) == len(late) + reports.SAMPLE


def test_few_leases_make_no_manifest(location: Location) -> None:
    filled(location, range(ManifestWriter.FEWEST - 1), fewest=ManifestWriter.FEWEST)
    assert files(location) == []


def test_a_block_that_grows_leaves_its_last_two_writings_and_a_full_one_its_last(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reports, "BLOCK", 5)
    writer = ManifestWriter(location, ROUND)
    writer.FEWEST = 1
    for lease in range(9):
        writer.add(commit(location, lease))
        writer.write()
    assert [name.partition("-")[2] for name in files(location)] == ["000000.004", "000001.002", "000001.003"]
    assert stored(location) == [*map(report_of, range(9))]


@pytest.mark.parametrize("left", [0, 3, 16, 40, -1])
def test_half_a_manifest_counts_as_none(location: Location, left: int) -> None:
    filled(location, range(20))
    damage_each(location, lambda data: data[:left])
    notes: list[str] = []
    assert stored(location, notes) == [*map(report_of, range(20))]
    assert "can't be read; the commit files of its leases are read instead" in notes[0]


def test_a_changed_byte_counts_as_a_damaged_manifest(location: Location) -> None:
    filled(location, range(20))
    damage_each(location, lambda data: data[:30] + bytes([data[30] ^ 1]) + data[31:])
    notes: list[str] = []
    assert stored(location, notes) == [*map(report_of, range(20))]
    assert len(notes) == 1


def test_the_writing_before_counts_where_the_last_is_damaged(location: Location, footers: list[int]) -> None:
    writer = filled(location, range(20))
    writer.add(commit(location, 20))
    writer.write()
    last = Path(location.path(f"{manifests.folder(ROUND)}/{files(location)[-1]}"))
    last.write_bytes(last.read_bytes()[:-5])
    notes: list[str] = []
    assert stored(location, notes) == [*map(report_of, range(21))]
    assert notes == []
    assert footers.count(20) == 1
    assert len(footers) == 1 + reports.SAMPLE


def test_a_manifest_adds_no_lease_that_is_not_committed_and_none_twice(location: Location) -> None:
    writer = filled(location, range(10))
    for lease in (3, 3, 11, 12):  # said twice, and never committed
        writer.add(report_of(lease))
    writer.write()
    filled(location, range(5, 10))  # another driver says them again
    assert stored(location) == [*map(report_of, range(10))]


def test_a_manifest_that_says_otherwise_than_the_files_is_not_believed(location: Location) -> None:
    writer = ManifestWriter(location, ROUND)
    writer.FEWEST = 1
    for lease in range(20):
        commit(location, lease)
        writer.add(replace(report_of(lease), kept=16))
    writer.write()
    notes: list[str] = []
    assert stored(location, notes) == [*map(report_of, range(20))]
    assert "says otherwise than the commit file of lease" in notes[0]


def test_the_next_driver_keeps_what_it_had_to_read_and_replaces_what_was_small_or_damaged(
    location: Location, footers: list[int]
) -> None:
    filled(location, range(10))
    filled(location, range(10, 20))
    damage_each(location, lambda data: data[:-3] if len(data) % 2 else data)
    late = commit(location, 20)
    writer = ManifestWriter(location, ROUND)
    writer.FEWEST = 1
    everything = [*map(report_of, range(20)), late]
    found = list(read_reports(location, ROUND, into=writer, note=lambda _: None))
    assert sorted(found, key=lambda report: report.lease) == everything
    writer.write()
    assert len(files(location)) == 1
    footers.clear()
    assert stored(location) == everything
    assert len(footers) == reports.SAMPLE


def test_a_lease_that_is_taken_out_and_made_again_says_what_it_says_now(location: Location) -> None:
    filled(location, range(10))
    forget(location, ROUND, {4})
    shard_files.remove(location, shard_files.ShardFile(4, 4), ROUND)
    assert stored(location) == [report_of(lease) for lease in range(10) if lease != 4]
    again = commit(location, 4, kept=16)
    assert again in stored(location)
    assert len(stored(location)) == 10


def test_a_store_that_fails_while_a_manifest_is_written_loses_nothing(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = filled(location, range(10))
    writer.add(commit(location, 10))
    with monkeypatch.context() as broken:
        broken.setattr(manifests, "write", lambda *_: (_ for _ in ()).throw(reports.StorageError("away")))
        with pytest.raises(reports.StorageError):
            writer.write()
    assert stored(location) == [*map(report_of, range(11))]
    writer.write()
    assert stored(location) == [*map(report_of, range(11))]
    assert len(files(location)) == 2


@settings(max_examples=12)
@given(seed=st.integers(0, 10_000))
def test_nothing_is_lost_or_doubled_whatever_happens(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    chance, location = random.Random(seed), locate(tmp_path_factory.mktemp("run") / "run")
    truth: dict[int, LeaseReport] = {}

    def begin() -> ManifestWriter:
        writer = ManifestWriter(location, ROUND)
        writer.FEWEST = chance.choice([1, 3])
        found = list(read_reports(location, ROUND, into=writer, note=lambda _: None))
        assert sorted(found, key=lambda report: report.lease) == [truth[lease] for lease in sorted(truth)]
        return writer

    writer = begin()
    for step in range(24):
        match chance.choice(["commit", "commit", "commit", "write", "unsaid", "crash", "damage", "repair"]):
            case "commit":
                truth[step] = commit(location, step, kept=chance.randrange(9))
                writer.add(truth[step])
            case "unsaid":  # the driver was gone when it came
                truth[step] = commit(location, step)
            case "write":
                writer.write()
            case "crash":
                writer = begin()
            case "damage" if files(location):
                name = chance.choice(files(location))
                place = Path(location.path(f"{manifests.folder(ROUND)}/{name}"))
                place.write_bytes(place.read_bytes()[: chance.randrange(60)])
            case "repair" if truth:
                lease = chance.choice(sorted(truth))
                forget(location, ROUND, {lease})
                shard_files.remove(location, shard_files.ShardFile(lease, lease), ROUND)
                truth[lease] = commit(location, lease, kept=9)
                writer = begin()
            case _:
                pass
    begin()
