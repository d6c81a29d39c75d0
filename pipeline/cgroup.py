"""Reads what a container or a job scheduler lets this process have, of cgroups of either version.

/proc/self/cgroup ─► the folders of this process's groups, innermost first ─► the tightest limit of all
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
UNLIMITED_BYTES = 1 << 60  # version 1 says a number near 2^63 for no limit


def memory_left_bytes(root: Path = ROOT, own: Path = OWN) -> int | None:
    """Memory that the groups of this process leave it, in bytes; None where none limits it."""
    files = (("", "memory.max", "memory.current"), ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"))
    left = []
    for controller, limit, used in files:
        for folder in _folders(controller, root, own):
            most, taken = _number(folder / limit), _number(folder / used)
            if most is not None and taken is not None and most < UNLIMITED_BYTES:
                left.append(max(0, most - taken))
    return min(left, default=None)


def cores(root: Path = ROOT, own: Path = OWN) -> float:
    """Cores that this process may keep busy: those it may run on, or what a quota of its groups comes to."""
    most = [float(len(os.sched_getaffinity(0)))]
    for folder in _folders("", root, own):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            most.append(int(quota) / int(period))
    for folder in _folders("cpu", root, own):
        quota_us, period_us = _number(folder / "cpu.cfs_quota_us"), _number(folder / "cpu.cfs_period_us")
        if quota_us is not None and quota_us > 0 and period_us:
            most.append(quota_us / period_us)
    return min(most)


def _folders(controller: str, root: Path, own: Path) -> Iterator[Path]:
    """This process's group of a controller and all above it; `controller` "": the one hierarchy of version 2. Inside a
    container the path may be that of the host, and only the topmost folder is there."""
    for line in _text(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            base = root / controller if controller else root
            place = Path(path.lstrip("/"))
            yield from (base / part for part in (place, *place.parents))


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.lstrip("-").isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
