"""Owns the processes behind a pool: templates by profile, and the handles of their slots."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import os
import resource
import site
import sys
import tempfile
import time
import warnings

from berry.sandboxes.base import Limits, Profile, SandboxError
from berry.sandboxes.config import BARE_IMPORTS, PoolConfig
from berry.sandboxes.host.slot import SlotHandle
from berry.sandboxes.host.template import Template
from berry.sandboxes.jail.plan import JailPlan
from berry.sandboxes.jail.seccomp import Kind
from berry.sandboxes.metrics import Metrics

REFERENCE_SPEED_S = 0.0030
"""CPU seconds of the calibration's work on the reference host (a shared AMD EPYC core)."""
MAX_PROFILES = 16
DESCRIPTORS_PER_SLOT = 40
FEWEST_DESCRIPTORS_PER_SLOT = 24
"""What a slot holds at the least: its socket, and four of each of its waiting children, a judge's among them."""
WORK_BYTES_PER_SLOT = 256 << 20
"""Size of the file system in memory that each slot has for itself; each job's own limit is far lower."""
SlotRole = tuple[Profile, Kind, int, str]
MOST_CONTENTION = 4.0
"""Most by which a busy host lengthens wall limits. CPU limits stay what they are."""
CONTENTION_S = 5.0
"""How long one look at the host's load is good for; the kernel takes one as often."""


def contention() -> float:
    """How many processes of the last minute shared a core of this process's, from 1 to MOST_CONTENTION."""
    try:
        return min(max(os.getloadavg()[0] / len(os.sched_getaffinity(0)), 1.0), MOST_CONTENTION)
    except OSError:  # the host hides its load
        return 1.0


