"""Keeps the journal of a lease in flight: every completed event, so that a crash loses nothing that was generated.

    search events ─► LeaseJournal.record ─► flush (about once a second) ─► segments
    after a crash: segments ─► LeaseJournal.load ─► Search.start, handle, handle … ─► PendingCommands ─► go on

Replay must lead to where the search was: beside the events the journal keeps, at each flush, a running digest of the
commands every search has issued. If a replayed search issues others (another version of a policy), its journal is put
aside and the search starts afresh: work is lost then, never correctness.

Nothing is encoded before a flush, and then on its thread: what is recorded is frozen, and a lease that ends between two
flushes costs an entry in a list for each event, or for several that came at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from typing import Any, get_args

import msgspec

from berry.pipeline.core.events import Command, Event
from berry.pipeline.errors import StorageError
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.parquet import shard_files
from berry.pipeline.storage.run import segments

_KINDS: tuple[type[Any], ...] = get_args(Event)
_NUMBER = {kind: number for number, kind in enumerate(_KINDS)}
_HEADER, _MARK, _RESET, _BEGUN, _ENDED = 100, 101, 102, 103, 104
_encoder = msgspec.msgpack.Encoder()
_decoders: list[Any] = [msgspec.msgpack.Decoder(kind) for kind in _KINDS]
_frame = msgspec.msgpack.Decoder(tuple[int, str, msgspec.Raw])


@dataclass(slots=True)
class CommandDigest:
    """The digest of all commands that a search has issued, and how many events it was given."""

    events: int = 0
    _digester: Any = field(default_factory=lambda: blake2b(digest_size=8))
    _issued: list[Sequence[Command]] = field(default_factory=list)  # since the digest was last taken

    def follow(self, commands: Sequence[Command]) -> None:
        """Takes in commands, so that a replay can be compared with what was asked before."""
        if commands:
            self._issued.append(commands)

    @property
    def digest(self) -> bytes:
        """The digest of all commands so far, 8 bytes: a replay that comes to another one has gone astray."""
        issued, self._issued = self._issued, []
        self._digester.update(b"".join(map(_encoder.encode, issued)))
        return self._digester.digest()


_Record = tuple[str, Any, int | None]
"""Problem, payload, kind: None where the payload is a sequence of events, each of which says its own."""


def _encode(record: _Record) -> Iterator[bytes]:
    problem_id, payload, kind = record
    if kind is not None:
        yield _encoder.encode((kind, problem_id, payload))
        return
    for event in payload:
        yield _encoder.encode((_NUMBER[type(event)], problem_id, event))


@dataclass(slots=True)
class Past:
    """What a journal holds of one problem: events in order, and the digests it had after some of them."""

    events: list[Event] = field(default_factory=list)
    marks: dict[int, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class LeaseJournal:
    """One attempt at one lease. Nothing is written before the first flush: a lease that ends sooner costs no file.

    location: the run directory, where every attempt behind the first leaves a mark, wherever the journal is
    local:    a folder of this host for the journal itself; None: it is in the run directory
    is_off:   nothing is kept
    batches:  writes segments together with those of the worker's other leases; None: each is a file
    """

    location: Location
    lease: int
    round_index: int
    local: Location | None = None
    is_off: bool = False
    batches: segments.BatchWriter | None = None
    past: dict[str, Past] = field(default_factory=dict)
    deadly: set[str] = field(default_factory=set)  # searched alone, and the worker died
    closed: bool = False
    _base: dict[int, int] = field(default_factory=dict)
    _attempt: int = 0
    _number: int = 0
    _buffer: list[_Record] = field(default_factory=list)
    _tracked: dict[str, Callable[[], CommandDigest]] = field(default_factory=dict)
    _marked: dict[str, int] = field(default_factory=dict)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def folder(self) -> str:
        """Where the journal lies below the run directory, or below `local`."""
        return segments.folder(self.lease, self.round_index)

    def load(self, *, attempt: int = 0) -> None:
        """Reads what earlier attempts left; this one is at least the `attempt`-th. Raises StorageError."""
        attempts = segments.read(self.local or self.location, self.folder)
        used = _visible(attempts)
        for attempt in sorted(used):
            for records in attempts[attempt][: used[attempt]]:
                for record in records:
                    self._take(record)
        self._base = used
        self._attempt = max(max(attempts, default=-1) + 1, attempt)

    def _take(self, record: bytes) -> None:
        kind, problem_id, payload = _frame.decode(record)
        if kind == _HEADER:
            return
        if kind == _RESET:
            self.past.pop(problem_id, None)
            return
        if kind == _BEGUN:
            self.deadly.add(problem_id)
            return
        if kind == _ENDED:
            self.deadly.discard(problem_id)
            return
        past = self.past.setdefault(problem_id, Past())
        if kind == _MARK:
            count, digest = msgspec.msgpack.decode(payload, type=tuple[int, bytes])
            past.marks[count] = digest
        else:
            past.events.append(_decoders[kind].decode(payload))

    def track(self, problem_id: str, chain: Callable[[], CommandDigest]) -> None:
        """Takes the digests of a problem from `chain` at each flush."""
        self._tracked[problem_id] = chain

    def record(self, problem_id: str, *events: Event) -> None:
        """Keeps events for the next flush."""
        if events and not self.is_off:
            self._buffer.append((problem_id, events, None))

    def reset(self, problem_id: str) -> None:
        """Forgets what is journalled of a problem, whose search starts afresh."""
        self.past.pop(problem_id, None)
        if not self.is_off:
            self._buffer.append((problem_id, None, _RESET))

    async def begin_alone(self, problem_id: str) -> None:
        """Writes that a problem is searched alone now, before it is: if the worker dies, this problem killed it."""
        self._buffer.append((problem_id, None, _BEGUN))
        await self.flush()

    async def begin(self) -> None:
        """Writes that this attempt replaces those before it, before anything else."""
        async with self._writing:
            if self.local is None and not self.is_off:
                await self._flush(empty=True)
            else:
                attempt = self._attempt
                mark = partial(segments.write, self.location, self.folder, attempt=attempt, number=0, records=())
                await asyncio.to_thread(mark)

    def is_replaced(self) -> bool:
        """Whether a later attempt at the lease has begun, or any has committed it. Raises StorageError."""
        later = max((int(name[:3]) for name in self.location.names(self.folder) if name[:3].isdigit()), default=0)
        return later > self._attempt or shard_files.has_own_commit(self.location, self.lease, self.round_index)

    def end_alone(self, problem_id: str) -> None:
        """Keeps for the next flush that the problem did not kill its worker."""
        self._buffer.append((problem_id, None, _ENDED))

    async def flush(self) -> int:
        """Writes what was recorded since the last flush as one segment; returns its bytes. Raises StorageError; the
        records are kept for the next flush then, since a journal with a gap is worth nothing."""
        async with self._writing:
            return await self._flush()

    async def _flush(self, *, empty: bool = False) -> int:
        taken = self._taken(empty=empty)
        if taken is None:
            return 0
        number, records = taken
        try:
            return await asyncio.to_thread(self._write, number, records)
        except StorageError:
            self._give_back(number, records)
            raise

    def _taken(self, *, empty: bool = False) -> tuple[int, list[_Record]] | None:
        """The number of the next segment and what it holds: all since the last; None where there is nothing."""
        if self.closed or self.is_off or not (self._buffer or empty):
            return None
        records, self._buffer = self._buffer, []
        for problem_id, chain in self._tracked.items():
            now = chain()
            if self._marked.get(problem_id) != now.events:
                self._marked[problem_id] = now.events
                records.append((problem_id, (now.events, now.digest), _MARK))
        if self._number == 0:
            records.insert(0, ("", self._base, _HEADER))
        self._number += 1
        return self._number - 1, records

    def _give_back(self, number: int, records: list[_Record]) -> None:
        self._buffer[:0] = records[number == 0 :]
        self._number = number

    def _segment(self, number: int, records: Sequence[_Record]) -> segments.JournalSegment:
        encoded = [line for record in records for line in _encode(record)]
        return segments.JournalSegment(self.lease, self._attempt, number, encoded)

    def _write(self, number: int, records: Sequence[_Record]) -> int:
        segment = self._segment(number, records)
        if self.batches is not None:
            return self.batches.write([segment])
        place, attempt = self.local or self.location, self._attempt
        return segments.write(place, self.folder, attempt=attempt, number=number, records=segment.records)

    async def remove(self) -> None:
        """Removes the journal, after the lease's commit."""
        self.closed = True
        self._buffer.clear()
        self._tracked.clear()
        async with self._writing:  # a segment on its way would find its folder gone
            await asyncio.to_thread(self._remove)

    def _remove(self) -> None:
        if self._attempt or (self._number and self.local is None):
            segments.remove(self.location, self.folder)
        if self._number and self.local is not None:
            segments.remove(self.local, self.folder)
        if self._number and self.batches is not None:
            self.batches.close(self.lease)


async def flush_together(journals: Sequence[LeaseJournal], batches: segments.BatchWriter) -> None:
    """Writes what several journals recorded since their last flush as one batch. Raises StorageError; the records are
    kept for the next flush then."""
    async with AsyncExitStack() as held:
        for journal in journals:
            await held.enter_async_context(journal._writing)
        taken = [(journal, *one) for journal in journals if (one := journal._taken()) is not None]
        if not taken:
            return

        def write() -> None:
            batches.write([journal._segment(number, records) for journal, number, records in taken])

        try:
            await asyncio.to_thread(write)
        except StorageError:
            for journal, number, records in taken:
                journal._give_back(number, records)
            raise


def _visible(attempts: dict[int, list[list[bytes]]]) -> dict[int, int]:
    """How many segments of each attempt count: those that the last attempt replayed, and all of its own. Segments that
    a worker wrote after it was replaced are left out."""
    with_header = [a for a, parts in attempts.items() if parts]
    if not with_header:
        return {}
    last = max(with_header)
    kind, _, payload = _frame.decode(attempts[last][0][0])
    base = msgspec.msgpack.decode(payload, type=dict[int, int]) if kind == _HEADER else {}
    return {**base, last: len(attempts[last])}
