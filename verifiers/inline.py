"""Checks a response in the calling process where that takes no sandbox: no queue, no worker, no other process.

    CheckRequest ─► check_inline(request) ─► Verdict          None: ask a Checker

The verifier functions are the same as a Checker's, run to their end in one go. One that turns out to need a sandbox or
a worker (an answer that only the symbolic worker can decide) is given up, and the Checker starts it afresh. The kinds
below bound what they read before they parse it; long responses go to the Checker all the same, so that the caller is
never held up by one.
"""

from __future__ import annotations

import time
from typing import Any, cast

from berry.verifiers.base import Verdict
from berry.verifiers.config import CheckerConfig
from berry.verifiers.context import CheckRequest, VerifierContext
from berry.verifiers.registry import verifier_for
from berry.verifiers.specs.base import DEFAULT, Strictness

KINDS = frozenset({"math", "expression", "majority"})
MAX_CHARS = 16_384


class _NeedsChecker(Exception):
    """A verifier asked for what only a Checker has."""


class _Absent:
    """Stands for each such thing and raises _NeedsChecker when it is used."""

    def __getattr__(self, name: str) -> Any:
        raise _NeedsChecker(name)


_ABSENT: Any = _Absent()
_CONTEXTS: dict[Strictness, VerifierContext] = {}


def _context(strictness: Strictness) -> VerifierContext:
    context = VerifierContext(CheckerConfig(strictness=strictness), _ABSENT, _ABSENT, None, _ABSENT, _ABSENT)
    return _CONTEXTS.setdefault(strictness, context)


_DEFAULT_CONTEXT = _context(DEFAULT)


def check_inline(request: CheckRequest, strictness: Strictness = DEFAULT) -> Verdict | None:
    """The verdict, or None where it can't be given on the spot. `strictness`: where the problem names none."""
    kind = getattr(request.spec, "type", "")
    if kind not in KINDS or len(request.response) > MAX_CHARS:
        return None
    if strictness is DEFAULT:
        context = _DEFAULT_CONTEXT
    else:
        context = _CONTEXTS.get(strictness) or _context(strictness)
    start = time.perf_counter()
    check = verifier_for(request.spec)(request, context)
    try:
        cast(Any, check).send(None)
    except StopIteration as end:
        result: Verdict = end.value
        spent_ms = (time.perf_counter() - start) * 1e3
        return Verdict(result.outcome, result.reason, result.answer, result.evidence, spent_ms)
    except _NeedsChecker:
        return None
    except Exception:  # noqa: BLE001 - the Checker meets it again, and reports it
        return None
    raise AssertionError(f"{kind}: a check in the calling process does not wait")
