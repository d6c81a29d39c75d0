"""Holds a run's problems against evaluation sets before it begins, and keeps what was found.

    screening.files ─► Decontamination ─► each problem's text ─► Screened ─► versions.json of the run

What a run left out is read from there again, so that a run is read without its evaluation sets.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from berry.pipeline.config.sections.problems import EvaluationSets, Screening
from berry.pipeline.stages.problems.decontamination import Decontamination, Near

REMEDY = "screening.files in the configuration names such sets"


class Screened:
    """Holds texts against evaluation sets, and remembers those that overlap."""

    def __init__(self, sets: EvaluationSets, *, leave_out: bool, key: str) -> None:
        """Reads the evaluation sets; `key` is their place in the configuration. Raises ProblemFileError."""
        self._sets = sets
        self._leave_out = leave_out
        self._decontamination = Decontamination(sets, key=key)
        self._looked_at = 0
        self._overlapping: dict[str, Near] = {}

    def leaves_out(self, problem_id: str, text: str) -> bool:
        """Whether a problem is to be left out; takes note of it where it overlaps."""
        if not self._sets.files:
            return False
        if problem_id not in self._overlapping:
            self._looked_at += 1
            near = self._decontamination.near(text)
            if near is None:
                return False
            self._overlapping[problem_id] = near
        return self._leave_out

    def record(self) -> dict[str, Any]:
        """What was screened and found, as JSON. `files`: items of each; `looked_at`: problems; `overlapping`: by
        problem the item it is nearest to and the share of pieces, in [0, 1]."""
        return {
            "files": self._decontamination.items_of,
            "ngram": self._sets.ngram,
            "overlap": self._sets.overlap,
            "looked_at": self._looked_at,
            "left_out": self._leave_out,
            "overlapping": {
                problem_id: {"item": near.item, "overlap": round(near.overlap, 4)}
                for problem_id, near in self._overlapping.items()
            },
        }


def screen(screening: Screening) -> Screened:
    """What a run's problems are held against. Raises ProblemFileError."""
    return Screened(screening, leave_out=screening.overlapping == "leave_out", key="screening")


def screened_out(screened: Mapping[str, Any] | None) -> Container[str]:
    """The ids of the problems that a run left out, by the `screening` of its versions.json; none of earlier runs."""
    return frozenset(screened["overlapping"]) if screened and screened["left_out"] else frozenset()


def explain_screening(screened: Mapping[str, Any] | None, *, remedy: str = REMEDY) -> str:
    """What was screened, in one line; `remedy` says how something would have been."""
    if not screened or not screened["files"]:
        return f"nothing was held against evaluation sets ({remedy})"
    held = ", ".join(f"{items:,} of {name}" for name, items in screened["files"].items())
    found = len(screened["overlapping"])
    fate = "left out" if screened["left_out"] else "left in"
    near = f"{found:,} overlap and were {fate}" if found else "none overlaps"
    return f"{screened['looked_at']:,} problems against evaluation items ({held}): {near}"
