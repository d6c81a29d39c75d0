"""Which sandbox actor a check goes to."""

from __future__ import annotations

import asyncio
from typing import Any

from ray.exceptions import RayActorError

from berry.pipeline.runtime.actors.sandbox_client import SandboxEndpoint, VerifyClient
from berry.sandboxes.sessions import SessionCall, SessionReply
from berry.verifiers.base import Reason, verdict
from berry.verifiers.checker import CheckRequest
from berry.verifiers.specs.union import MathSpec

REQUEST = CheckRequest("p", MathSpec(answer="1"), "1")


class Actor:
    """Answers when it is let to; `check.remote` as a Ray actor has it."""

    def __init__(self, *, dead: bool = False) -> None:
        self.dead = dead
        self.asked = 0
        self.answered = asyncio.Event()

    @property
    def check(self) -> Any:
        return self

    async def remote(self, request: CheckRequest) -> Any:
        self.asked += 1
        if self.dead:
            raise RayActorError
        await self.answered.wait()
        return verdict(Reason.CORRECT)


def sites(*actors: tuple[Actor, str]) -> list[SandboxEndpoint]:
    return [SandboxEndpoint(f"s{i}", actor, 2, node) for i, (actor, node) in enumerate(actors)]


async def begun(client: VerifyClient, count: int) -> list[asyncio.Task[Any]]:
    tasks = []
    for _ in range(count):
        tasks.append(asyncio.create_task(client.verify(REQUEST)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return tasks


async def test_checks_stay_on_their_node_until_its_slots_are_full_and_then_spill_over() -> None:
    far, near = Actor(), Actor()
    client = VerifyClient(sites((far, "b"), (near, "a")), "a")
    tasks = await begun(client, 2)
    assert (near.asked, far.asked) == (2, 0)
    tasks += await begun(client, 2)
    assert (near.asked, far.asked) == (2, 2)
    tasks += await begun(client, 2)  # all full: evenly
    assert (near.asked, far.asked) == (3, 3)
    near.answered.set()
    far.answered.set()
    assert all(v.passed for v in await asyncio.gather(*tasks))


async def test_a_tool_call_goes_where_the_session_of_its_path_is_while_that_is_up() -> None:
    class Tool:
        def __init__(self) -> None:
            self.paths: list[int] = []
            self.call = self

        async def remote(self, request: SessionCall) -> SessionReply:
            self.paths.append(len(request.past))
            return SessionReply("1")

    near, far = Tool(), Tool()
    client = VerifyClient([SandboxEndpoint("s0", near, 2, "a"), SandboxEndpoint("s1", far, 2, "b")], "a")
    await client.call(SessionCall("t", (), "x = 1"))
    client.update([SandboxEndpoint("s1", far, 2, "a"), SandboxEndpoint("s0", near, 2, "b")])
    await client.call(SessionCall("t", (("x = 1", "1"),), "x"))
    await client.call(SessionCall("other", (), "x = 1"))
    assert (near.paths, far.paths) == ([0, 1], [0])
    client.update([SandboxEndpoint("s1", far, 2, "a")])
    await client.call(SessionCall("t", (("x = 1", "1"), ("x", "1")), "x"))
    assert far.paths == [0, 2]


async def test_who_leaves_still_answers_and_is_asked_no_more() -> None:
    going, staying = Actor(), Actor()
    client = VerifyClient(sites((going, "a"), (staying, "b")), "a")
    tasks = await begun(client, 1)
    client.update(sites((going, "a"), (staying, "b"))[1:])
    tasks += await begun(client, 3)
    assert (going.asked, staying.asked) == (1, 3)
    going.answered.set()
    staying.answered.set()
    assert all(v.passed for v in await asyncio.gather(*tasks))


async def test_without_any_a_check_waits_for_one_to_come() -> None:
    dead, fresh = Actor(dead=True), Actor()
    client = VerifyClient(sites((dead, "a")), "a")
    tasks = await begun(client, 1)
    client.update([])
    tasks += await begun(client, 1)
    fresh.answered.set()
    client.update([SandboxEndpoint("new", fresh, 2, "b")])
    assert all(v.passed for v in await asyncio.wait_for(asyncio.gather(*tasks), 5))
    assert fresh.asked == 2
