"""Asks one server for one sample, and hands over what it answers, line by line.

POST ─► status ─► lines ─► … until the end, a cancellation, or the server's death: whichever is first
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from berry.pipeline.engines.http.dialect import Dialect, SampleRequest, ServerFailedError
from berry.pipeline.engines.http.servers import Server
from berry.pipeline.errors import EngineError
from berry.pipeline.tasks import end_tasks

ABORT_S = 5.0  # in which an aborted sample's tokens come back
MESSAGE_CHARS = 500  # of what a server says with a refusal


class BusyError(Exception):
    """A server has too much to do; `after_s`: when to come back, None where it does not say."""

    def __init__(self, after_s: float | None) -> None:
        super().__init__()
        self.after_s = after_s


async def exchange(
    client: httpx.AsyncClient,
    dialect: Dialect,
    server: Server,
    model: str,
    asked: SampleRequest,
    cancelled: asyncio.Event,
    abort: Callable[[], None],
) -> AsyncGenerator[str, None]:
    """Lines of one answer, until its end or until `cancelled`; of a dialect that can abort, what it says after it too.
    Raises ServerFailedError where the server fails or is found dead, BusyError where it has no room, EngineError where
    it refuses the request."""
    waiting = _Waiting(server, cancelled, None if dialect.abort_path is None else abort)
    try:
        request = client.build_request("POST", server.root + dialect.path, json=dialect.body(model, asked))
        reply = await waiting.first(client.send(request, stream=True))
        if reply is None:
            return
        try:
            await _check_status(server.url, reply)
            lines = aiter(reply.aiter_lines())
            while (line := await waiting.first(anext(lines, None))) is not None:
                yield line
        finally:
            await reply.aclose()
    except httpx.HTTPError as error:
        raise ServerFailedError(f"{error or type(error).__name__}") from error
    finally:
        await waiting.end()


class _Waiting:
    """Waits for one thing after another, but not longer than its sample and its server live."""

    def __init__(self, server: Server, cancelled: asyncio.Event, abort: Callable[[], None] | None) -> None:
        self._server = server
        self._abort = abort
        self._stopped: asyncio.Future[Any] = asyncio.ensure_future(cancelled.wait())
        self._gone: asyncio.Future[Any] = asyncio.ensure_future(server.gone.wait())

    async def first(self, work: Any) -> Any:
        """The result of `work`; None, and `work` is ended, where the sample was cancelled before. Raises
        ServerFailedError where the server was found dead before."""
        doing = asyncio.ensure_future(work)
        watched = {doing, self._gone} if self._aborted else {doing, self._gone, self._stopped}
        await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done() and self._stopped.done() and self._abort is not None:
            self._abort()
            await asyncio.wait({doing, self._gone}, timeout=ABORT_S, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        await end_tasks((doing,))
        if not self._stopped.done():
            raise ServerFailedError(self._server.fault or "it does not answer any more")
        return None

    @property
    def _aborted(self) -> bool:
        return self._abort is not None and self._stopped.done()

    async def end(self) -> None:
        """Lets go of what is waited for."""
        await end_tasks((self._stopped, self._gone))


async def _check_status(url: str, reply: httpx.Response) -> None:
    status = reply.status_code
    if status == httpx.codes.OK:
        return
    message = (await reply.aread()).decode(errors="replace")[:MESSAGE_CHARS]
    after = reply.headers.get("retry-after")
    if status == httpx.codes.TOO_MANY_REQUESTS or (status == httpx.codes.SERVICE_UNAVAILABLE and after):
        raise BusyError(retry_after_s(after))
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise ServerFailedError(f"it answers {status}: {message}")
    raise EngineError(f"{url} answers {status}: {message}")


def retry_after_s(value: str | None) -> float | None:
    """Seconds that a `Retry-After` header, a number or a date, asks to wait; None where there is none that can be
    read."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
