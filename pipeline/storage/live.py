"""live.json: what the driver of a run is doing, written every few seconds for whoever asks from outside.

driver ─► metrics/live.json ─► berry status RUN, from another terminal or another machine
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.errors import StorageError
from pipeline.storage.dataset import RunDir

NAME = "live"
EVERY_S = 2.0
SILENT_S = 30.0  # a driver that wrote nothing for this long is not there any more


@dataclass(frozen=True, slots=True)
class Live:
    """`written_at`, `started_at`: seconds since the epoch, by the driver's clock. `view`: its progress figures, by
    name. `ended`: "" while it runs, else finished | stopped | failed: why."""

    host: str
    process: int
    started_at: float
    written_at: float
    phase: str = ""
    ended: str = ""
    view: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def write(run: RunDir, live: Live) -> None:
    """Raises StorageError."""
    data = json.dumps(asdict(live), indent=1, default=str).encode()
    run.location.put(f"metrics/{NAME}.json", data, durable=False)


def read(run: RunDir) -> Live | None:
    """None if no driver has written yet. Raises StorageError for a damaged file."""
    data = run.location.get(f"metrics/{NAME}.json")
    if data is None:
        return None
    try:
        return Live(**json.loads(data))
    except (ValueError, TypeError) as error:
        raise StorageError(f"{run.location.show(f'metrics/{NAME}.json')}: is damaged ({error})") from error


def is_held(run: RunDir) -> bool | None:
    """Whether a driver on this machine holds the run; None where that can't be known (a URL, no lock yet)."""
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
