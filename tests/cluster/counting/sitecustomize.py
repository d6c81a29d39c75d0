"""Counts what a synthetic engine generates, sample by sample, where a SIGKILL can't undo it: with this folder on
PYTHONPATH, every process of a Ray cluster appends to the file that BERRY_TEST_TOKENS names.

    begin PID SAMPLE TOKENS     it has a slot and runs        end PID SAMPLE     all its tokens are made
"""

from __future__ import annotations

import importlib.util
import os
import sys
from contextvars import ContextVar
from importlib.abc import MetaPathFinder
from typing import Any

PLACE = os.environ.get("BERRY_TEST_TOKENS")
sample: ContextVar[tuple[int, int] | None] = ContextVar("sample", default=None)


def say(text: str) -> None:
    descriptor = os.open(str(PLACE), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def count(module: Any) -> None:
    take_time, acquire, made = module.Synthetic._take_time, module.Slots.acquire, iter(range(1 << 60))

    async def counted(self: Any, request: Any, index: int, completion: Any, *rest: Any) -> None:
        number = next(made)
        sample.set((number, len(completion.token_ids)))
        await take_time(self, request, index, completion, *rest)
        say(f"end {os.getpid()} {number}")

    async def acquired(self: Any, priority: Any) -> None:
        await acquire(self, priority)
        running = sample.get()
        if running is not None:
            say(f"begin {os.getpid()} {running[0]} {running[1]}")

    module.Synthetic._take_time, module.Slots.acquire = counted, acquired


class OnImport(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name != "pipeline.engines.synthetic":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        load = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            load(module)
            count(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if PLACE:
    sys.meta_path.insert(0, OnImport())
