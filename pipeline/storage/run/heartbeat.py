"""Says who is at work on a run directory that several may reach: a name held by one process, renewed while it lives.

    sites/NAME/000003      third holder of the name: {"token": …, "counter": 17, "left": false, "host": …}

A holder takes its number by create-if-absent and rewrites its own file a few times within `silent_s`. Others call it
dead when that file has not changed for `silent_s` by their own monotonic clock: no two clocks are ever compared, so
clocks that jump or disagree change nothing. A holder that died on the same host is seen at once.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import TypeVar

from berry.pipeline.errors import StorageError
from berry.pipeline.storage.files import Location

FOLDER = "sites"
RENEWALS = 4  # within `silent_s`
T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a holder writes again and again while it lives. `kernel`: which boot and which process namespace `process`
    is a number of. `counter`: how often it was written."""

    token: str
    host: str
    kernel: str
    process: int
    started: str  # of the process, in ticks since boot: its number may be given out again
    counter: int = 0
    left: bool = False

    def is_surely_dead(self) -> bool:
        """True only where this host can tell."""
        return self.left or (self.kernel == _kernel() and self.started != _started(self.process))

    def is_surely_alive(self) -> bool:
        """Whether its process runs on this very kernel; False where that can't be known."""
        return not self.left and self.kernel == _kernel() and self.started == _started(self.process)

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}"


def _mine() -> Heartbeat:
    pid = os.getpid()
    return Heartbeat(uuid.uuid4().hex, os.uname().nodename, _kernel(), pid, _started(pid))


def _kernel() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as stream:
            return f"{stream.read().strip()}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return uuid.uuid4().hex  # another each time: nobody is known to be dead then


def _started(pid: int) -> str:
    """Empty if there is no such process, or it has ended and nobody has asked how."""
    try:
        with open(f"/proc/{pid}/stat") as stream:
            fields = stream.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def read(location: Location, name: str) -> tuple[int, Heartbeat | None]:
    """The last holder of a name and its number; -1 and None if nobody ever held it. Raises StorageError."""
    numbers = [int(n) for n in location.names(f"{FOLDER}/{name}") if n.isdigit()]
    if not numbers:
        return -1, None
    place = _place(name, max(numbers))
    data = location.get(place)
    try:
        fields = json.loads(data or b"")
        if "beat" in fields:  # its name in version 0.1.0
            fields["counter"] = fields.pop("beat")
        return max(numbers), Heartbeat(**fields)
    except (ValueError, TypeError, AttributeError) as error:
        raise StorageError(f"{location.show(place)}: is damaged ({error}); remove it") from error


def _place(name: str, number: int) -> str:
    return f"{FOLDER}/{name}/{number:06d}"


@dataclass(slots=True)
class Watcher:
    """Tells the living from the dead, by what it has seen itself."""

    location: Location
    silent_s: float
    clock: Callable[[], float] = time.monotonic
    _seen: dict[str, tuple[str, int, float]] = field(default_factory=dict)  # name -> token, counter, since when

    def look(self) -> dict[str, Heartbeat]:
        """Living holders by name. Raises StorageError."""
        latest = {name: read(self.location, name)[1] for name in self.location.folders(FOLDER)}
        return {name: one for name, one in latest.items() if one is not None and self.is_alive(name, one)}

    def is_alive(self, name: str, heartbeat: Heartbeat) -> bool:
        """Whether a heartbeat goes on, as far as its counter has moved within the silence that is allowed."""
        if heartbeat.is_surely_dead():
            return False
        now = self.clock()
        token, counter, since = self._seen.get(name, ("", -1, now))
        if (token, counter) != (heartbeat.token, heartbeat.counter):
            self._seen[name] = (heartbeat.token, heartbeat.counter, now)
            return True
        return now - since < self.silent_s


class Presence:
    """A name held by this process. `is_taken`: it was thought dead, and another process holds the name now."""

    def __init__(self, location: Location, name: str, number: int, heartbeat: Heartbeat, silent_s: float) -> None:
        self.name = name
        self.silent_s = silent_s
        self._location = location
        self._number = number
        self._heartbeat = heartbeat
        self.is_taken = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"presence-{name}", daemon=True)
        self._thread.start()

    @property
    def token(self) -> str:
        """What tells this holder of the name from any other."""
        return self._heartbeat.token

    def _renew(self) -> None:
        while not self._ended.wait(self.silent_s / RENEWALS):
            try:
                number, _ = read(self._location, self.name)
                if number != self._number:
                    self.is_taken = True
                    return
                self._heartbeat = replace(self._heartbeat, counter=self._heartbeat.counter + 1)
                self._write()
            except StorageError as error:
                log.warning("the presence of %s could not be renewed, which is tried again: %s", self.name, error)

    def _write(self) -> None:
        self._location.put(_place(self.name, self._number), _encode(self._heartbeat), durable=False)

    def leave(self) -> None:
        self._ended.set()
        self._thread.join(timeout=self.silent_s)
        if not self.is_taken:
            self._heartbeat = replace(self._heartbeat, left=True)
            try:
                self._write()
            except StorageError as error:
                log.warning(
                    "%s could not say that it leaves, so others wait for %g s: %s", self.name, self.silent_s, error
                )


def _encode(heartbeat: Heartbeat) -> bytes:
    return json.dumps(asdict(heartbeat)).encode()


@contextmanager
def present(
    location: Location,
    name: str,
    *,
    silent_s: float,
    excludes: Callable[[str], bool],
    waiting: Callable[[str], None] = lambda _: None,
) -> Iterator[Presence]:
    """Holds `name` while no other process holds it, or a name that it `excludes`. Waits, and says so, while it can't
    tell whether a holder is dead. Raises StorageError that names the holder if one lives."""
    watcher = Watcher(location, silent_s)
    _refuse_living(watcher, lambda other: other == name or excludes(other), waiting)
    heartbeat = _mine()
    while True:
        number = read(location, name)[0] + 1
        if location.create(_place(name, number), _encode(heartbeat)):
            break
        _refuse_living(watcher, lambda other: other == name, waiting)
    presence = Presence(location, name, number, heartbeat, silent_s)
    try:
        others = {n: s for n, s in watcher.look().items() if n != name and excludes(n)}  # who came at the same moment
        if others:
            raise StorageError(_in_use(location, others))
        for old in range(number):
            location.remove(_place(name, old))
        yield presence
    finally:
        presence.leave()


def _refuse_living(watcher: Watcher, concerns: Callable[[str], bool], waiting: Callable[[str], None]) -> None:
    """Returns when all that it concerns are dead."""
    first: dict[str, Heartbeat] | None = None
    while living := {name: heartbeat for name, heartbeat in watcher.look().items() if concerns(name)}:
        if first is None:
            first = living
            who = ", ".join(str(heartbeat) for heartbeat in living.values())
            waiting(f"waiting up to {watcher.silent_s:g} s to see whether {who} is still there")
        if any(first.get(name) != heartbeat or heartbeat.is_surely_alive() for name, heartbeat in living.items()):
            raise StorageError(_in_use(watcher.location, living))
        time.sleep(min(1.0, watcher.silent_s / (2 * RENEWALS)))


def _in_use(location: Location, found: dict[str, Heartbeat]) -> str:
    listed = ", ".join(f"{heartbeat} as {name!r}" for name, heartbeat in found.items())
    return (
        f"{location.show()}: another `berry run` is writing here ({listed}); wait for it, choose --run DIR, or give "
        "each its own storage.site to share the work"
    )
