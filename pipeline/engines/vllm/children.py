"""Starts the processes of an engine lighter: they load vLLM alone.

A spawned process imports what its parent's main module is, which for an actor is Ray's worker and for a command all of
its command line, and then vLLM, with Python's garbage collector walking over both. An engine's process needs neither.
"""

from __future__ import annotations

import gc
import multiprocessing.spawn as spawn
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from berry.pipeline.garbage import COLLECTIONS, YOUNG_OBJECTS


class _Rarely:
    """Collects garbage rarely in the process that unpickles it."""

    def __reduce__(self) -> tuple[Callable[[int, int, int], None], tuple[int, int, int]]:
        return gc.set_threshold, (YOUNG_OBJECTS, *COLLECTIONS)  # nothing of ours: it has no import path yet


@contextmanager
def children_of_their_own() -> Iterator[None]:
    """Processes that are spawned meanwhile import no main module of this one, and collect garbage rarely from their
    first import on."""
    module = cast("Any", spawn)
    before = module.get_preparation_data

    def alone(name: str) -> dict[str, Any]:
        data = before(name)
        mine = {key: value for key, value in data.items() if not key.startswith("init_main_from_")}
        return {"collect garbage": _Rarely(), **mine}

    module.get_preparation_data = alone
    try:
        yield
    finally:
        module.get_preparation_data = before
