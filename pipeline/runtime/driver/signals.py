"""Turns Ctrl-C and SIGTERM into a call on the running event loop, and remembers which of them came.

SIGINT, SIGTERM ─► on_stop ─► call          exit_code: 128 + the signal's number, as shells have it
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_received: list[signal.Signals] = []  # of this process, in order


@contextmanager
def on_stop(call: Callable[..., object], *args: object) -> Iterator[None]:
    """While the context lasts, SIGINT and SIGTERM call `call(*args)` on the running loop and do nothing else;
    afterwards they do what they did before."""
    loop, numbers = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)

    def receive(number: signal.Signals) -> None:
        _received.append(number)
        call(*args)

    for number in numbers:
        loop.add_signal_handler(number, receive, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def exit_code() -> int:
    """What a program that was stopped exits with: 143 after SIGTERM, 130 after Ctrl-C or where no signal came."""
    return 128 + (_received[-1] if _received else signal.SIGINT)
