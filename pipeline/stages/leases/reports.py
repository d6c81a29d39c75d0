"""Reads what each committed lease reported: totals that survive any crash.

    manifests, which the driver writes as leases are committed ─┬► read_reports ─► LeaseReport …
    commit files of the leases that no manifest holds (footers) ┘

Which leases are committed is said by the shards alone, so that a manifest can neither add a lease nor lose one. Of each
manifest a sample of its reports is compared with the commit files; one that says otherwise is left out, and the commit
files are read instead. Runs without manifests, as earlier versions made them, are read from their commit files.
"""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import msgspec

from berry.pipeline import schema
from berry.pipeline.errors import StorageError
from berry.pipeline.records import TokenLedger
from berry.pipeline.stages.leases.lease import LeaseReport
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.parquet import checked_read, shard_files
from berry.pipeline.storage.run import manifests
from berry.pipeline.storage.run.manifests import Manifest

AT_ONCE = 16
BATCH = 4096
BLOCK = 4096  # reports of a full manifest
BLOCKS_AT_ONCE = 8
SAMPLE = 2  # reports of each manifest that are compared with their commit files
log = logging.getLogger(__name__)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[LeaseReport])


class ManifestWriter:
    """Writes the reports of one driver to manifests of a round. `add` is for the driver's loop, `write` for threads."""

    FEWEST: int = 256  # reports that are worth a manifest: fewer commit files are read in a second

    def __init__(self, location: Location, round_index: int) -> None:
        self._location = location
        self._round = round_index
        self._next = Manifest(f"{random.SystemRandom().getrandbits(32):08x}", 0, 0)
        self._reports: list[LeaseReport] = []  # of the block that is not full yet
        self._written = 0  # of them
        self._replaced: list[Manifest] = []  # of earlier drivers, whose reports are among these
        self._writing = threading.Lock()

    def add(self, report: LeaseReport) -> None:
        """Keeps the report of a lease that is committed for the next writing."""
        self._reports.append(report)

    def take_over(self, writings: Sequence[Manifest], reports: Iterable[LeaseReport]) -> None:
        """Keeps the reports of a small block of an earlier driver, whose files are removed once they are written."""
        self._reports.extend(reports)
        self._replaced.extend(writings)

    def is_full(self) -> bool:
        """Whether a whole block waits to be written."""
        return len(self._reports) >= BLOCK

    def write(self) -> None:
        """Writes what was added since the last time, if it is worth a file. Raises StorageError; nothing is lost then:
        the next writing holds it."""
        with self._writing:
            self._write()

    def _write(self) -> None:
        while self._written < len(self._reports) >= self.FEWEST:
            reports, manifest = self._reports[:BLOCK], self._next
            manifests.write(self._location, self._round, manifest, _encoder.encode(reports))
            self._written = len(reports)
            self._next = replace(manifest, writing=manifest.writing + 1)
            self._remove(manifest, back=2)  # the one before stays, for readers that have listed it
            if len(reports) == BLOCK:
                self._remove(manifest, back=1)
                del self._reports[:BLOCK]
                self._written = 0
                self._next = Manifest(manifest.driver, manifest.block + 1, 0)
        if self._written == len(self._reports):
            while self._replaced:
                manifests.remove(self._location, self._round, self._replaced.pop())

    def _remove(self, manifest: Manifest, *, back: int) -> None:
        if manifest.writing >= back:
            manifests.remove(self._location, self._round, replace(manifest, writing=manifest.writing - back))


