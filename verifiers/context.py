"""Defines what a verifier is given: the request to check, and what it may use to check it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from berry.verifiers.base import Verdict
from berry.verifiers.config import CheckerConfig
from berry.verifiers.specs.base import Spec, Strictness

if TYPE_CHECKING:
    from berry.sandboxes.pool import SandboxPool
    from berry.verifiers.maths.ladder import Equivalence

Messages = Sequence[dict[str, str]]


class Judge(Protocol):
    """A generative model: `n` sampled answers to chat messages, reproducible in `seed`."""

    def __call__(self, messages: Messages, *, n: int, seed: int) -> Awaitable[list[str]]: ...


class SymbolicRung(Protocol):
    """Decides by computer algebra what exact comparison leaves open."""

    async def decide(self, gold: str, response: str, strict: Strictness) -> Equivalence:
        """Whether `response` is the same as `gold`; undecided where it took too long."""
        ...


class ReplPool(Protocol):
    """Lends warm proof-assistant processes, each to one proof at a time; `fresh` opens another."""

    def lend(self, fresh: Callable[[], Awaitable[Any]]) -> AbstractAsyncContextManager[Any]:
        """A process for as long as the context is open."""
        ...


class CheckRequest(Struct, frozen=True):
    """One response to check. `key`: what the queue is fair between; empty: the problem."""

    problem_id: str
    spec: Spec
    response: str
    prompt: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class VerifierContext:
    """What a verifier may use: limits, sandboxes, computer algebra, a judge model (None: there is none), the checker
    itself for its parts, warm proof assistants, and judges by name."""

    config: CheckerConfig
    pool: SandboxPool
    symbolic: SymbolicRung
    judge: Judge | None
    check: Callable[[CheckRequest], Awaitable[Verdict]]
    repls: ReplPool
    judges: Mapping[str, Judge] = field(default_factory=dict)

    def judge_named(self, name: str | None) -> Judge | None:
        """The judge of this name, for None the one without; None where there is none."""
        return self.judge if name is None else self.judges.get(name)

    def who_judges(self, name: str | None) -> dict[str, str]:
        """What a verdict's evidence says of its judge: `judge`, its name, where it has one, and `judge_model`, where a
        server answers; which version of the weights that serves is not told by servers."""
        config = self.config.judge if name is None else self.config.judges.get(name)
        named = {} if name is None else {"judge": name}
        return named if config is None else named | {"judge_model": config.model}


VerifyFunction = Callable[[CheckRequest, VerifierContext], Awaitable[Verdict]]


class JudgeUnavailable(RuntimeError):
    """Raised by a judge whose engine can't answer: the check could not be made."""
