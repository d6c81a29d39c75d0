"""Reads what this process has mapped, from /proc/self/maps."""

from __future__ import annotations

import os
from typing import NamedTuple

READ, WRITE, EXECUTE = 1, 2, 4


class Mapping(NamedTuple):
    """A stretch of memory with the same rights and the same file behind it, if any."""

    start: int
    size: int
    rights: str
    """As `r-xp`: read, write, execute, and whether what is written stays private."""
    path: str
    offset: int
    """Where in the file it begins."""

    @property
    def protection(self) -> int:
        """The rights as `mprotect` takes them."""
        return sum(bit for bit, letter in ((READ, "r"), (WRITE, "w"), (EXECUTE, "x")) if letter in self.rights)


def mappings(proc: int) -> list[Mapping]:
    """Reads all mappings. `proc` is a descriptor on /proc. Raises OSError where that is closed."""
    result = []
    with open(os.open("self/maps", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)) as lines:
        for line in lines:
            fields = line.split(maxsplit=5)
            start, end = (int(part, 16) for part in fields[0].split("-"))
            path = fields[5].strip() if len(fields) > 5 else ""
            result.append(Mapping(start, end - start, fields[1], path, int(fields[2], 16)))
    return result
