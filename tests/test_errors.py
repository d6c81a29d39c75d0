"""What says that a process is at its end, and what only says that its work failed."""

from __future__ import annotations

import errno

import pytest

from berry.pipeline.errors import StorageError, is_exhausted


def caused(error: Exception, by: Exception) -> Exception:
    error.__cause__ = by
    return error


@pytest.mark.parametrize(
    ("error", "exhausted"),
    [
        (MemoryError(), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (caused(StorageError("x: can't be written"), OSError(errno.ENOMEM, "Cannot allocate memory")), True),
        (caused(StorageError("x: can't be written"), OSError(errno.ENOSPC, "No space left on device")), False),
        (OSError(errno.EMFILE, "Too many open files"), True),
        (RuntimeError("generator didn't stop"), False),
        (None, False),
    ],
    ids=["memory", "threads", "GPU", "behind another", "disk", "files", "a bug", "none"],
)
def test_a_process_at_its_end_is_told_from_work_that_failed(error: Exception | None, exhausted: bool) -> None:
    assert is_exhausted(error) is exhausted
