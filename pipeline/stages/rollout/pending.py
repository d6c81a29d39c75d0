"""Finds what a replayed search still waits for: the commands it issued, less the answers in its journal. Pure.

commands, events of the journal, in order ─► PendingCommands ─► commands to be executed again
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from msgspec.structs import replace

from berry.pipeline.core.events import (
    BudgetGrant,
    BudgetRequest,
    Called,
    CallTool,
    Cancel,
    Cancelled,
    Command,
    Event,
    Failed,
    Finished,
    Generate,
    Score,
    Scored,
    Segment,
    TakeTurn,
    Verified,
    Verify,
)


@dataclass(slots=True)
class PendingCommands:
    """Commands without an answer, from all commands and events of a search in order."""

    _samples: dict[tuple[str, int], Generate] = field(default_factory=dict)  # (node, index) -> its request
    _verify: dict[str, Verify] = field(default_factory=dict)
    _score: dict[tuple[str, str], Score] = field(default_factory=dict)
    _call: dict[str, CallTool | TakeTurn] = field(default_factory=dict)
    _stopped: dict[str, set[int]] = field(default_factory=dict)
    budget_request: BudgetRequest | None = None  # answered or not
    granted: bool = False
    finished: Finished | None = None

    def issued(self, commands: Iterable[Command]) -> None:
        """Notes commands that have no answer yet."""
        for command in commands:
            match command:
                case Generate(node=node, n=n, first_index=first):
                    self._samples.update({(node, first + i): command for i in range(n)})
                case Verify(node):
                    self._verify[node] = command
                case Score(node, model):
                    self._score[node, model] = command
                case CallTool(node) | TakeTurn(node):
                    self._call[node] = command
                case Cancel(node):
                    self._stop(node)
                case BudgetRequest():
                    self.budget_request = command
                case Finished():
                    self.finished = command

    def answered(self, event: Event) -> None:
        """Takes away what an event answers."""
        match event:
            case Segment(parent, index, _):
                self._remove(parent, (index,))
            case Verified(node, _):
                self._verify.pop(node, None)
                self._call.pop(node, None)
            case Scored(node, _, model):
                self._score.pop((node, model), None)
            case Called(node):
                self._call.pop(node, None)
            case Cancelled(node, indices, _):
                self._remove(node, indices)
            case BudgetGrant():
                self.granted = True
            case Failed(node, _, what, indices):
                if what == "generate":
                    self._remove(node, indices)
                elif what == "verify":
                    self._verify.pop(node, None)
                elif what in ("call", "turn"):
                    self._call.pop(node, None)
                else:
                    for key in [k for k in self._score if k[0] == node]:
                        del self._score[key]

    def _remove(self, node: str, indices: Iterable[int]) -> None:
        for index in indices:
            self._samples.pop((node, index), None)
            self._stopped.get(node, set()).discard(index)

    def _stop(self, node: str) -> None:
        for key in [key for key in self._samples if key[0] == node]:
            del self._samples[key]
            self._stopped.setdefault(node, set()).add(key[1])

    def commands(self) -> list[Command]:
        """The commands to be executed again. Samples still missing keep their seeds, and neighbours of one request
        go as one."""
        left: list[Command] = []
        for (node, index), request in self._samples.items():
            seed = request.seed + index - request.first_index
            last = left[-1] if left else None
            if (
                isinstance(last, Generate)
                and last.node == node
                and last.first_index + last.n == index
                and last.seed + last.n == seed
            ):
                left[-1] = replace(last, n=last.n + 1)
            else:
                left.append(replace(request, n=1, first_index=index, seed=seed))
        budget = [self.budget_request] if self.budget_request is not None and not self.granted else []
        return [*left, *self._call.values(), *self._verify.values(), *self._score.values(), *budget]

    def cancelled(self) -> list[Cancelled]:
        """Answers to samples that were cancelled and had not ended: they ended with the worker."""
        return [Cancelled(node, tuple(sorted(indices))) for node, indices in self._stopped.items() if indices]
