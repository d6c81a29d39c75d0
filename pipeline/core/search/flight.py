"""Keeps what a search waits for: samples, scores, verdicts and tool calls, each answered at most once.

asked ─► taken     a second answer to the same question finds nothing and changes nothing
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class InFlight:
    """How many samples, scores, verdicts and tool calls are awaited."""

    sequences: int
    scores: int
    verifies: int
    calls: int = 0

    def __bool__(self) -> bool:
        return bool(self.sequences or self.scores or self.verifies or self.calls)


class Asked(NamedTuple):
    """The request that a sample belongs to: the limit in tokens, the seed and the index of its first sample, and
    whether it runs to the end of the answer."""

    max_tokens: int
    seed: int
    first: int
    to_end: bool = False


class Flight:
    """The open questions of one search."""

    def __init__(self) -> None:
        self._samples: dict[str, dict[int, Asked]] = {}
        self._n_samples = 0
        self._scores: dict[tuple[str, str], None] = {}
        self._verifies: set[str] = set()
        self._calls: dict[
            str, bool
        ] = {}  # node that ends in a call ─► whether its sample runs to the end of the answer

    @property
    def count(self) -> InFlight:
        """How much is awaited of each kind."""
        return InFlight(self._n_samples, len(self._scores), len(self._verifies), len(self._calls))

    @property
    def empty(self) -> bool:
        """Whether nothing is awaited."""
        return not (self._samples or self._verifies or self._scores or self._calls)

    def running(self, node: str) -> bool:
        """Whether children of `node` are being sampled."""
        return node in self._samples

    @property
    def running_nodes(self) -> list[str]:
        """Ids of nodes whose children are being sampled."""
        return list(self._samples)

    def ask(self, node: str, first: int, n: int, *, max_tokens: int, seed: int, to_end: bool = False) -> None:
        """Notes samples first … first + n - 1 below `node` as asked for, each of at most `max_tokens` tokens."""
        samples = self._samples.setdefault(node, {})
        samples.update(dict.fromkeys(range(first, first + n), Asked(max_tokens, seed, first, to_end)))
        self._n_samples += n

    def take(self, node: str, index: int) -> Asked | None:
        """What was asked for as sample `index` below `node`, which then is no longer awaited; None if it is not
        awaited."""
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
        """Sample indices of the children of `node` that are being sampled."""
        return tuple(self._samples.get(node, ()))

    def ask_score(self, node: str, model: str) -> bool:
        """False if the very same score is awaited already."""
        if (node, model) in self._scores:
            return False
        self._scores[node, model] = None
        return True

    def take_score(self, node: str, model: str) -> bool:
        """Notes that a score has come; False where it was not awaited."""
        return self._scores.pop((node, model), 0) is None

    def models(self, node: str) -> list[str]:
        """Scorers asked about `node`."""
        return [model for at, model in self._scores if at == node]

    def ask_verdict(self, node: str) -> None:
        """Notes that a verdict on `node` is awaited."""
        self._verifies.add(node)

    def take_verdict(self, node: str) -> bool:
        """Notes that a verdict has come; False where it was not awaited."""
        try:
            self._verifies.remove(node)
        except KeyError:
            return False
        return True

    def ask_call(self, node: str, *, to_end: bool) -> None:
        """Notes the tool call at the end of `node` as asked for; `to_end`: what follows its result is sampled to the
        end."""
        self._calls[node] = to_end

    def take_call(self, node: str) -> bool | None:
        """Whether the sample of the call runs to the end of the answer; None if no such call is awaited."""
        return self._calls.pop(node, None)

    @property
    def interrupted(self) -> list[str]:
        """Nodes whose sample has not ended yet: those whose call is awaited, and those behind which it goes on."""
        return [*self._calls, *(node for node, samples in self._samples.items() if -1 in samples)]

    def state(self) -> object:
        """Everything, in an order of its own."""
        samples = [(node, sorted(asked)) for node, asked in sorted(self._samples.items())]
        return samples, sorted(self._scores), sorted(self._verifies), sorted(self._calls.items())
