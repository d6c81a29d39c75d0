"""Finds a training's checkpoints that are whole and belong to the training at hand.

    work folder ─► plan.json (digest of data and settings)        checkpoint-N/whole.json (written last)

A process killed while it writes leaves a folder without whole.json: it is removed, and the one before it is taken.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

PLAN, WHOLE = "plan.json", "whole.json"


@dataclass(frozen=True, slots=True)
class Resumed:
    """The checkpoint to go on from (None: from the start), and how many half-written ones were removed."""

    checkpoint: Path | None
    removed: int


def prepare(work: Path, plan: str) -> Resumed:
    """Prepares the work folder for the training that `plan` (a digest) describes: removes what another one left."""
    path = work / PLAN
    try:
        stored = json.loads(path.read_text()).get("plan") if path.is_file() else None
    except ValueError:
        stored = None
    if stored != plan:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        path.write_text(json.dumps({"plan": plan}))
        return Resumed(None, 0)
    whole: list[Path] = []
    removed = 0
    for folder in work.glob("checkpoint-*"):
        if (folder / WHOLE).is_file():
            whole.append(folder)
        else:
            shutil.rmtree(folder)
            removed += 1
    return Resumed(max(whole, key=_step, default=None), removed)


def mark_whole(checkpoint: Path) -> None:
    """Marks a checkpoint as written to its end: one without the mark is not gone on from."""
    (checkpoint / WHOLE).write_text(json.dumps({"step": _step(checkpoint)}))


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])
