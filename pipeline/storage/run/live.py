"""Reads and writes live.json: what the driver of a run is doing, every few seconds, for whoever asks from outside.

driver ─► metrics/live.json, of a site metrics/live-SITE.json ─► berry status RUN, from any terminal or machine
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any

from berry.pipeline.errors import StorageError
from berry.pipeline.storage.run import heartbeat
from berry.pipeline.storage.run.directory import RunDir

FOLDER, NAME = "metrics", "live"
EVERY_S = 2.0
SILENT_S = 30.0  # a driver that wrote nothing for this long is not there any more


@dataclass(frozen=True, slots=True)
class Live:
    """`written_at`, `started_at`: seconds since the epoch, by the driver's clock. `view`: its progress figures, by
    name. `ended`: "" while it runs, else finished | stopped | failed: why. `site`: its name among several."""

    host: str
    process: int
    started_at: float
    written_at: float
    phase: str = ""
    ended: str = ""
    view: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    site: str | None = None


def write(run: RunDir, live: Live) -> None:
    """Writes live.json. Raises StorageError."""
    data = json.dumps(asdict(live), indent=1, default=str).encode()
    run.location.put(f"{FOLDER}/{NAME}{'' if live.site is None else f'-{live.site}'}.json", data, durable=False)


def read(run: RunDir) -> list[Live]:
    """Reads what every driver wrote last: the one that had the run to itself first, then each site. Raises StorageError
    for a damaged file."""
    names = (n for n in run.location.names(FOLDER) if n == f"{NAME}.json" or n.startswith(f"{NAME}-"))
    found = [_read(run, f"{FOLDER}/{name}") for name in names]
    return sorted((live for live in found if live is not None), key=lambda live: live.site or "")


def _read(run: RunDir, name: str) -> Live | None:
    data = run.location.get(name)
    if data is None:
        return None
    try:
        return Live(**json.loads(data))
    except (ValueError, TypeError) as error:
        raise StorageError(f"{run.location.show(name)}: is damaged ({error})") from error


def is_held(run: RunDir, site: str | None = None) -> bool | None:
    """Whether a driver, or that of one site, holds the run; None where that can't be known from this machine."""
    if site is not None:
        sign = heartbeat.read(run.location, site)[1]
        if sign is None or not (sign.is_surely_dead() or sign.is_surely_alive()):
            return None
        return sign.is_surely_alive()
    if not run.location.is_local:
        return None
    try:
        descriptor = os.open(run.location.path(".lock"), os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # sites that share the run hold it together
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


def state(live: Live | None, *, held: bool | None, now: float) -> str:
    """running | finished | stopped | failed: … | lost: ended without a word. `now` in seconds since the epoch."""
    if held:
        return "running"
    if live is None:
        return "not running"
    if live.ended:
        return live.ended
    silent_s = now - live.written_at
    if held is None and silent_s < SILENT_S:
        return "running"
    return f"lost: its driver on {live.host} said nothing for {silent_s:,.0f} s; run it again to go on"
