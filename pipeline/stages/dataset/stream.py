"""Streams kept trajectories as leases are committed, each once, from a cursor on.

    run directory ─► leases committed since ─► kept rows, in order of their leases ─► a trainer, which stores the cursor

A run in progress is read as it grows, on any storage; merging its files in between changes nothing. Of a lease that
`berry check --repair` takes out and that is made again after it was read, nothing is given twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from berry.pipeline.errors import InputError
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.stages.leases.partition import stored_lease_count
from berry.pipeline.storage.parquet.lease_rows import Row, kept_rows
from berry.pipeline.storage.parquet.lease_tables import open_lease
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.weights_file import read_weights

POLL_S = 2.0


@dataclass(slots=True)
class StreamCursor:
    """What was given so far: by round, the leases that were read whole; and of one lease, how many rows of it."""

    done: dict[int, set[int]] = field(default_factory=dict)
    partly: tuple[int, int, int] | None = None  # round, lease, rows

    def dump(self) -> str:
        """The cursor as text that `load` reads: leases as ranges, so that it stays short."""
        done = {str(index): _ranges(leases) for index, leases in sorted(self.done.items())}
        return json.dumps({"version": 1, "done": done, "partly": self.partly})

    @classmethod
    def load(cls, text: str) -> StreamCursor:
        """Raises InputError for a text that `dump` did not write."""
        try:
            stored = json.loads(text)
            done = {int(k): {n for a, b in v for n in range(a, b + 1)} for k, v in stored["done"].items()}
            partly = stored["partly"]
            return cls(done, None if partly is None else (int(partly[0]), int(partly[1]), int(partly[2])))
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            raise InputError(
                f"the cursor {text[:60]!r} is none that a stream has given ({error}); give one that is, or none"
            ) from error


class KeptStream(Iterator[Row]):
    """Kept rows as they are committed. `cursor` says what was given so far, up to and with the last row: stored beside
    what was made of the rows, it lets a later stream go on with the next one, and each row is used once."""

    def __init__(
        self,
        run: RunDir,
        *,
        cursor: str | None = None,
        follow: bool = True,
        max_age: int | None = None,
        poll_s: float = POLL_S,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._run = run
        self._follow = follow
        self._max_age = max_age
        self._poll_s = poll_s
        self._wait = wait
        self._at = StreamCursor() if cursor is None else StreamCursor.load(cursor)
        self._rows = self._read()

    @property
    def cursor(self) -> str:
        """Where the stream stands, as text: one that is given it goes on behind the last row that this one gave."""
        return self._at.dump()

    def __next__(self) -> Row:
        return next(self._rows)

    def _read(self) -> Iterator[Row]:
        config = stored_config(self._run)
        rounds = 1 if config.rounds is None else config.rounds.count
        found = self._run.versions().get("problems") or {}
        problems = found.get("count")
        total = None if problems is None else rounds * stored_lease_count(found, config.storage.lease_problems)
        while True:
            for round_index, lease in self._open_leases():
                yield from self._lease(round_index, lease)
            is_over = total is not None and sum(map(len, self._at.done.values())) >= total
            if is_over or not self._follow:
                return
            self._wait(self._poll_s)

    def _open_leases(self) -> list[tuple[int, int]]:
        """Committed and not given yet; the one that was given in part first."""
        at = self._at
        found = [
            (index, lease)
            for index in self._run.rounds()
            for lease in sorted(self._run.committed(index) - at.done.get(index, set()))
        ]
        first = None if at.partly is None else at.partly[:2]
        return sorted(found, key=lambda place: (place != first, place))

    def _lease(self, round_index: int, lease: int) -> Iterator[Row]:
        at = self._at
        given = at.partly[2] if at.partly is not None and at.partly[:2] == (round_index, lease) else 0
        if not self._is_stale(round_index):
            for number, row in enumerate(kept_rows(open_lease(self._run.location, lease, round_index))):
                if number < given:
                    continue
                at.partly = round_index, lease, number + 1
                yield {**row, "round": round_index}
        at.done.setdefault(round_index, set()).add(lease)
        at.partly = None

    def _is_stale(self, round_index: int) -> bool:
        """Whether the weights that serve now are of a round more than `max_age` after this one."""
        if self._max_age is None:
            return False
        return read_weights(self._run.location).round_index - round_index > self._max_age


def _ranges(numbers: set[int]) -> list[tuple[int, int]]:
    ordered = sorted(numbers)
    starts = [n for before, n in pairwise([None, *ordered]) if before is None or n is None or n > before + 1]
    ends = [n for n, after in pairwise([*ordered, None]) if after is None or n is None or after > n + 1]
    return [(a, b) for a, b in zip(starts, ends, strict=True) if a is not None and b is not None]
