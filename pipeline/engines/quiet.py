"""Keeps a chatty library and the processes it starts off the user's terminal: what they say goes to a file.

A process started meanwhile keeps the file as its standard error for life, so the cause of its death is in it.
"""

from __future__ import annotations

import atexit
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from berry.pipeline.errors import ConfigError

TAIL_BYTES = 20_000


@contextmanager
def stderr_to(log: Path) -> Iterator[None]:
    """Standard error, down to the file descriptor, and Python's warnings go to `log`. For the whole process, so keep
    it short. After a ConfigError, which says all there is to say, no log is left."""
    log.touch(mode=0o600)
    sys.stderr.flush()
    saved, target = os.dup(2), os.open(log, os.O_WRONLY | os.O_APPEND)
    try:
        os.dup2(target, 2)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ConfigError:
        log.unlink()
        raise
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(target)


@cache
def at_the_end() -> None:
    """What libraries say of themselves while the interpreter ends, after Python's own last functions, goes nowhere:
    triton's bindings list there what they have not given back. Standard output and the exit status are as ever."""

    def close_stderr() -> None:
        sys.stderr.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)

    atexit.register(close_stderr)


def cause(log: Path) -> str | None:
    """The line of `log` that names the error: the first `SomeError: …` that no later summary repeats."""
    if not log.is_file():
        return None
    text = log.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
    named = [line.strip() for line in text.splitlines() if _names_error(line)]
    return named[0] if named else None


def _names_error(line: str) -> bool:
    """A traceback's last line, with or without a log prefix before it."""
    head, colon, message = line.partition("Error: ")
    return bool(colon and message.strip()) and head.rsplit(" ", 1)[-1].replace(".", "").isidentifier()
