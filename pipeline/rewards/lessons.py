"""What the generator learns from: a prompt and the very ids it answered with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b


@dataclass(frozen=True, slots=True)
class Lesson:
    """The loss is on `response_ids` alone."""

    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]


def digest(source: str, lessons: Sequence[Lesson]) -> str:
    """Of what a training starts from and learns."""
    return blake2b(repr((source, lessons)).encode(), digest_size=16).hexdigest()
