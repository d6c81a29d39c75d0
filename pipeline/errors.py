"""Defines every expected error and the exit code it gives.

    BerryError                       expected failures, one clear message, no traceback at the user
    ├── InputError       exit 2      the user's input is wrong: names file, line, field, value and the remedy
    │   ├── ConfigError              a configuration key
    │   └── ProblemFileError         a row of a problems or responses file
    ├── ResourceError    exit 2      this host or cluster lacks something the run needs
    ├── StorageError     exit 3      a run directory or shard is damaged, full or in use
    └── EngineError      exit 4      an engine, reward model or sandbox host can't serve

A bad rollout, a wrong answer or an unverifiable check is data, never an exception. `berry.pipeline.cli` is the one
boundary that turns these into messages and exit codes; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import errno


class BerryError(Exception):
    """An expected failure; its text is what the user reads."""

    exit_code = 1


class InputError(BerryError):
    """Something that the user gave can't be used; ends the command with status 2."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration value that can't be used; the text names the key, the value and what to write."""


class ProblemFileError(InputError):
    """A row that can't be used; the text names the file, the line and the field."""


class ResourceError(BerryError):
    """Something that is needed is not here or not reachable; ends the command with status 2."""

    exit_code = 2


class StorageError(BerryError):
    """A file or a run directory can't be read or written, or is damaged; ends the command with status 3."""

    exit_code = 3


class EngineError(BerryError):
    """An engine or a worker failed for good; ends the command with status 4."""

    exit_code = 4


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error to show of several that happened together: an expected one before a bug's."""
    flat: list[BaseException] = []
    stack: list[BaseException] = [group]
    while stack:
        error = stack.pop()
        if isinstance(error, BaseExceptionGroup):
            stack.extend(error.exceptions)
        else:
            flat.append(error)
    return next((e for e in flat if isinstance(e, BerryError)), flat[-1])


_EXHAUSTED = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def is_exhausted(error: BaseException | None) -> bool:
    """Whether it was this process that ran out of memory, threads or open files, and not its work that failed."""
    while error is not None:
        text = str(error).lower()
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _EXHAUSTED):
            return True
        if isinstance(error, RuntimeError) and ("can't start new thread" in text or "out of memory" in text):
            return True
        error = error.__cause__
    return False
