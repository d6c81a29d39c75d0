"""Ctrl-C and SIGTERM, as what they stop wants to hear of them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def on_stop(call: Callable[..., object], *args: object) -> Iterator[None]:
    """Inside, SIGINT and SIGTERM call this on the running loop and do nothing else; afterwards they do as ever."""
    loop, numbers = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, call, *args)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
