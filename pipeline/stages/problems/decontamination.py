"""Finds texts that come too near to an evaluation set, by shared word n-grams, item by item.

    files ─► rows ─► text ─► n-grams ─► index        overlap(text) ─► the nearest item, if it is too near

    overlap(A, B) = |A ∩ B| / min(|A|, |B|)          over the sets of n-grams of two texts, in [0, 1]

The smaller side divides, so that an evaluation item inside a longer text is found too. A text shorter than n words is
one piece, found only where the other is as short.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import PurePath
from typing import Any

from berry.pipeline.config.sections.problems import EvaluationSets
from berry.pipeline.core.prune.similarity import shingles
from berry.pipeline.errors import ProblemFileError
from berry.pipeline.stages.problems.importing import read_rows


@dataclass(frozen=True, slots=True)
class Near:
    """An evaluation item that a text overlaps with."""

    item: str
    overlap: float

    def __str__(self) -> str:
        return f"{self.overlap:.0%} of the pieces shared with {self.item}"


class Decontamination:
    """All evaluation items' n-grams, as 8-byte hashes; `items_of` counts the items of each file by its name."""

    def __init__(self, screen: EvaluationSets, *, key: str = "variants.screen") -> None:
        """Reads the files; `key` is their place in the configuration. Raises ProblemFileError with file and row."""
        self._screen = screen
        self._key = key
        self.items_of: dict[str, int] = {}
        self._items: list[tuple[str, int]] = []
        self._index: dict[bytes, list[int]] = {}
        for path in screen.files:
            before = len(self._items)
            for where, row in read_rows(path):
                self._add(f"{PurePath(path).name}, {where.rpartition(', ')[2]}", self._text(row, where))
            if len(self._items) == before:
                raise ProblemFileError(f"{path}: holds no row; {key}.files must list evaluation sets")
            name = PurePath(path).name
            self.items_of[name] = self.items_of.get(name, 0) + len(self._items) - before

    def __len__(self) -> int:
        return len(self._items)

    def near(self, text: str) -> Near | None:
        """The item nearest to `text`, if their overlap reaches the threshold."""
        if not self._items:
            return None
        pieces = self._pieces(text)
        shared = Counter(item for piece in pieces for item in self._index.get(piece, ()))
        best = max(
            ((n / min(len(pieces), self._items[i][1]), -i) for i, n in shared.items()),
            default=(0.0, 0),
        )
        if best[0] < self._screen.overlap:
            return None
        return Near(self._items[-best[1]][0], best[0])

    def _add(self, name: str, text: str) -> None:
        pieces = self._pieces(text)
        self._items.append((name, len(pieces)))
        for piece in pieces:
            self._index.setdefault(piece, []).append(len(self._items) - 1)

    def _pieces(self, text: str) -> set[bytes]:
        return {blake2b(s.encode(), digest_size=8).digest() for s in shingles(text, self._screen.ngram)}

    def _text(self, row: Any, where: str) -> str:
        for name in self._screen.fields:
            value = row.get(name)
            if isinstance(value, str) and value.strip():
                return value
            if isinstance(value, list) and value and all(isinstance(m, dict) for m in value):
                return "\n\n".join(str(m.get("content", "")) for m in value if m.get("role") != "system")
        wanted = ", ".join(self._screen.fields)
        raise ProblemFileError(f"{where}: has no text in {wanted}; set {self._key}.fields to its column")
