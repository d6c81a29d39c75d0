"""Keeps what a search waits for: samples, scores and verdicts, each answered at most once.

asked ─► taken     a second answer to the same question finds nothing and changes nothing
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class InFlight:
    """How many samples, scores and verdicts are awaited."""

    sequences: int
    scores: int
    verifies: int

    def __bool__(self) -> bool:
        return bool(self.sequences or self.scores or self.verifies)


class Asked(NamedTuple):
    """The request that a sample belongs to: the limit in tokens, the seed and the index of its first sample."""

    max_tokens: int
    seed: int
    first: int


class Flight:
    """The open questions of one search."""

    def __init__(self) -> None:
        self._samples: dict[str, dict[int, Asked]] = {}
        self._n_samples = 0
        self._scores: dict[tuple[str, str], None] = {}
        self._verifies: set[str] = set()

    @property
    def count(self) -> InFlight:
        return InFlight(self._n_samples, len(self._scores), len(self._verifies))

    @property
    def empty(self) -> bool:
        return not (self._samples or self._verifies or self._scores)

    def running(self, node: str) -> bool:
        """Whether children of `node` are being sampled."""
        return node in self._samples

    @property
    def running_nodes(self) -> list[str]:
        return list(self._samples)

    def ask(self, node: str, first: int, n: int, *, max_tokens: int, seed: int) -> None:
        samples = self._samples.setdefault(node, {})
        samples.update(dict.fromkeys(range(first, first + n), Asked(max_tokens, seed, first)))
        self._n_samples += n

    def take(self, node: str, index: int) -> Asked | None:
        samples = self._samples.get(node)
        if samples is None:
            return None
        asked = samples.pop(index, None)
        if asked is not None:
            self._n_samples -= 1
            if not samples:
                del self._samples[node]
        return asked

    def indices(self, node: str) -> tuple[int, ...]:
        return tuple(self._samples.get(node, ()))

    def ask_score(self, node: str, model: str) -> bool:
        """False if the very same score is awaited already."""
        if (node, model) in self._scores:
            return False
        self._scores[node, model] = None
        return True

    def take_score(self, node: str, model: str) -> bool:
        return self._scores.pop((node, model), 0) is None

    def models(self, node: str) -> list[str]:
        """Scorers asked about `node`."""
        return [model for at, model in self._scores if at == node]

    def ask_verdict(self, node: str) -> None:
        self._verifies.add(node)

    def take_verdict(self, node: str) -> bool:
        try:
            self._verifies.remove(node)
        except KeyError:
            return False
        return True

    def state(self) -> object:
        """Everything, in an order of its own."""
        samples = [(node, sorted(asked)) for node, asked in sorted(self._samples.items())]
        return samples, sorted(self._scores), sorted(self._verifies)
