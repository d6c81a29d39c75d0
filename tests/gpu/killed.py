"""The engine's core is killed while it is busy: its memory comes back, another takes its place, the run goes on."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from main_path import through
from part import Figure, Here, at_least, at_most

Found = tuple[list[Figure], dict[str, Any]]
CORE = "EngineCore"
LOOK_S = 0.2
MEMORY_BACK_MIB = 1024  # that the device may hold more after the run than before it


def core(here: Here) -> Found:
    place = here.work / "runs" / "killed"
    before, killed = _used_mib(), []
    stop = threading.Event()
    killer = threading.Thread(target=_kill, args=(place, killed, stop))
    killer.start()
    try:
        words = [f"problems.0.count={here.sizes.killed_problems}"]
        outcome, summary = through(here, "tiny", words, str(place))
    finally:
        stop.set()
        killer.join()
    after = _used_mib()
    figures = [
        at_least("cores killed", len(killed), 1),
        Figure("problems", summary.problems, "all committed", outcome.finished and summary.problems > 0),
        at_least("engines lost and replaced", outcome.figures["lost_workers"], 1),
        at_least("leases handed out again", outcome.figures["retried_leases"], 1),
    ]
    if before is not None and after is not None:
        figures.append(at_most("MiB more in use after", after - before, MEMORY_BACK_MIB))
    return figures, {"place": str(place), "used_mib": [before, after], "verdicts": summary.outcomes} | outcome.figures


def _kill(place: Path, killed: list[int], stop: threading.Event) -> None:
    """Kills the engine's core once, as soon as a lease has been committed: then it is at work on others."""
    import psutil

    while not stop.is_set():
        if any(place.glob("round=0/nodes/*.parquet")):
            for process in psutil.Process().children(recursive=True):
                try:
                    if CORE in " ".join(process.cmdline()) or CORE in process.name():
                        process.kill()
                        killed.append(process.pid)
                        return
                except psutil.Error:  # it has just ended
                    continue
        time.sleep(LOOK_S)


def _used_mib() -> float | None:
    """Memory in use on the GPU, by anyone; None without one."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        return float(subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0])
    except (OSError, subprocess.CalledProcessError):
        return None
