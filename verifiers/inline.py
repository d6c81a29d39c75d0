"""Checks that need no sandbox, made on the spot by whoever asks: no queue, no worker, no other process.

    CheckRequest ─► here(request) ─► Verdict          None: this one wants a Checker

The same verifier functions as a Checker's, run to their end in one go; one that turns out to want a tool (an answer
that only the symbolic worker can decide) is given up, and the Checker starts it afresh. The kinds below bound what they
read before they parse it; long responses go to the Checker all the same, so that the caller is never held up by one.
"""

from __future__ import annotations

import time
from typing import Any, cast

from berry.verifiers.base import Verdict
from berry.verifiers.config import CheckerConfig
from berry.verifiers.context import CheckRequest, VerifierContext
from berry.verifiers.registry import verifier_for

KINDS = frozenset({"math", "expression", "majority"})
MAX_CHARS = 16_384


class _Wanted(Exception):
    """A tool was asked for."""


class _Absent:
    def __getattr__(self, name: str) -> Any:
        raise _Wanted(name)


_ABSENT: Any = _Absent()
_TOOLS = VerifierContext(CheckerConfig(), _ABSENT, _ABSENT, None, _ABSENT, _ABSENT)


def here(request: CheckRequest) -> Verdict | None:
    """The verdict, or None where it can't be given on the spot."""
    kind = getattr(request.spec, "type", "")
    if kind not in KINDS or len(request.response) > MAX_CHARS:
        return None
    start = time.perf_counter()
    check = verifier_for(request.spec)(request, _TOOLS)
    try:
        cast(Any, check).send(None)
    except StopIteration as end:
        found: Verdict = end.value
        spent_ms = (time.perf_counter() - start) * 1e3
        return Verdict(found.outcome, found.reason, found.answer, found.evidence, spent_ms)
    except _Wanted:
        return None
    raise AssertionError(f"{kind}: a check without tools does not wait")
