"""Gathers single requests into batches: as many as have come when the model is free, or within a bound on the wait.

ask(request) ─► queue ─► batch of at most `max_batch`, at most `max_wait_s` after its first ─► compute, in a thread
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from berry.pipeline.errors import BerryError, EngineError

Q = TypeVar("Q")
A = TypeVar("A")


class Batcher(Generic[Q, A]):
    """While a batch is being computed requests gather, so that under load none waits for the clock: `max_wait_s` is
    what a lone request pays. Requests that were cancelled meanwhile are left out."""

    def __init__(self, compute: Callable[[list[Q]], list[A]], *, max_batch: int, max_wait_s: float) -> None:
        self._compute = compute
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._queue: asyncio.Queue[tuple[Q, asyncio.Future[A]]] = asyncio.Queue()
        self._worker: asyncio.Task[None] | None = None
        self._between = asyncio.Lock()
        self.batches = 0

    @property
    def waiting(self) -> int:
        """Requests that no batch has taken yet."""
        return self._queue.qsize()

    async def ask(self, request: Q) -> A:
        """Raises EngineError when the computation fails."""
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._serve())
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((request, answer))
        return await answer

    async def between_batches(self, change: Callable[[], Awaitable[None]]) -> None:
        """Runs `change` while no batch is being computed."""
        async with self._between:
            await change()

    async def close(self) -> None:
        """Ends the work; who still waits gets an EngineError."""
        if self._worker is not None:
            self._worker.cancel()
            with suppress(asyncio.CancelledError):
                await self._worker
        while not self._queue.empty():
            _, answer = self._queue.get_nowait()
            if not answer.done():
                answer.set_exception(EngineError("the reward model was closed"))

    async def _serve(self) -> None:
        while True:
            batch = await self._gather()
            async with self._between:
                batch = [(request, answer) for request, answer in batch if not answer.done()]
                if batch:
                    await self._answer(batch)

    async def _gather(self) -> list[tuple[Q, asyncio.Future[A]]]:
        batch = [await self._queue.get()]
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._max_wait_s
        while len(batch) < self._max_batch:
            if not self._queue.empty():
                batch.append(self._queue.get_nowait())
                continue
            left = deadline - loop.time()
            if left <= 0:
                break
            with suppress(TimeoutError):
                batch.append(await asyncio.wait_for(self._queue.get(), left))
        return batch

    async def _answer(self, batch: list[tuple[Q, asyncio.Future[A]]]) -> None:
        self.batches += 1
        try:
            answers = await asyncio.to_thread(self._compute, [request for request, _ in batch])
        except (RuntimeError, ValueError, BerryError) as error:  # torch says RuntimeError for whatever goes wrong
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(EngineError(f"the reward model failed: {error}"))
            return
        except asyncio.CancelledError:
            for _, answer in batch:
                answer.cancel()
            raise
        for (_, answer), value in zip(batch, answers, strict=True):
            if not answer.done():
                answer.set_result(value)
