"""Plans the jail: what this host allows, and the order in which a process confines itself.

template: look at the host ─► enter (namespaces, no_new_privs, static limits) ─► report to the host
slot:     own directories, landlock rules and filter, built once          (SlotJail)
child:    user id ─► death signal ─► directory ─► landlock ─► seccomp       (SlotJail.confine)
"""

from __future__ import annotations

import os
from typing import NamedTuple

from berry.sandboxes.jail import landlock, namespaces, seccomp, syscalls, visible

FIRST_UID = 61_000
"""User ids of slots when started by root: unused by Debian and systemd, one a slot."""
DROP_CAPABILITIES = frozenset({0, 1, 3, 5, 6, 7})
"""CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID: what a slot needs to run children under another user
id."""
_SYSTEM_READ = ("/usr/lib", "/lib", "/lib64", "/usr/lib64", "/usr/share/zoneinfo", "/etc/ld.so.cache")
SIGNALS_LEVEL = 6
"""The landlock level from which signals stay inside."""
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


class JailPlan(NamedTuple):
    """What of the jail is on in this template and its children."""

    landlock: int
    """ABI level; 0: off."""
    seccomp: bool
    namespaces: tuple[str, ...]
    root: bool
    drops_uid: bool
    work: str
    read_dirs: tuple[str, ...]
    """Directories of the profile's packages."""
    tool_dirs: tuple[str, ...]
    """Directories of compilers and interpreters outside the system's."""
    base_bytes: int
    """Address space of the template."""
    slots: int
    slot_bytes: int = 0
    """Size of the file system that each slot has for itself; 0: slots share one."""
    hides_packages: bool = False
    """Whether packages installed inside the interpreter's own library can't be seen."""
    notes: tuple[str, ...] = ()
    """Why something could not be had."""

    def lacking(self) -> list[str]:
        """Lists what the minimum needs and is not on: seccomp, and something that contains files."""
        lacks = [] if self.seccomp else ["seccomp filters"]
        if not self.landlock and "mount" not in self.namespaces:
            lacks.append("landlock (Linux 5.13 or newer) or mount namespaces")
        return lacks

    @property
    def signals_contained(self) -> bool:
        """Whether a job's signals reach its own processes alone."""
        return self.landlock >= SIGNALS_LEVEL or "pid" in self.namespaces

    @property
    def counts_tasks(self) -> bool:
        """Whether RLIMIT_NPROC counts this pool's processes alone."""
        return self.drops_uid or "user" in self.namespaces


def stdlib_rules(*, hides_packages: bool) -> list[tuple[str, int]]:
    """Lists rules for reading the interpreter's own library: whole where nothing else can be seen in it, entry by entry
    elsewhere, so that installed packages stay closed. Listing directories is allowed throughout: imports need it.
    Each rule is copied for every child."""
    stdlib = os.path.dirname(os.__file__)
    if hides_packages:
        return [(stdlib, landlock.READ)]
    rules = [(stdlib, landlock.READ_DIR)]
    closed = set(map(os.path.basename, visible.packages_in_stdlib()))
    open_names = [name for name in os.listdir(stdlib) if name not in closed]
    rules += [(os.path.join(stdlib, name), landlock.READ) for name in open_names]
    return rules


def readable_by_others(path: str) -> bool:
    """Whether a user who owns nothing can reach `path`."""
    while True:
        if not os.stat(path).st_mode & 0o001:
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)


