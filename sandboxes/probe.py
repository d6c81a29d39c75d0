"""Examines what this host offers for confining code, what is missing, and what that leaves open.

probe() ─► one template started as a pool would ─► HostReport: rows of (part, on, detail, leaves open)
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from berry.sandboxes.base import LANGUAGES, Language, SandboxError
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.host.slots import Slots, importable
from berry.sandboxes.jail.plan import JailPlan
from berry.sandboxes.languages import COMMANDS, missing_tools
from berry.sandboxes.metrics import Metrics

_NAMESPACES = {
    "mount": "files: `stat` tells that a path exists, and which size and times it has",
    "pid": "processes of a shell job are found by walking /proc instead of dying with their namespace",
    "net": "nothing while seccomp refuses sockets",
    "ipc": "nothing while seccomp refuses shared memory and queues",
    "uts": "the host's name can be read",
}
OWN_USER_IDS = "one a slot"
DOCUMENTATION = "docs/sandbox-security.md"
"""Page of the repository with the threat model and what each level leaves open."""
_LANDLOCK = ((1, "files"), (2, "moving"), (3, "truncating"), (4, "TCP"), (5, "device ioctls"), (6, "signals, sockets"))


@dataclass(frozen=True, slots=True)
class JailPart:
    """One part of the jail. `leaves_open` says what its absence means; empty when it is on."""

    name: str
    on: bool
    detail: str = ""
    leaves_open: str = ""


@dataclass(frozen=True, slots=True)
class HostReport:
    """All parts, and whether together they are enough to run untrusted code. `calibration` is the factor on
    time limits, 1.0 on the reference host."""

    parts: tuple[JailPart, ...]
    lacking: tuple[str, ...]
    calibration: float
    languages: tuple[JailPart, ...]
    notes: tuple[str, ...] = ()

    @property
    def level(self) -> str:
        """Names how much confines jobs here, in one word: see docs/sandbox-security.md.

        full: namespaces, landlock, seccomp and a user id for each slot; private: the same without user ids; shared:
        landlock and seccomp alone, in the host's own namespaces; partial: namespaces without landlock; insufficient.
        """
        on = {part.name for part in self.parts if part.on}
        if self.lacking or "seccomp" not in on:
            return "insufficient"
        if "landlock" not in on:
            return "partial"
        if not {"mount namespace", "pid namespace"} <= on:
            return "shared"
        own_ids = any(part.name == "user id" and part.on and part.detail == OWN_USER_IDS for part in self.parts)
        return "full" if own_ids else "private"

    @property
    def sufficient(self) -> bool:
        """Whether nothing of the minimum is missing."""
        return not self.lacking


def probe(config: PoolConfig | None = None) -> HostReport:
    """Examines this host, from outside any event loop. A host on which nothing starts is a report too."""
    return asyncio.run(examine(config or PoolConfig()))


async def examine(config: PoolConfig) -> HostReport:
    """Starts one template as a pool with this configuration would, and reports what is on."""
    slots = Slots(config, Metrics())
    languages = (*(_language(name, config) for name in LANGUAGES), _numeric())
    try:
        plan = await slots.examine()
    except SandboxError as e:
        return HostReport((), (str(e),), 1.0, languages)
    finally:
        await slots.close()
    return HostReport(_parts(plan), tuple(plan.lacking()), slots.calibration, languages, plan.notes)


def _parts(plan: JailPlan) -> tuple[JailPart, ...]:
    level = plan.landlock
    covers = ", ".join(word for since, word in _LANDLOCK if level >= since)
    missing = ", ".join(word for since, word in _LANDLOCK if level < since)
    if not level:
        missing += "; with mount namespaces only packages beside the profile's can be read"
    parts = [
        JailPart("no_new_privs", on=True, detail="setuid programs gain nothing"),
        JailPart("rlimits", on=True, detail="CPU, memory, file size, descriptors, tasks"),
        JailPart("seccomp", plan.seccomp, "allow list of system calls", "" if plan.seccomp else "every system call"),
        JailPart("landlock", level > 0, f"level {level}: {covers}" if level else "", missing),
    ]
    parts += [
        JailPart(f"{name} namespace", name in plan.namespaces, "", "" if name in plan.namespaces else open_)
        for name, open_ in _NAMESPACES.items()
    ]
    if "user" in plan.namespaces:
        parts.append(JailPart("user namespace", on=True, detail="gives an ordinary user the other namespaces"))
    if plan.drops_uid:
        parts.append(JailPart("user id", on=True, detail=OWN_USER_IDS))
    elif plan.root:
        parts.append(JailPart("user id", on=False, leaves_open="jobs are root, without its capabilities"))
    else:
        parts.append(JailPart("user id", on=True, detail="an ordinary user's"))
    return tuple(parts)


def _language(name: Language, config: PoolConfig) -> JailPart:
    missing = missing_tools(name, config.tool_directories)
    if not missing:
        return JailPart(name, on=True)
    brings = f" (Debian: apt-get install {COMMANDS[name].package})" if name in COMMANDS else ""
    return JailPart(name, on=False, leaves_open=f"lacks {', '.join(missing)}: such jobs are unverifiable{brings}")


def _numeric() -> JailPart:
    missing = [name for name in ("numpy", "sympy") if not importable(name)]
    return JailPart("profile numeric", not missing, "", f"lacks {', '.join(missing)}" if missing else "")
