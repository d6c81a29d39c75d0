"""Says which problems are for training, validation and held-out figures: by their ids alone, the same in every round.

A variant goes with the problem it was made from, so that no paraphrase of a held-out problem is ever trained on.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal

Part = Literal["train", "validation", "heldout"]


def place(family: str, seed: int = 0) -> float:
    """Draws a fixed, even number in [0, 1) for a problem family (`variant_of`, else the problem's own id)."""
    digest = blake2b(f"{seed}\x00{family}".encode(), digest_size=8, person=b"berry-split").digest()
    return int.from_bytes(digest, "big") / 2**64


def part(family: str, *, heldout_share: float, validation_share: float = 0.0, seed: int = 0) -> Part:
    drawn = place(family, seed)
    if drawn < heldout_share:
        return "heldout"
    return "validation" if drawn < heldout_share + validation_share else "train"