class SlotJail:
    """One slot's rules, built once and applied by each of its children. `arenas` are the directories in which
    children get a fresh working directory in turn, `proc` is a descriptor on /proc, for the slot alone.

    Making it takes the slot's own privileges for good: its user id becomes `uid`, its capabilities are
    dropped. A child then needs neither, and can't reach its slot all the same: seccomp and landlock keep
    signals and tracing in.

    Landlock and seccomp are applied twice: the slot confines itself to all that it and its children need, and each
    child adds a short list on top. What is inherited costs a child little, what it applies itself a good part of its
    fork."""

    def __init__(
        self, plan: JailPlan, kind: seccomp.Kind, directory: str, uid: int | None, arenas: int, proc: int
    ) -> None:
        self.plan, self.kind = plan, kind
        os.mkdir(directory, 0o755)
        if plan.slot_bytes:
            namespaces.file_system(directory, plan.slot_bytes)
        if uid is not None:
            os.chown(directory, uid, uid)
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            if not plan.slot_bytes:  # so that the slot may look at what its children hold open
                syscalls.prctl(syscalls.PR_SET_DUMPABLE, 1)
        syscalls.no_capabilities()()
        self.arenas = [os.path.join(directory, os.urandom(8).hex()) for _ in range(arenas)]
        for arena in self.arenas:
            os.mkdir(arena, 0o755)
        os.chmod(directory, 0o111)  # jobs know the name of their own, and can list and change nothing here
        self._works = [os.path.join(arena, "w") for arena in self.arenas]
        self._others = 0
        self.base_bytes = plan.base_bytes
        self._death_signal = syscalls.death_signal()
        self._rulesets: list[landlock.Ruleset] = []
        if plan.landlock:
            allowed = self._allowed()
            tops = sorted({"/" + path.split("/")[1] for path, _ in allowed})
            self._rulesets = [self._ruleset(arena, tops) for arena in self.arenas]
            own: list[tuple[str | int, int]] = [(directory, landlock.WORK_EXECUTE), ("/proc", landlock.READ)]
            own.append((proc, landlock.READ))
            landlock.Ruleset([*allowed, *own], level=plan.landlock).restrict()
        self._filter: seccomp.Filter | None = None
        if plan.seccomp:
            own_filter, self._filter = seccomp.build_layers(kind, signals_contained=plan.signals_contained)
            own_filter.load()

    def _allowed(self) -> list[tuple[str, int]]:
        """Lists what jobs may read (and, where they may exec, execute) outside their working directory."""
        rules = [(device, landlock.READ_FILE | landlock.WRITE_FILE) for device in DEVICES]
        if self.kind != "python":
            readable = [(path, landlock.READ) for path in visible.runtime_settings()]
            trees = (*visible.tool_trees(), *self.plan.tool_dirs)
            return rules + [(path, landlock.READ_EXECUTE) for path in trees] + readable
        libraries = _SYSTEM_READ if self.plan.hides_packages else visible.shared_libraries()
        rules += [(path, landlock.READ) for path in libraries]
        return (
            rules
            + stdlib_rules(hides_packages=self.plan.hides_packages)
            + [(path, landlock.READ) for path in self.plan.read_dirs]
        )

    def _ruleset(self, arena: str, tops: list[str]) -> landlock.Ruleset:
        work = landlock.WORK if self.kind == "python" else landlock.WORK_EXECUTE
        rules = [(top, landlock.READ_EXECUTE) for top in tops if top != "/dev"] + [(arena, work)]
        rules.append(("/dev", landlock.READ_FILE | landlock.WRITE_FILE))
        return landlock.Ruleset(rules, level=self.plan.landlock)

    def count_others(self) -> None:
        """Counts the tasks of this host, where the limit on a user's tasks counts strangers too."""
        if not self.plan.counts_tasks:
            with open("/proc/loadavg") as f:
                self._others = int(f.read().split()[3].partition("/")[2])

    def tasks(self, wanted: int) -> int:
        """Computes the limit on this user's tasks that lets a job have `wanted`. Only where the user id is the slot's
        own is it exact; elsewhere it stops a bomb, and what counts is the slot's own measurement."""
        if self.plan.drops_uid:
            return wanted + 2 + len(self.arenas)
        if self.plan.counts_tasks:
            return (wanted + 2 + len(self.arenas)) * self.plan.slots
        return self._others + wanted + 64

    def confine(self, arena: int, parent: int) -> None:
        """Confines the calling child, for good, and leaves it in its working directory. Raises OSError."""
        os.setpgid(0, 0)
        self._death_signal()
        if os.getppid() != parent:
            os._exit(0)
        os.chdir(self._works[arena])
        if self._rulesets:
            self._rulesets[arena].restrict()
        if self._filter is not None:
            self._filter.load()
