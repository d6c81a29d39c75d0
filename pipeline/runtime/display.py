"""display: written by the move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Display(Protocol):
    """Where progress goes: a terminal, plain lines, or nowhere."""

    def phase(self, text: str) -> None: ...

    def update(self, view: View) -> None: ...

    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class View:
    """One moment for the eye. Rates in tokens a second over the last ten seconds; shares in [0, 1]."""

    elapsed_s: float
    problems: int
    total_problems: int
    trajectories: int
    kept: int
    verified: int
    passed: int
    tokens_per_s: float
    cache_hit: float | None
    running: int
    waiting: int
    sandbox_queue: int
    eta_s: float | None
