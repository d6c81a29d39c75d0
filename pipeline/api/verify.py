"""Checks one response from Python: `berry.verify`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import TypeAdapter, ValidationError

from berry.pipeline.errors import InputError, ResourceError
from berry.pipeline.records import Message, Problem
from berry.verifiers.base import Verdict
from berry.verifiers.config import CheckerConfig
from berry.verifiers.context import CheckRequest


def verify(
    response: str,
    verifier: Mapping[str, Any],
    *,
    prompt: str | list[Message] = "-",
    checker: CheckerConfig | None = None,
) -> Verdict:
    """Check one response against a verifier specification, on this machine.

    `verifier` is the tagged object of problem files, for example ``{"type": "math", "answer": "42"}``. `prompt` is
    needed by the kinds that read it (judges, code completion). `checker` sets limits and sandboxes. The verdict says
    pass, fail or unverifiable, and why. Raises InputError where the specification is none, ResourceError where this
    host can't confine the program that a check would run.

    >>> import berry
    >>> verdict = berry.verify("It follows that the answer is \\\\boxed{42}.", {"type": "math", "answer": "42"})
    >>> verdict.passed, str(verdict.reason)
    (True, 'correct')
    """
    try:
        problem = TypeAdapter(Problem).validate_python({"id": "response", "prompt": prompt, "verifier": dict(verifier)})
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise InputError(f"the verifier can't be read: {wrong}") from error
    request = CheckRequest(problem.id, problem.verifier, response, "" if prompt == "-" else problem.text)
    return _to_its_end(_check(request, checker or CheckerConfig(slots=1)))


async def _check(request: CheckRequest, config: CheckerConfig) -> Verdict:
    from berry.sandboxes.base import SandboxError
    from berry.verifiers.checker import Checker

    try:
        async with Checker(config) as checker:
            return await checker.check(request)
    except SandboxError as error:
        raise ResourceError(str(error)) from error


def _to_its_end(work: Any) -> Any:
    """Run a coroutine to its end, in a thread of its own where this one has an event loop (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()
