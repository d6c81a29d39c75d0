"""Runs the samples of one request at once and hands each over as it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Iterable
from typing import Any

from berry.pipeline.engines.base import Sample
from berry.pipeline.tasks import end_tasks


async def as_they_end(samples: Iterable[Coroutine[Any, Any, Sample]]) -> AsyncGenerator[Sample, None]:
    """Runs all at once. The first failure ends the rest; so does closing this generator. One alone needs no task."""
    coroutines = list(samples)
    if len(coroutines) == 1:
        yield await coroutines[0]
        return
    tasks = [asyncio.ensure_future(sample) for sample in coroutines]
    try:
        for done in asyncio.as_completed(tasks):
            yield await done
    finally:
        await end_tasks(tasks)
