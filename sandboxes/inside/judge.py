"""Runs a problem's tests in the judge's child, with the candidate in another process.

`candidate(...)` sends its arguments out and gets plain data of exact built-in types back, or the built-in
exception that the candidate raised. The candidate's objects, code and output never come here, so nothing
that it does can make a comparison true. The verdict is one frame, written by this process alone.
"""

from __future__ import annotations

import builtins
import os
import sys
import time
from types import TracebackType
from typing import Any, NoReturn

from berry.sandboxes import wire
from berry.sandboxes.inside.channel import Channel, compile_source, describe, new_module

TESTS_FILE = "tests.py"


class CandidateError(Exception):
    """The candidate raised an exception that is not a built-in one."""


class Proxy:
    """Relays calls of the candidate to the host."""

    def __init__(self, channel: Channel, name: str) -> None:
        self._channel = channel
        self.__name__ = self.__qualname__ = name
        self.raised: BaseException | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._channel.write(wire.dumps(["call", args, kwargs]))
        answer = self._channel.read()
        if answer[0] == "ok":
            return answer[1]
        _, name, text = answer
        self.raised = _exception(name, text)
        raise self.raised


def _exception(name: str, text: str) -> Exception:
    kind = getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(text)
        except TypeError:  # the Unicode errors want more than a text
            return CandidateError(f"{name}: {text}")
    return CandidateError(f"{name}: {text}")


def run(job: dict[str, Any], channel: Channel) -> NoReturn:
    """Runs prelude and tests, writes the verdict and ends the process."""
    proxy = Proxy(channel, job["entry"])
    namespace = new_module("tests").__dict__
    if "random" in sys.modules:
        sys.modules["random"].seed(1)  # not the candidate's numbers
    try:
        exec(compile_source(job["prelude"], "prelude.py"), namespace)
        namespace.pop("check", None)
        namespace[job["entry"]] = namespace["candidate"] = proxy
        exec(compile_source(job["source"], TESTS_FILE), namespace)
        check = namespace.get("check")
        if callable(check):
            check(proxy)
        verdict: list[Any] = ["passed"]
    except BaseException as e:  # noqa: BLE001 (whatever the tests raise is the verdict)
        kind = "candidate" if e is proxy.raised else "failed" if isinstance(e, AssertionError) else "error"
        verdict = [kind, *describe(e), _line(e.__traceback__)]
    channel.write(wire.dumps([time.process_time(), *verdict]))
    os._exit(0)


def _line(tb: TracebackType | None) -> int | None:
    """Finds the innermost line in the tests themselves."""
    line = None
    while tb is not None:
        if tb.tb_frame.f_code.co_filename == TESTS_FILE:
            line = tb.tb_lineno
        tb = tb.tb_next
    return line