def read_reports(
    location: Location,
    round_index: int,
    *,
    committed: Collection[int] | None = None,
    into: ManifestWriter | None = None,
    note: Callable[[str], None] = log.warning,
) -> Iterator[LeaseReport]:
    """Reports of all committed leases of a round, in no order; `committed`: their numbers, where they are known.

    `into`: is given what no full manifest holds, so that the next driver finds it there; only where no other driver is
    at work. `note` is told of manifests that can't be believed. Raises StorageError for a damaged shard."""
    left = set(shard_files.committed(location, round_index) if committed is None else committed)
    blocks = list(manifests.blocks(location, round_index))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        read = partial(_read_block, location, round_index, left)
        for block in chain.from_iterable(pool.map(read, some) for some in _batched(blocks)):
            newest, fault = block.writings[0], block.fault
            ours = [report for report in block.reports if report.lease in left] if fault is None else []
            if fault is not None:
                place = location.show(f"{manifests.folder(round_index)}/{newest.base_name}")
                note(f"{place}: {fault}; the commit files of its leases are read instead")
            if into is not None and len(ours) < BLOCK:
                into.take_over(block.writings, ours)
            for report in ours:
                if report.lease in left:
                    left.discard(report.lease)
                    yield report
        numbers = sorted(left)
        for start in range(0, len(numbers), BATCH):  # a call that waits takes memory
            for report in pool.map(partial(_read, location, round_index), numbers[start : start + BATCH]):
                if into is not None:
                    into.add(report)
                    if into.is_full():
                        into.write()
                yield report


def forget(location: Location, round_index: int, leases: Collection[int]) -> None:
    """Removes every manifest with a report of one of these leases, and every one that can't be read: what it says of
    others is read from their commit files. Only where no driver is at work. Raises StorageError."""
    for writings in list(manifests.blocks(location, round_index)):
        for manifest in reversed(writings):
            reports = _reports_of(location, round_index, manifest)
            if reports is None or any(report.lease in leases for report in reports):
                manifests.remove(location, round_index, manifest)


@dataclass(frozen=True, slots=True)
class _ManifestBlock:
    """The reports of the newest writing of a block that can be read; `fault`: why they are not to be believed."""

    writings: list[Manifest]
    reports: list[LeaseReport]
    fault: str | None


def _read_block(
    location: Location, round_index: int, committed: Collection[int], writings: list[Manifest]
) -> _ManifestBlock:
    """Raises StorageError for a damaged shard."""
    found = (_reports_of(location, round_index, manifest) for manifest in writings)
    reports = next((one for one in found if one is not None), None)
    if reports is None:
        return _ManifestBlock(writings, [], "can't be read")
    ours = [report for report in reports if report.lease in committed]
    for report in random.sample(ours, min(SAMPLE, len(ours))):
        if _read(location, round_index, report.lease) != report:
            return _ManifestBlock(writings, [], f"says otherwise than the commit file of lease {report.lease}")
    return _ManifestBlock(writings, reports, None)


def _batched(blocks: list[list[Manifest]]) -> Iterator[list[list[Manifest]]]:
    """Few at a time: a block that waits takes the memory of its reports."""
    for start in range(0, len(blocks), BLOCKS_AT_ONCE):
        yield blocks[start : start + BLOCKS_AT_ONCE]


def _reports_of(location: Location, round_index: int, manifest: Manifest) -> list[LeaseReport] | None:
    content = manifests.read(location, round_index, manifest)
    if content is None:
        return None
    try:
        return _decoder.decode(content)
    except msgspec.DecodeError:
        return None


def read_commit_marks(location: Location, lease: int, round_index: int) -> dict[str, str]:
    """Reads what a commit file says of itself beside its rows, the lease's report among it. Raises StorageError for a
    damaged shard."""
    name = location.show(shard_files.holder(location, lease, round_index).name(schema.COMMIT, round_index))
    try:
        marks = checked_read.read_marks(location, schema.COMMIT, lease, round_index)
        json.loads(marks["report"])
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise StorageError(f"{name}: is damaged ({error}); `berry check` says more") from error
    return marks


def _read(location: Location, round_index: int, lease: int) -> LeaseReport:
    report = json.loads(read_commit_marks(location, lease, round_index)["report"])
    return LeaseReport(**{**report, "ledger": TokenLedger(**report["ledger"])})