class Slots:
    """Owns every process and directory of a pool."""

    def __init__(self, config: PoolConfig, metrics: Metrics) -> None:
        self.config, self._metrics = config, metrics
        self._templates: dict[Profile, Template] = {}
        self._starting: dict[Profile, asyncio.Lock] = {}
        self._handles: dict[SlotRole, SlotHandle] = {}
        self._names = itertools.count()
        self.calibration = config.calibration or 1.0
        self._contention, self._contention_until = 1.0, 0.0

    def limits_now(self, limits: Limits) -> Limits:
        """Scales times to this host's speed, and wall seconds to its load too: a program that waits for a core is not
        one that sleeps."""
        now = time.monotonic()
        if now >= self._contention_until:
            self._contention, self._contention_until = contention(), now + CONTENTION_S
        scaled = limits.scaled(self.calibration)
        return scaled if self._contention == 1 else scaled.with_wall(scaled.wall_s * self._contention)

    async def start(self) -> None:
        """Starts the warm profiles; measures the host."""
        _raise_file_limit(self.config.slots)
        try:
            for profile in self.config.warm or ("bare",):
                template = await self._template(profile)
                self._check(template)
                self._calibrate(template)
                for number in range(self.config.slots if self.config.warm_slots is None else self.config.warm_slots):
                    await self.handle(profile, "python", number)
        except BaseException:
            await self.close()
            raise

    async def examine(self) -> JailPlan:
        """Starts a template and returns what is on in it, enough or not. Raises SandboxError where none starts."""
        template = await self._template("bare")
        self._calibrate(template)
        return template.plan

    def _calibrate(self, template: Template) -> None:
        if self.config.calibration is None:
            self.calibration = min(max(template.hello["speed_s"] / REFERENCE_SPEED_S, 0.5), 10.0)

    def host(self) -> JailPlan:
        """Returns what is on in the first template. Raises SandboxError before the pool is started."""
        if not self._templates:
            raise SandboxError("the pool is not started")
        return next(iter(self._templates.values())).plan

    def _check(self, template: Template) -> None:
        """Refuses to run below the minimum."""
        lacking = template.plan.lacking()
        if not lacking:
            return
        text = f"this host can't confine untrusted code: it lacks {' and '.join(lacking)}"
        if self.config.isolation != "none":
            raise SandboxError(f"{text}; see `berry sandbox probe`, or set isolation: none to run it anyway")
        warnings.warn(f"{text}. isolation: none runs it ALL THE SAME", RuntimeWarning, stacklevel=2)

    async def _template(self, profile: Profile) -> Template:
        lock = self._starting.setdefault(profile, asyncio.Lock())
        async with lock:
            template = self._templates.get(profile)
            if template is not None and template.alive:
                return template
            if template is not None:
                self._metrics.templates_failed += 1
                await template.close()
            if len(self._templates) >= MAX_PROFILES and profile not in self._templates:
                raise SandboxError(f"more than {MAX_PROFILES} import profiles in one pool")
            extra = self.config.profiles.get(profile) if isinstance(profile, str) else profile
            if extra is None:
                known = ", ".join(sorted(self.config.profiles))
                raise SandboxError(f"no import profile {profile!r}; known: {known}, or a tuple of imports")
            options = {
                "imports": [*BARE_IMPORTS, *extra],
                "paths": [*package_paths(), *self.config.import_paths] if extra else [],
                "landlock": True,
                "seccomp": True,
                "namespaces": self.config.namespaces,
                "directory": os.path.abspath(self.config.directory or tempfile.gettempdir()),
                "work_bytes": WORK_BYTES_PER_SLOT,
                "slot_bytes": self._slot_bytes(),
                "fast_fork": list(self.config.fork_tricks),
                "tool_directories": list(self.config.tool_directories),
                "slots": 2 * self.config.slots + 2,
            }
            template = await Template.start(options, launcher=self.config.launcher)
            self._metrics.templates_started += 1
            self._templates[profile] = template
            return template

    def _slot_bytes(self) -> int:
        """Computes the size of a slot's file system: several times what any job of the configuration may write."""
        most = max(self.config.limits.disk_bytes, self.config.compile_limits.disk_bytes)
        return max(WORK_BYTES_PER_SLOT, 4 * most)

    async def handle(self, profile: Profile, kind: Kind, number: int, role: str = "job") -> SlotHandle:
        """Returns the handle for a slot and profile; started, or replaced after its share of jobs. Raises
        SlotDied where the sandbox fails and SandboxError where the profile can't be had."""
        key = (profile, kind, number, role)
        handle = self._handles.get(key)
        if handle is not None and handle.dead is None and handle.jobs >= self.config.recycle_after:
            handle.close("recycled")
            self._metrics.slots_recycled += 1
        elif handle is not None and handle.dead is None:
            return handle
        elif handle is not None:
            self._metrics.slots_failed += 1
        template = await self._template(profile)
        serial = next(self._names)
        handle = template.spawn(
            kind=kind, number=(os.getpid() * 131 + serial) % 4000, name=f"s{serial}", ahead=self.config.fork_ahead
        )
        self._metrics.slots_started += 1
        self._handles[key] = handle
        return handle

    async def close(self) -> None:
        """Ends everything; safe to call twice."""
        for handle in self._handles.values():
            handle.close()
        self._handles.clear()
        templates, self._templates = list(self._templates.values()), {}
        await asyncio.gather(*(t.close() for t in templates))


def _raise_file_limit(slots: int) -> None:
    """Raises this process's limit on open files to what so many slots need, as far as it may: each has the descriptors
    of several waiting children, and may have a judge's slot too. Raises SandboxError where it may not be as high as
    the slots need at the least."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fewest = len(os.listdir("/proc/self/fd")) + slots * FEWEST_DESCRIPTORS_PER_SLOT
    if hard != resource.RLIM_INFINITY and hard < fewest:
        raise SandboxError(
            f"a process may open {hard} files here (ulimit -Hn), and {slots} slots need {fewest}: raise the limit, or "
            "give fewer slots"
        )
    wanted = 512 + slots * 2 * DESCRIPTORS_PER_SLOT
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def package_paths() -> list[str]:
    """Lists the directories in which this interpreter finds installed packages."""
    candidates = [*site.getsitepackages(), *sys.path]
    directories = [p for p in candidates if p.endswith(("site-packages", "dist-packages")) and os.path.isdir(p)]
    return list(dict.fromkeys(directories))


def importable(name: str) -> bool:
    """Whether a module can be found here, without importing it."""
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
