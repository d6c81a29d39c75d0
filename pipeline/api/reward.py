"""Scores responses as a reward for reinforcement learning: `berry.reward`."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from berry.pipeline.errors import InputError, ResourceError
from berry.pipeline.records import Message, Problem
from berry.verifiers.base import Outcome, Verdict
from berry.verifiers.config import CheckerConfig
from berry.verifiers.context import CheckRequest


def reward(response: str, verifier: Mapping[str, Any], *, prompt: str | list[Message] = "-") -> float | None:
    """The reward of one response: 1.0 if the verifier passes it, 0.0 if it fails, None if the check could not be made.

    The verdict is the one that `berry run` gives with default limits, so that a trainer's rewards agree with the labels
    of a run. Sandboxes are started with the first call that needs one and kept for the next; calls from several threads
    run at once. Raises InputError where `verifier` is no specification, ResourceError where this host can't confine the
    program that a check would run.

    >>> import berry
    >>> berry.reward("So it is \\\\boxed{42}.", {"type": "math", "answer": "42"})
    1.0
    """
    try:
        problem = TypeAdapter(Problem).validate_python({"id": "reward", "prompt": prompt, "verifier": dict(verifier)})
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise InputError(f"the verifier can't be read: {problems}") from error
    asked = "" if prompt == "-" else problem.text
    verdict = _checker().check(CheckRequest(problem.id, problem.verifier, response, asked))
    return None if verdict.outcome is Outcome.UNVERIFIABLE else float(verdict.passed)


class _BlockingChecker:
    """A checker on an event loop in a thread of its own, for callers that have none."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="berry-reward", daemon=True)
        self._thread.start()
        self._checker: Any = self._run(self._start())

    def check(self, request: CheckRequest) -> Verdict:
        from berry.sandboxes.base import SandboxError

        try:
            return self._run(self._checker.check(request))
        except SandboxError as error:
            raise ResourceError(str(error)) from error

    def close(self) -> None:
        self._run(self._checker.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)

    async def _start(self) -> Any:
        from berry.verifiers.checker import Checker

        return await Checker(CheckerConfig()).__aenter__()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


_lock = threading.Lock()
_kept: list[_BlockingChecker] = []


def _checker() -> _BlockingChecker:
    with _lock:
        if not _kept:
            _kept.append(_BlockingChecker())
            atexit.register(_close)
        return _kept[0]


def _close() -> None:
    with _lock:
        if _kept:
            _kept.pop().close()
