"""Faults to order: every process of a Ray cluster does what the files in the folder BERRY_TEST_FAULTS say, from the
moment that they are there.

    disk      {"errno": 28, "table": "nodes", "after": 2}: that many files of the table are written, by all processes
              together; every further one stays half-written
    poison    a problem's id: the engine that is given it dies
    memory    a number: so many engines that start after one has died find its memory not yet given back
    clocks    time.time() jumps, by up to years, with every call
"""

from __future__ import annotations

import json
import os
import random
import time
from typing import Any

PLACE = os.environ.get("BERRY_TEST_FAULTS", "")
JUMPS_S = (-1e6, -3600.0, 0.0, 86400.0, 1e8)


def ordered(name: str) -> str | None:
    try:
        with open(f"{PLACE}/{name}") as stream:
            return stream.read()
    except OSError:
        return None


def jumping_clocks() -> None:
    now, chance = time.time, random.Random(os.getpid())
    time.time = lambda: now() + (chance.choice(JUMPS_S) if os.path.exists(f"{PLACE}/clocks") else 0.0)


def disk(module: Any) -> None:
    write = module._write_local

    def until_full(path: str, data: Any, *, durable: bool) -> None:
        fault = json.loads(ordered("disk") or "null")
        if fault is not None and f"/{fault['table']}/" in path and not _is_within("written", fault["after"]):
            write(path, bytes(data)[:100], durable=False)
            raise OSError(fault["errno"], os.strerror(fault["errno"]))
        write(path, data, durable=durable)

    module._write_local = until_full


def _is_within(what: str, most: int) -> bool:
    """Counts one more of something, by all processes together; whether these are at most so many."""
    for number in range(most):
        try:
            os.close(os.open(f"{PLACE}/{what}-{number}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        return True
    return False


def poison(module: Any) -> None:
    from berry.pipeline.errors import EngineError, ResourceError

    generate, start = module.Synthetic.generate, module.Synthetic.start

    def mortal(self: Any, request: Any) -> Any:
        problem = ordered("poison")
        if problem is not None and request.request_id.startswith(f"{problem}/"):
            _is_within("died", 1)
            raise EngineError("illegal memory access")
        return generate(self, request)

    async def short_of_memory(self: Any) -> None:
        starts = int(ordered("memory") or 0)
        if os.path.exists(f"{PLACE}/died-0") and _is_within("unloaded", starts):
            raise ResourceError("GPU 0 has 1.0 of 80.0 GiB free")
        await start(self)

    module.Synthetic.generate, module.Synthetic.start = mortal, short_of_memory
