"""What the generator learns from: a prompt and the very ids it answered with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Lesson:
    """The loss is on `response_ids` alone."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
