"""Awaits results of Ray's remote calls, raises Berry's own errors as they were raised there, and ends what hangs."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psutil
import ray
from ray.exceptions import RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from berry.pipeline.errors import BerryError
from berry.pipeline.runtime.actors.process import Home

MOST_REASON = 200  # characters of an error in one line


async def expected(reference: Any) -> Any:
    """The result of a remote call. Raises a BerryError that the other side raised as itself, Ray's errors as they
    are."""
    try:
        return await reference
    except RayTaskError as error:
        if isinstance(error.cause, BerryError):
            raise error.cause from None
        raise


def reason(error: BaseException) -> str:
    """The first line of an error: Ray's go on with a page of its state."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:MOST_REASON].rstrip(" .:")


def end_process(actor: Any, home: Home | None) -> None:
    """Ends the process of an actor that may not even hear that it should end; Ray starts it again."""
    ray.kill(actor, no_restart=False)
    if home is not None:
        node, process = home
        location = NodeAffinitySchedulingStrategy(node, soft=False)
        _kill.options(num_cpus=0, max_retries=0, scheduling_strategy=location).remote(process)


@ray.remote
def _kill(process: int) -> None:
    """Kills an actor's process, on its own node."""
    with suppress(psutil.NoSuchProcess):
        running = psutil.Process(process)
        if " ".join(running.cmdline()).startswith("ray::"):  # the number may be another's now
            running.kill()
