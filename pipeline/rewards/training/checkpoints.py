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
    cut_short = [folder for folder in work.glob("checkpoint-*") if not (folder / WHOLE).is_file()]
    for folder in cut_short:
        shutil.rmtree(folder)
    return Resumed(last_whole(work), len(cut_short))


def last_whole(work: Path) -> Path | None:
    """The last checkpoint that was written to its end; None where there is none."""
    whole = [folder for folder in work.glob("checkpoint-*") if (folder / WHOLE).is_file()]
    return max(whole, key=step_of, default=None)


def mark_whole(checkpoint: Path) -> None:
    """Marks a checkpoint as written to its end: one without the mark is not gone on from."""
    (checkpoint / WHOLE).write_text(json.dumps({"step": step_of(checkpoint)}))


def step_of(checkpoint: Path) -> int:
    """The step after which it was written."""
    return int(checkpoint.name.rpartition("-")[2])
