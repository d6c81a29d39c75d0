"""Defines how a child ended, and what a child's handle may ask of its slot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from berry.sandboxes.base import JobOutcome
from berry.sandboxes.inside.slot_protocol import StartChild


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended, from its slot or, where it sent a final frame, from that; with everything that it left to
    read. `outcome` is the child's claim, `frames` are those that nobody has taken yet, `broken` is the outcome
    and the text of a broken protocol."""

    status: int
    cpu_s: float
    wall_s: float
    peak_bytes: int
    limit: str | None
    stdout: bytes
    stderr: bytes
    stdout_bytes: int
    stderr_bytes: int
    frames: tuple[bytes, ...] = ()
    broken: tuple[JobOutcome, str] | None = None
    outcome: str | None = None
    loaded: bool = False
    """Whether it had come as far as the first call."""

    def read(self, stream: int, start: int, end: int) -> bytes:
        """Reads bytes `start` to `end` of stdout (1) or stderr (2)."""
        return (self.stdout if stream == 1 else self.stderr)[start:end]


class ChildControl(Protocol):
    """What a child's handle may ask of its slot."""

    def start_child(self, order: StartChild) -> None:
        """Has the slot watch its next child."""
        ...

    def kill(self, pid: int) -> None:
        """Kills a child that has not ended."""
        ...

    def retire(self, pid: int) -> None:
        """Kills a running child from which nothing more is wanted, without waiting for its end."""
        ...

    def close(self, why: str = "closed") -> None:
        """Ends the slot and its children."""
        ...
