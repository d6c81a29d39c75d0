"""What a verifier may use: the sandbox pool, the symbolic worker, a judge model, and the checker for its parts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from berry.verifiers.base import Verdict
from berry.verifiers.config import CheckerConfig
from berry.verifiers.specs.union import Spec, Strictness

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

if TYPE_CHECKING:
    from berry.sandboxes.pool import SandboxPool
    from berry.verifiers.maths.ladder import Decision
    from berry.verifiers.proofs.lean_repl import WarmRepls

Messages = Sequence[dict[str, str]]


class Judge(Protocol):
    """A generative model: `n` sampled answers to chat messages, reproducible in `seed`."""

    def __call__(self, messages: Messages, *, n: int, seed: int) -> Awaitable[list[str]]: ...


class SymbolicRung(Protocol):
    async def decide(self, gold: str, response: str, strict: Strictness) -> Decision: ...


class CheckRequest(Struct, frozen=True):
    """One response to check. `key`: what the queue is fair between; empty: the problem."""

    problem_id: str
    spec: Spec
    response: str
    prompt: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class VerifierContext:
    config: CheckerConfig
    pool: SandboxPool
    symbolic: SymbolicRung
    judge: Judge | None
    check: Callable[[CheckRequest], Awaitable[Verdict]]
    repls: WarmRepls


Verify = Callable[[CheckRequest, VerifierContext], Awaitable[Verdict]]


class JudgeUnavailable(RuntimeError):
    """Raised by a judge whose engine can't answer: the check could not be made."""
