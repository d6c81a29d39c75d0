"""Configures a pool: its slots, limits, profiles and isolation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from berry.sandboxes.base import Limits, SandboxError

BARE_IMPORTS = (
    "bisect", "collections", "collections.abc", "copy", "functools", "heapq", "itertools", "json", "math", "operator",
    "random", "re", "string", "sys", "time", "traceback", "typing",
)  # fmt: skip
"""Modules that every profile loads: what solutions import most, and no more, since each page costs at every fork."""


FORK_TRICKS = (
    "pin_pages", "fill_heap_gaps", "huge_pages", "join_mappings", "inherit_mappings", "warm_up", "early_binding",
    "plain_fork",
)  # fmt: skip
"""What makes forks cheap, by name: see `berry.sandboxes.inside.fast_fork.prepare`."""


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """A pool of sandboxes on one host."""

    slots: int = field(default_factory=lambda: os.cpu_count() or 1)
    """Jobs at once."""
    queue_limit: int = 10_000
    """Jobs that may wait; more are answered `overloaded`."""
    deadline_s: float | None = None
    """Longest wait for a slot in seconds, where the job names none."""
    limits: Limits = field(default_factory=Limits)
    """Limits of jobs that name none."""
    compile_limits: Limits = field(
        default_factory=lambda: Limits(cpu_s=60, wall_s=120, memory_bytes=2 << 30, disk_bytes=64 << 20)
    )
    isolation: Literal["auto", "none"] = "auto"
    """`none` runs even where the host allows less than the minimum jail."""
    profiles: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: {"bare": (), "numeric": ("numpy", "sympy")})
    """Names of import profiles and the modules each has loaded, besides common standard ones."""
    import_paths: tuple[str, ...] = ()
    """More directories in which the modules of profiles are found, besides the installed packages."""
    warm: tuple[str, ...] = ("bare",)
    """Profiles that `start` gets ready in every slot."""
    warm_slots: int | None = None
    """How many slots `start` gets ready; None: all."""
    fork_ahead: bool = True
    """Whether children wait while another one of their slot works. False for slots that are held long, as by sessions:
    the next child is forked when the one before has ended."""
    recycle_after: int = 10_000
    """Jobs after which a slot's process is replaced."""
    retries: int = 2
    """More attempts after the sandbox itself failed."""
    calibration: float | None = None
    """This host's factor on time limits: above 1 on slower hosts. None: measured at start."""
    namespaces: bool = True
    """Enter namespaces where the host allows them."""
    tool_directories: tuple[str, ...] = ()
    """Where compilers and interpreters are, besides the system's own directories."""
    launcher: tuple[str, ...] = ()
    """A command put before the interpreter, for instance one that drops privileges or sets a CPU mask."""
    directory: str | None = None
    """Where working directories are made when no private file system can be had; None: the temporary
    directory."""

    fast_fork: bool | tuple[str, ...] = True
    """Prepare templates so that forks are cheap; a tuple names some of the tricks, to measure them alone."""

    @property
    def fork_tricks(self) -> tuple[str, ...]:
        """Names of the tricks that are on."""
        if isinstance(self.fast_fork, bool):
            return FORK_TRICKS if self.fast_fork else ()
        return self.fast_fork

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise SandboxError(f"slots must be >= 1, got {self.slots}")
        if self.queue_limit < 0:
            raise SandboxError(f"queue_limit must be >= 0, got {self.queue_limit}")
        strange = set(self.fork_tricks) - set(FORK_TRICKS)
        if strange:
            raise SandboxError(
                f"fast_fork: no trick named {', '.join(sorted(strange))}; there are {', '.join(FORK_TRICKS)}"
            )
        unknown = set(self.warm) - set(self.profiles)
        if unknown:
            raise SandboxError(f"warm names profiles that do not exist: {', '.join(sorted(unknown))}")
