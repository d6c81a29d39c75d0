from __future__ import annotations

import asyncio

import pytest

from berry.pipeline.tasks import end_tasks, unless


async def test_tasks_have_let_go_when_they_have_been_ended() -> None:
    let_go: list[str] = []

    async def hold(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            let_go.append(name)

    async def fail() -> None:
        raise ValueError

    tasks = [asyncio.create_task(work) for work in (hold("a"), hold("b"), fail())]
    await asyncio.sleep(0)
    await end_tasks(task for task in tasks)
    assert sorted(let_go) == ["a", "b"]
    assert [task.cancelled() for task in tasks] == [True, True, False]


async def test_work_is_awaited_unless_something_comes_first() -> None:
    event = asyncio.Event()
    assert await unless(event, asyncio.sleep(0))
    asyncio.get_running_loop().call_soon(event.set)
    assert not await unless(event, asyncio.sleep(3600))


async def test_what_the_work_raises_is_raised() -> None:
    async def fail() -> None:
        raise ValueError("of the work")

    with pytest.raises(ValueError, match="of the work"):
        await unless(asyncio.Event(), fail())
