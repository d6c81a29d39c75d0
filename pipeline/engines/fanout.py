"""Runs the samples of one request at once and hands each over as it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable
from typing import Any

from berry.pipeline.engines.base import Sample


async def as_they_end(samples: Iterable[Coroutine[Any, Any, Sample]]) -> AsyncGenerator[Sample, None]:
    """Runs all at once. The first failure ends the rest; so does closing this generator."""
    tasks = [asyncio.ensure_future(sample) for sample in samples]
    try:
        for done in asyncio.as_completed(tasks):
            yield await done
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, Any]) -> bool:
    """Awaits `work`; False, and `work` is cancelled, if `event` is set before it is done."""
    doing, stop = asyncio.ensure_future(work), asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((doing, stop), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            return False
        doing.result()
        return True
    finally:
        for task in (doing, stop):
            task.cancel()
        await asyncio.gather(doing, stop, return_exceptions=True)
