"""Chooses the server that a sample is drawn on, and keeps watch over which of them answer.

    tree ─► pick ─► its server, else the one with least to do        fail(server) ─► asked how it is ─► back, or left

A tree stays on one server, whose prefix cache holds it. Where that server fails, the tree goes to another: its prefix
is read there anew, and nothing else is lost. A server that failed is asked again and again until it answers as it did
at the start, and then takes new trees. One event loop; the checks themselves are given by the caller.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from berry.pipeline.engines.slots import PrioritySlots
from berry.pipeline.errors import EngineError
from berry.pipeline.tasks import end_tasks

POLL_S = 10.0  # between two looks at a server that answers
MISSED_POLLS = 3  # in a row, after which a server that no request has found dead is left
FIRST_RETRY_S, LAST_RETRY_S = 0.25, 15.0  # between two looks at one that does not, doubling
REMEMBERED_TREES = 100_000  # the latest, with the server they are on
log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Server:
    """One server. `load`: samples asked of it that have not ended, those that wait for a slot included; `trees`: that
    were ever given to it; `is_up`: whether it gets new samples; `gone`: set while it is known to be dead, so that what
    still waits for it is told."""

    url: str
    root: str
    slots: PrioritySlots
    load: int = 0
    trees: int = 0
    is_up: bool = True
    fault: str = ""
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    suspected: asyncio.Event = field(default_factory=asyncio.Event)


class Servers:
    """All servers of an engine. `check` asks one how it is: it returns what is wrong, or None. `changed` is told when
    the number of taken slots changes."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        slots_each: int,
        patience_s: float,
        check: Callable[[Server], Awaitable[str | None]],
        changed: Callable[[], None],
    ) -> None:
        self.all = [Server(url, root_of(url), PrioritySlots(slots_each, lambda _: changed())) for url in urls]
        self.moved_trees = 0
        self._patience_s = patience_s
        self._check = check
        self._by_tree: OrderedDict[str, Server] = OrderedDict()
        self._some_up = asyncio.Event()
        self._some_up.set()
        self._watchers: list[asyncio.Task[None]] = []

    @property
    def taken(self) -> int:
        return sum(server.slots.taken for server in self.all)

    @property
    def waiting(self) -> int:
        return sum(server.slots.waiting for server in self.all)

    def watch(self) -> None:
        """Begins to look after the servers, until `close`."""
        self._watchers = [asyncio.create_task(self._watch(server)) for server in self.all]

    async def close(self) -> None:
        """Stops looking after the servers."""
        await end_tasks(self._watchers)
        self._watchers = []

    async def pick(self, tree: str) -> Server:
        """The server for a sample of `tree`; an empty name is of no tree. Waits while none answers; raises EngineError
        that names them all when that has lasted too long."""
        while (server := self._pick(tree)) is None:
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._some_up.wait()
            except TimeoutError:
                faults = "; ".join(f"{server.url}: {server.fault}" for server in self.all)
                raise EngineError(f"no server has answered for {self._patience_s:g} s: {faults}") from None
        return server

    def _pick(self, tree: str) -> Server | None:
        known = self._by_tree.get(tree)
        if known is not None and known.is_up:
            self._by_tree.move_to_end(tree)
            return known
        alive = [server for server in self.all if server.is_up]
        if not alive:
            self._some_up.clear()
            return None
        server = min(alive, key=lambda one: (one.load, one.trees))
        if tree:
            server.trees += 1
            self.moved_trees += known is not None
            self._by_tree[tree] = server
            self._by_tree.move_to_end(tree)
            if len(self._by_tree) > REMEMBERED_TREES:
                self._by_tree.popitem(last=False)
        return server

    def fail(self, server: Server, fault: str) -> None:
        """Gives a server that failed a sample no more of them until it has been asked how it is. What runs there goes
        on: another sample's failure need not be its own."""
        server.is_up, server.fault = False, fault
        server.suspected.set()

    async def _watch(self, server: Server) -> None:
        """Looks at one server for ever: now and then while it answers, at once when a sample has failed there."""
        missed, wait_s = 0, POLL_S
        while True:
            try:
                async with asyncio.timeout(wait_s):
                    await server.suspected.wait()
            except TimeoutError:
                pass
            server.suspected.clear()
            was_up = server.is_up
            fault = await self._check(server)
            if fault is None:
                missed, wait_s = 0, POLL_S
                self._restore(server)
                continue
            missed += 1
            if was_up and missed < MISSED_POLLS:
                continue
            wait_s = FIRST_RETRY_S if wait_s == POLL_S else min(2 * wait_s, LAST_RETRY_S)
            server.is_up, server.fault = False, fault
            if not server.gone.is_set():
                log.warning("%s is left until it answers again: %s", server.url, fault)
                server.gone.set()

    def _restore(self, server: Server) -> None:
        if server.gone.is_set():
            log.warning("%s answers again", server.url)
        server.is_up, server.fault = True, ""
        server.gone.clear()
        self._some_up.set()


def root_of(url: str) -> str:
    """A server's address without the version that OpenAI's clients want behind it."""
    return url.rstrip("/").removesuffix("/v1")
