"""Declares where the progress of a run is shown, and what one moment of it holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class Display(Protocol):
    """Where progress goes: a terminal, plain lines, or nowhere."""

    def phase(self, text: str) -> None:
        """Shows what is being done now, until the next phase or figures."""
        ...

    def update(self, view: View) -> None:
        """Shows the newest figures."""
        ...

    def note(self, text: str) -> None:
        """Shows a line that stays."""
        ...


STARTING_RAY = "starting Ray"  # the phase that begins once all that a run was given is accepted


@dataclass(frozen=True, slots=True)
class View:
    """The figures of one moment. `tokens_per_s` is over the last polls, some seconds; `cache_hit` in [0, 1]."""

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
    sandbox_queue: int  # leaves that wait for their verdict
    eta_s: float | None
    calling: int = 0  # tool calls that are waited for
    calls: int = 0  # that were answered
    bad_calls: int = 0  # of them those that did not end well
    nondeterministic: int = 0  # of them those behind calls that, made again, said something else
    call_ms: float | None = None  # that those were waited for, on average
