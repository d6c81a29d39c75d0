"""Stop signals go to whom they concern, and only for as long."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from berry.pipeline.runtime.driver.signals import exit_code, on_stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_stop_signal_calls_what_was_given_and_nothing_else_afterwards(number: signal.Signals) -> None:
    before, heard, called = signal.getsignal(number), asyncio.Event(), []
    with on_stop(lambda *words: (called.append(words), heard.set()), "why"):
        os.kill(os.getpid(), number)
        await asyncio.wait_for(heard.wait(), 5)
    assert called == [("why",)]
    assert exit_code() == 128 + number
    assert signal.getsignal(number) in (before, signal.default_int_handler, signal.SIG_DFL)


async def test_signals_are_let_go_where_the_work_fails() -> None:
    with pytest.raises(ValueError, match="work"), on_stop(print):
        raise ValueError("work")
    assert not asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
