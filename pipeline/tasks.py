"""Ends tasks of an event loop: cancelled, and waited for until they have let go of what they hold."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any


async def end_tasks(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancels those that are not done and waits for all; what they raise is not raised again."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, Any]) -> bool:
    """Awaits `work`; False, and `work` is cancelled, if `event` is set before it is done. Raises what `work` raises."""
    doing, stop = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((doing, stop), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            return False
        doing.result()
        return True
    finally:
        await end_tasks((doing, stop))
