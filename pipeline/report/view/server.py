"""Serves the tree browser and its data over HTTP, on loopback, to whoever has the token, for reading alone.

GET /?token=…        the page; a cookie carries the token from there on
GET /api/list        problems by text and state, a page at a time
GET /api/tree        one tree

What reads trees is imported when the first one is asked for, so that the page is there at once.
"""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from berry.pipeline.errors import BerryError
from berry.pipeline.report.pages import browser_file, fill
from berry.pipeline.report.view.index import STATES, ProblemIndex
from berry.pipeline.storage.run.directory import RunDir

if TYPE_CHECKING:
    from berry.pipeline.report.browser.tree_json import TokenEnds

COOKIE = "berry-view"
HOSTS = ["127.0.0.1", "localhost", "[::1]"]
MOST_NODES = 20_000  # a browser draws no more in good time
MOST_CHARS = 200_000
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class TreeServer:
    """The application of one run. `token`: what every request must bring. `load_token_ends`: asked once, when a tree
    is."""

    def __init__(
        self, run: RunDir, *, load_token_ends: Callable[[], TokenEnds | None] | None = None, token: str | None = None
    ) -> None:
        self._run = run
        self._load_token_ends = load_token_ends
        self.token = token or secrets.token_urlsafe(24)
        self.index = ProblemIndex(run)
        self.app = Starlette(
            routes=[Route("/", self._page), Route("/api/list", self._list), Route("/api/tree", self._tree)],
            middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)],
        )

    # ---- answers ----------

    async def _page(self, request: Request) -> Response:
        if not self._knows(request):
            return self._refusal()
        page = fill(
            "view.html.j2",
            name=(self._run.config() or {}).get("name", ""),
            location=self._run.location.url,
            style=browser_file("browser.css"),
            script=browser_file("browser.js"),
        )
        response = HTMLResponse(page, headers=HEADERS)
        response.set_cookie(COOKIE, self.token, httponly=True, samesite="strict")
        return response

    async def _list(self, request: Request) -> Response:
        if not self._knows(request):
            return self._refusal()
        query = request.query_params
        state, offset = query.get("state", ""), query.get("offset", "0")
        if state not in STATES or not offset.isdigit():
            return _error(400, "state or offset is none that the page has")
        try:
            told = await run_in_threadpool(self.index.page, text=query.get("text", ""), state=state, offset=int(offset))
        except (BerryError, OSError) as error:
            return _error(500, str(error))
        return _json({**told, "unreadable": self.index.unreadable})

    async def _tree(self, request: Request) -> Response:
        if not self._knows(request):
            return self._refusal()
        query = request.query_params
        problem, round_index = query.get("problem", ""), query.get("round", "0")
        if not round_index.isdigit():
            return _error(400, "round is no number")
        try:
            told = await run_in_threadpool(self._read_tree, problem, int(round_index))
        except BerryError as error:
            return _error(500, str(error))
        if told is None:
            read, of = self.index.progress
            still = f"; {read:,} of {of:,} files have been looked through" if read < of else ""
            return _error(404, f"{problem} is not in round {round_index}{still}")
        return _json(told)

    @cached_property
    def _token_ends(self) -> TokenEnds | None:
        return None if self._load_token_ends is None else self._load_token_ends()

    def _read_tree(self, problem: str, round_index: int) -> dict[str, Any] | None:
        place = self.index.place(problem, round_index)
        if place is None:
            return None
        with self.index.paused():
            from berry.pipeline.report.browser.tree_json import tree_json
            from berry.pipeline.stages.dataset.reading import read_leases

            for stored in read_leases(self._run, round_index, [place.lease], only=problem):
                return tree_json(stored, token_ends=self._token_ends, most_chars=MOST_CHARS, most_nodes=MOST_NODES)
        return None

    # ---- who asks ----------

    def _knows(self, request: Request) -> bool:
        given: Sequence[str | None] = (request.query_params.get("token"), request.cookies.get(COOKIE))
        return any(one is not None and hmac.compare_digest(one.encode(), self.token.encode()) for one in given)

    @staticmethod
    def _refusal() -> Response:
        return _error(403, "open the address that `berry view` printed: it holds the token")


def _json(value: Any) -> Response:
    return Response(json.dumps(value, ensure_ascii=False), media_type="application/json", headers=HEADERS)


def _error(status: int, text: str) -> Response:
    return JSONResponse({"error": text}, status_code=status, headers=HEADERS)
