"""Turns Ctrl-C and SIGTERM into a call on the running event loop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def on_stop(call: Callable[..., object], *args: object) -> Iterator[None]:
    """While the context lasts, SIGINT and SIGTERM call `call(*args)` on the running loop and do nothing else;
    afterwards they do what they did before."""
    loop, numbers = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, call, *args)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
