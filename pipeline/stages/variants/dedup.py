"""Finds variants that say what an original or an earlier variant says.

    exact           equal words and signs, whatever the case and spacing
    near-duplicate  equal numbers, and similar words: Jaccard over word shingles (core/prune/similarity.py)

The numbers decide because a word problem with other numbers is another problem, however similar its words. Number words
up to twenty count as numbers, so that "3 apples" and "three apples" can be near-duplicates.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from berry.pipeline.config.sections.variants import Duplicates
from berry.pipeline.core.prune.similarity import leaders
from berry.pipeline.stages.variants.attempts import Refusal

_PIECE = re.compile(r"\w+|[^\w\s]")
_FIGURE = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_NUMBER_WORDS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty"""
_VALUE: dict[str, str] = {word: str(value) for value, word in enumerate(_NUMBER_WORDS.split())}


def normalised(text: str) -> str:
    """Words and signs in lower case with one space between."""
    return " ".join(_PIECE.findall(text.casefold()))


def numbers_in(text: str) -> tuple[str, ...]:
    """All numbers, sorted, number words up to twenty as digits."""
    pieces: list[str] = re.findall(r"[^\W\d_]+|[^a-zA-Z\s]+", text.casefold())
    digits = " ".join(_VALUE.get(piece, piece) for piece in pieces)
    return tuple(sorted(figure.replace(",", "") for figure in _FIGURE.findall(digits)))


def find(originals: Sequence[str], variants: Sequence[str], config: Duplicates) -> dict[int, tuple[Refusal, int]]:
    """For each variant (by its index) that is a duplicate the reason and the index of what it repeats, counted over
    originals and then variants. Earlier texts lead; an original is never a duplicate."""
    texts = [*originals, *variants]
    found: dict[int, tuple[Refusal, int]] = {}
    first: dict[str, int] = {}
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, text in enumerate(texts):
        earlier = first.setdefault(normalised(text), i)
        if earlier != i and i >= len(originals):
            found[i - len(originals)] = (Refusal.DUPLICATE, earlier)
        elif earlier == i:
            groups.setdefault(numbers_in(text), []).append(i)
    for members in groups.values():
        if members[-1] < len(originals) or len(members) == 1:
            continue
        leading = leaders(
            [texts[i] for i in members],
            threshold=config.threshold,
            words=config.shingle_words,
            permutations=config.permutations,
        )
        for i, leader in zip(members, leading, strict=True):
            if members[leader] != i and i >= len(originals):
                found[i - len(originals)] = (Refusal.NEAR_DUPLICATE, members[leader])
    return found
