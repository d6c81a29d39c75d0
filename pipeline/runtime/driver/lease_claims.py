"""Takes leases for one site of several that share a run directory: those nobody else works on, a few ahead.

    claims, commits, heartbeats on storage ─► free leases ─► claims.take ─► ClaimedLeases.take ─► Coordinator
                                                  └── leases of a site that is dead, with their journals

A pass walks the problems once and claims what it can; passes go on until every lease that is not this site's own is
committed, whoever did it. Between rounds one site trains, and the others wait for it (`turn_at_training`).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import BerryError, StorageError
from berry.pipeline.runtime.driver.signals import on_stop
from berry.pipeline.stages.leases.lease import FirstResultCounts, Lease, LeaseReport
from berry.pipeline.stages.leases.partition import AllBut, TrainingTurn, left_out, round_state, run_leases
from berry.pipeline.storage.parquet import shard_files
from berry.pipeline.storage.run import claims
from berry.pipeline.storage.run.claims import Claim, Owner
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.heartbeat import Presence, Watcher
from berry.pipeline.storage.run.weights_file import weights_after

CLAIMED_AHEAD = 2  # leases claimed before a worker asks for them
MOST_POLL_S = 10.0  # between two looks at the store, however long a site may be silent


class ClaimedLeases:
    """The leases of one of several sites, which claims each before it hands it out (`RoundLeases`)."""

    def __init__(self, run: RunDir, config: RunConfig, presence: Presence, *, total: int) -> None:
        self._run = run
        self._config = config
        self._presence = presence
        self._total = total  # leases of a round
        self._owner = Owner(presence.name, presence.token)
        self._watcher = Watcher(run.location, presence.silent_s)
        self._poll_s = min(MOST_POLL_S, presence.silent_s / 6)
        self.committed_before: set[int] = set()
        self.is_shared = True
        self.went_on = 0
        self._round = 0
        self._start_round(0, set())

    def _start_round(self, round_index: int, journalled: set[int]) -> None:
        self._round = round_index
        self._journalled = journalled  # left by a run that was not shared
        self._ready: deque[Lease] = deque()  # claimed, and not handed out yet
        self._room = asyncio.Event()
        self._mine: dict[int, Claim] = {}
        self._free: dict[int, int] = {}  # lease -> number of its next claim
        self._owners: dict[Claim, Owner | None] = {}
        self._polled_at = 0.0
        self._failure: BerryError | None = None
        self.may_have_more = True

    def begin_round(self, round_index: int) -> None:
        """Removes nothing that is not committed: another site may be writing it."""
        self.committed_before, journalled = round_state(self._run, round_index)
        self._start_round(round_index, journalled)

    def settle(self, report: LeaseReport) -> None:
        """Nothing follows from it: sites share no run that escalates."""

    def take(self, engine: str = "") -> Lease | None:
        """Raises what made claiming fail."""
        del engine  # sites share no run of several
        if self._failure is not None:
            raise self._failure
        if not self._ready:
            return None
        self._room.set()
        return self._ready.popleft()

    async def work(self, wake: Callable[[], Awaitable[None]]) -> None:
        """Claims leases until nothing is left that another site could leave to this one."""
        try:
            while await asyncio.to_thread(self._poll):
                await self._claim_free_leases(wake)
                await asyncio.sleep(self._poll_s if not self._free else 0)
        except BerryError as error:
            self._failure = error
        finally:
            self.may_have_more = False
            await wake()

    def end_round(self) -> None:
        """Gives the claims back whose leases are committed."""
        committed = self._run.committed(self._round)
        for lease, claim in self._mine.items():
            if lease in committed:
                claims.release(self._run.location, self._round, claim)

    def is_unfinished(self) -> bool:
        """True where other sites have taken over what was this one's, and have not committed it yet."""
        return len(self._run.committed(self._round)) < self._total

    # ---- claims -----------------------------------------------------------------------------------------------------

    async def _claim_free_leases(self, wake: Callable[[], Awaitable[None]]) -> None:
        """Walks over all problems once."""
        leases = run_leases(self._config, skip=AllBut(self._free), left_out=left_out(self._run))
        while self._free and (lease := await asyncio.to_thread(next, leases, None)) is not None:
            while len(self._ready) >= CLAIMED_AHEAD:
                self._room.clear()
                await self._room.wait()
            claimed = await asyncio.to_thread(self._claim, lease)
            if claimed is not None:
                self._ready.append(claimed)
                await wake()
            if time.monotonic() - self._polled_at > self._poll_s:
                await asyncio.to_thread(self._poll)

    def _poll(self) -> bool:
        """Reads who works on what; whether any lease is neither committed nor this site's."""
        if self._presence.is_taken:
            raise StorageError(
                f"{self._run.location.show()}: site {self._presence.name!r} was silent for too long "
                "and another process runs under its name now; give each process a storage.site of its own"
            )
        location, living = self._run.location, {sign.token for sign in self._watcher.look().values()}
        living.discard(self._owner.token)  # claims that an earlier pass over the round left behind
        claimed = claims.latest(location, self._round)  # before the commits: a claim that is gone has been committed
        committed = self._run.committed(self._round)
        self._free.clear()
        for lease in range(self._total):
            claim = claimed.get(lease)
            if lease in committed:
                self._release(lease, claim, living)
            elif lease not in self._mine:
                if claim is None:
                    self._free[lease] = 0
                elif not self._is_held(claim, living):
                    self._free[lease] = claim.number + 1
        self._polled_at = time.monotonic()
        return len(committed | self._mine.keys()) < self._total

    def _is_held(self, claim: Claim, living: set[str]) -> bool:
        if claim not in self._owners:
            self._owners[claim] = claims.owner(self._run.location, self._round, claim)
        owner = self._owners[claim]
        return owner is not None and owner.token in living

    def _release(self, lease: int, claim: Claim | None, living: set[str]) -> None:
        """Gives back the claim on a committed lease, if it was this site's or its owner is dead."""
        if claim is not None and (lease in self._mine or not self._is_held(claim, living)):
            claims.release(self._run.location, self._round, claim)
            self._owners.pop(claim, None)

    def _claim(self, lease: Lease) -> Lease | None:
        """None where another site was faster, or has left only the writing to be done."""
        location, number = self._run.location, self._free.pop(lease.number, None)
        if number is None:
            return None
        claim = Claim(lease.number, number)
        if not claims.take(location, self._round, claim, self._owner):
            return None
        self._mine[lease.number] = claim
        is_written = location.exists(shard_files.shard_name("trajectories", lease.number, self._round))
        if is_written or claims.finish(location, round_index=self._round, lease=lease.number):
            return None
        return replace(
            lease,
            attempt=number,
            resumed=lease.number in self._journalled,
            commit_rule=FirstResultCounts(self._owner.token),
            round_index=self._round,
        )

    # ---- training ---------------------------------------------------------------------------------------------------

    async def turn_at_training(self, round_index: int, say: Callable[[str], None]) -> TrainingTurn | None:
        """This site's turn: 0, or more where sites before it died. None where another site has trained on the round,
        or a signal asked to stop. Waits while another site that lives has its turn."""
        ended = asyncio.Event()
        trainer = ""
        with on_stop(ended.set):
            while not ended.is_set():
                if await asyncio.to_thread(weights_after, self._run, round_index) is not None:
                    return None
                turn = await asyncio.to_thread(self._turn, round_index)
                if isinstance(turn, int):
                    return TrainingTurn(turn)
                if turn != trainer:
                    trainer = turn
                    say(f"waiting for what site {trainer} learns from round {round_index}")
                with suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), self._poll_s)
        return None

    def _turn(self, round_index: int) -> int | str:
        """The number of this site's turn, or the name of the living site that has its own."""
        location = self._run.location
        last = claims.last_turn(location, round_index)
        holder = None if last < 0 else claims.turn_of(location, round_index, last)
        if holder is not None and holder.token in {sign.token for sign in self._watcher.look().values()}:
            return holder.site
        won = claims.take_turn(location, round_index, last + 1, self._owner)
        return last + 1 if won else self._turn(round_index)
