"""One site of several that share a run directory: takes leases nobody else works on, a few ahead of its workers.

    listing of claims, commits, signs of life ─► takeable ─► claims.take ─► Coordinator
                                                     └── leases of a site that is dead: taken over with their journals

A pass walks the problems once and takes what it can; passes go on until every lease that is not this site's own is
committed, whoever did it. Between rounds one site learns, and the others wait for what it learns (`turn_at_learning`).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Container, Iterator
from contextlib import suppress
from dataclasses import replace

from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import BerryError, StorageError
from berry.pipeline.runtime.driver.signals import on_stop
from berry.pipeline.stages.leases.lease import Lease
from berry.pipeline.stages.leases.partition import iter_leases
from berry.pipeline.storage import claims, shards
from berry.pipeline.storage.claims import Claim, Owner
from berry.pipeline.storage.dataset import RunDir
from berry.pipeline.storage.heartbeat import Presence, Watcher
from berry.pipeline.storage.weights_file import weights_after

AHEAD = 2  # leases claimed before a worker asks for them


class LeaseClaims(Iterator[Lease]):
    """What the coordinator draws its leases from. An end is none while `more` is true."""

    def __init__(
        self,
        run: RunDir,
        config: RunConfig,
        presence: Presence,
        *,
        round_index: int,
        total: int,
        journalled: Container[int],
    ) -> None:
        self._run = run
        self._config = config
        self._presence = presence
        self._round = round_index
        self._total = total
        self._journalled = journalled  # what a run without sites left
        self._owner = Owner(presence.name, presence.token)
        self._watcher = Watcher(run.location, presence.silent_s)
        self._look_s = min(10.0, presence.silent_s / 6)
        self._ready: deque[Lease] = deque()
        self._room = asyncio.Event()
        self._mine: dict[int, Claim] = {}
        self._released: set[int] = set()
        self._takeable: dict[int, int] = {}  # lease -> number of its next claim
        self._owners: dict[Claim, Owner | None] = {}
        self._looked = 0.0
        self._failed: BerryError | None = None
        self.more = True

    def __next__(self) -> Lease:
        if self._failed is not None:
            raise self._failed
        if not self._ready:
            raise StopIteration
        self._room.set()
        return self._ready.popleft()

    async def work(self, wake: Callable[[], Awaitable[None]]) -> None:
        """Until nothing is left that another site could leave to this one. `wake` tells who waits for a lease."""
        try:
            while await asyncio.to_thread(self._look):
                await self._pass(wake)
                await asyncio.sleep(self._look_s if not self._takeable else 0)
        except BerryError as error:
            self._failed = error
        finally:
            self.more = False
            await wake()

    async def _pass(self, wake: Callable[[], Awaitable[None]]) -> None:
        """Over all problems, once."""
        source = iter_leases(
            self._config.problems, size=self._config.storage.lease_problems, skip=_Except(self._takeable)
        )
        while self._takeable and (lease := await asyncio.to_thread(next, source, None)) is not None:
            while len(self._ready) >= AHEAD:
                self._room.clear()
                await self._room.wait()
            taken = await asyncio.to_thread(self._take, lease)
            if taken is not None:
                self._ready.append(taken)
                await wake()
            if time.monotonic() - self._looked > self._look_s:
                await asyncio.to_thread(self._look)

    def _look(self) -> bool:
        """Takes stock; whether any lease is left that this site has not claimed and nobody has committed."""
        if self._presence.is_taken:
            raise StorageError(
                f"{self._run.location.show()}: site {self._presence.name!r} was silent for too long "
                "and another process runs under its name now; give each process a storage.site of its own"
            )
        location, living = self._run.location, {sign.token for sign in self._watcher.look().values()}
        living.discard(self._owner.token)  # what an earlier pass over the round left behind
        claimed = claims.latest(location, self._round)  # before the commits: a claim that is gone has been committed
        committed = self._run.committed(self._round)
        self._takeable.clear()
        for lease in range(self._total):
            if lease in committed:
                self._release(lease, claimed.get(lease), living)
            elif lease not in self._mine:
                claim = claimed.get(lease)
                if claim is None:
                    self._takeable[lease] = 0
                elif not self._is_held(claim, living):
                    self._takeable[lease] = claim.number + 1
        self._looked = time.monotonic()
        return len(committed | self._mine.keys()) < self._total

    def _is_held(self, claim: Claim, living: set[str]) -> bool:
        if claim not in self._owners:
            self._owners[claim] = claims.owner(self._run.location, self._round, claim)
        owner = self._owners[claim]
        return owner is not None and owner.token in living

    def _release(self, lease: int, claim: Claim | None, living: set[str]) -> None:
        """Of a committed lease, if it was this site's or its owner is dead."""
        if claim is not None and (lease in self._mine or not self._is_held(claim, living)):
            claims.release(self._run.location, self._round, claim)
            self._owners.pop(claim, None)

    def _take(self, lease: Lease) -> Lease | None:
        """None where another site was faster, or has left only the writing to be done."""
        location, number = self._run.location, self._takeable.pop(lease.number, None)
        if number is None:
            return None
        claim = Claim(lease.number, number)
        if not claims.take(location, self._round, claim, self._owner):
            return None
        self._mine[lease.number] = claim
        done = location.exists(shards.shard_name("trajectories", lease.number, self._round))
        if done or claims.finish(location, round_index=self._round, lease=lease.number):
            return None
        resumed = lease.number in self._journalled
        return replace(lease, resumed=resumed, token=self._owner.token, takeovers=number, round_index=self._round)

    def close(self) -> None:
        """Gives the claims back whose leases are committed."""
        committed = self._run.committed(self._round)
        for lease, claim in self._mine.items():
            if lease in committed:
                claims.release(self._run.location, self._round, claim)


class _Except:
    """Skips every lease but those in `wanted`, as it is at the moment."""

    def __init__(self, wanted: dict[int, int]) -> None:
        self._wanted = wanted

    def __contains__(self, lease: object) -> bool:
        return lease not in self._wanted


async def turn_at_learning(
    run: RunDir, presence: Presence, round_index: int, waiting: Callable[[str], None]
) -> int | None:
    """Of this site, as the number of the turn: 0, or more where sites before it died. None where another site has
    learned from the round, or a signal asked to stop. Waits while another site that lives has its turn."""
    watcher, ended = Watcher(run.location, presence.silent_s), asyncio.Event()
    learner = ""
    with on_stop(ended.set):
        while not ended.is_set():
            if await asyncio.to_thread(weights_after, run, round_index) is not None:
                return None
            found = await asyncio.to_thread(_turn, run, presence, watcher, round_index)
            if isinstance(found, int):
                return found
            if found != learner:
                learner = found
                waiting(f"waiting for what site {found} learns from round {round_index}")
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), min(10.0, presence.silent_s / 6))
    return None


def _turn(run: RunDir, presence: Presence, watcher: Watcher, round_index: int) -> int | str:
    """The number of this site's turn, or the name of the living site that has its own."""
    last = claims.last_turn(run.location, round_index)
    holder = None if last < 0 else claims.turn_of(run.location, round_index, last)
    if holder is not None and holder.token in {sign.token for sign in watcher.look().values()}:
        return holder.site
    won = claims.take_turn(run.location, round_index, last + 1, Owner(presence.name, presence.token))
    return last + 1 if won else _turn(run, presence, watcher, round_index)
