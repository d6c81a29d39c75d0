"""Pages that a fork copies at once.

What every job writes is copied for each child in any case (see `copies`). Where a page is registered for direct input
and output, the kernel can't leave it to be copied later: the fork itself does, at less than a trap or a call would
take, and the parent, whose page stays its own, writes on without a trap of its own. So a slot registers these pages
with an io_uring that never sees a request; its children close it before any job's code is near, and their filter has
no such call.

Where the host has no io_uring, or allows no more locked memory, children copy these pages themselves.
"""

from __future__ import annotations

import ctypes
import os

from berry.sandboxes.inside.fast_fork.prefault import Pieces, laid_out, lifted
from berry.sandboxes.jail import syscalls

_ENTRIES, _PARAMETERS_BYTES, _REGISTER_BUFFERS = 1, 120, 0


def pin(pieces: Pieces) -> bool:
    """Pins these pieces of the calling process's memory for as long as it lives; says whether it could."""
    if not pieces:
        return False
    try:
        ring = lifted(syscalls.call("io_uring_setup", _ENTRIES, ctypes.create_string_buffer(_PARAMETERS_BYTES)))
    except OSError:
        return False
    try:
        syscalls.call("io_uring_register", ring, _REGISTER_BUFFERS, bytes(laid_out(pieces)), len(pieces))
    except OSError:
        os.close(ring)
        return False
    return True
