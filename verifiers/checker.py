"""Checks responses: in a run, in `berry verify`, in a notebook. Plain asyncio, no Ray.

    async with Checker() as checker:
        verdict = await checker.check(CheckRequest("p1", MathSpec(answer="42"), "The answer is 42."))

A checker owns a sandbox pool and the warm symbolic workers. `check` answers with a verdict whatever the response,
the gold or the tests contain.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from dataclasses import asdict, dataclass
from typing import Any, cast

from msgspec.structs import replace

from berry.sandboxes.metrics import SLOT_USE, SlotUse
from berry.sandboxes.wire import Unsupported
from berry.verifiers.base import Outcome, Reason, Verdict, verdict
from berry.verifiers.config import CheckerConfig
from berry.verifiers.context import CheckRequest, Judge, VerifierContext
from berry.verifiers.inline import check_inline
from berry.verifiers.judges import chat_judges
from berry.verifiers.kinds.majority import ConsensusRequest, canonicalise, consensus
from berry.verifiers.proofs.lean_repl import WarmRepls
from berry.verifiers.registry import check_extensions, verifier_for
from berry.verifiers.symbolic import Symbolic

_log = logging.getLogger("berry.verifiers")

__all__ = ["CheckRequest", "Checker", "CheckerConfig"]


@dataclass(slots=True)
class KindUse:
    """What the checks of one kind took: seconds of slots, their squares, and of CPU in them. A check that needs no slot
    takes its own time: the CPU of its thread, that of the worker with SymPy where it asked one, and its waits for what
    else it asked (a proof assistant, a judge). Waits for a slot, for that worker or its start are no part of it, nor is
    what other checks do while it has its turn."""

    checks: int = 0
    held_s: float = 0.0
    held_s2: float = 0.0
    cpu_s: float = 0.0

    def add(self, held_s: float, cpu_s: float) -> None:
        self.checks += 1
        self.held_s += held_s
        self.held_s2 += held_s**2
        self.cpu_s += cpu_s


class ThreadTime:
    """Awaits a check, and adds to `use` the CPU seconds of this thread in its steps, and the seconds between them."""

    def __init__(self, work: Awaitable[Verdict], use: SlotUse) -> None:
        self._work, self._use = work, use

    def __await__(self) -> Generator[Any, Any, Verdict]:
        work = cast("Generator[Any, Any, Verdict]", self._work.__await__())
        step: Callable[[Any], Any] = work.send
        given: Any = None
        while True:
            began = time.thread_time()
            try:
                awaited = step(given)
            except StopIteration as end:
                return end.value
            finally:
                self._use.own_s += time.thread_time() - began
            left = time.monotonic()
            try:
                given, step = (yield awaited), work.send
            except BaseException as error:  # noqa: BLE001 - a cancellation too is the check's to handle
                given, step = error, work.throw
            self._use.waited_s += time.monotonic() - left


class Checker:
    """Checks responses with sandboxes and workers of its own.

    Concurrency-safe within one event loop. `start` before the first check, `close` after the last. Raises
    berry.verifiers.registry.ExtensionError where two packages register one kind of verifier.
    """

    def __init__(self, config: CheckerConfig | None = None, *, judge: Judge | None = None) -> None:
        from berry.verifiers.sandbox_limits import make_pool

        check_extensions()
        self.config = config = config or CheckerConfig()
        self.pool = make_pool(config)
        self.symbolic = Symbolic(config)
        self._repls = WarmRepls()
        if judge is not None:
            config = config.model_copy(update={"judge": None})  # which answers in no verdict then
        self._chats = chat_judges(config)
        judges = {name: chat for name, chat in self._chats.items() if name is not None}
        judge = judge or self._chats.get(None)
        self._context = VerifierContext(config, self.pool, self.symbolic, judge, self.check, self._repls, judges)
        self._outcomes: Counter[str] = Counter()
        self._kinds: dict[str, KindUse] = {}
        self._in_service = 0
        self._busy_s = 0.0

    async def start(self) -> None:
        """Start the sandboxes. Raises berry.sandboxes.base.SandboxError where this host can't confine programs."""
        await self.pool.start()

    async def close(self) -> None:
        """End the sandboxes and workers, whatever they are doing."""
        for chat in self._chats.values():
            await chat.close()
        await self._repls.close()
        await self.symbolic.close()
        await self.pool.close()

    async def __aenter__(self) -> Checker:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def check(self, request: CheckRequest) -> Verdict:
        """The verdict on one response; `verify_ms` is the wall time that it took here, waiting included."""
        start = time.perf_counter()
        self._in_service += 1
        use = SlotUse()
        outer = SLOT_USE.get()  # of the check that this one is a part of, whose time it is
        mark = SLOT_USE.set(use) if outer is None else None
        try:
            work = verifier_for(request.spec)(request, self._context)
            result = await (ThreadTime(work, use) if outer is None else work)
        except Unsupported as fault:
            result = verdict(Reason.TESTS_BROKEN, note=f"the problem holds what can't go into a sandbox: {fault}")
        except Exception as error:  # noqa: BLE001 - one odd value must not end a run's verification
            result = _reported(error, request.problem_id, getattr(request.spec, "type", "?"))
        finally:
            self._in_service -= 1
            if mark is not None:
                SLOT_USE.reset(mark)
        if self.config.weak_verdicts == "unverifiable" and result.evidence.get("weak") is True:
            result = _not_counted(result)
        spent = time.perf_counter() - start
        self._busy_s += spent
        self._outcomes[f"outcome_{result.outcome}"] += 1
        self._outcomes[f"reason_{result.reason}"] += 1
        if outer is None:
            alone_s = use.own_s + max(0.0, use.waited_s)
            held_s, cpu_s = (use.service_s, use.cpu_s) if use.jobs else (alone_s, alone_s)
            self._kinds.setdefault(getattr(request.spec, "type", "?"), KindUse()).add(held_s, cpu_s)
        return replace(result, verify_ms=spent * 1e3)

    def check_inline(self, request: CheckRequest) -> Verdict | None:
        """A verdict without waiting; None where that takes a sandbox or a worker, and `check` has to be asked."""
        result = check_inline(request, self.config.strictness)
        if result is not None:
            self._busy_s += result.verify_ms / 1e3
            self._outcomes[f"outcome_{result.outcome}"] += 1
            self._outcomes[f"reason_{result.reason}"] += 1
        return result

    async def agree(self, request: ConsensusRequest) -> dict[str, Verdict]:
        """`majority`: a verdict for each of a problem's responses, from all of them together."""
        try:
            answers = await canonicalise(request.responses, request.spec, self.symbolic, self.config.strictness)
            return consensus(answers, request.weights, request.spec, request.chains)
        except Exception as error:  # noqa: BLE001 - as in `check`
            return dict.fromkeys(request.responses, _reported(error, request.problem_id, "majority"))

    def metrics(self) -> dict[str, float]:
        """Gauges `in_service`, `queued`, …; counters `outcome_*`, `reason_*`, `symbolic_*`; `check_s` in seconds;
        `pool_*` as in berry.sandboxes.metrics, `pool_service:K` for `service_counts[K]`; `kind:TYPE:*` as in KindUse,
        for each type of verifier."""
        pool = self.pool.metrics()
        return {
            "in_service": float(self._in_service),
            "check_s": self._busy_s,
            **{name: float(count) for name, count in self._outcomes.items()},
            **self.symbolic.metrics(),
            **{f"pool_{k}": float(v) for k, v in pool.items() if isinstance(v, int | float)},
            **{f"pool_service:{k}": float(n) for k, n in pool["service_counts"].items()},
            **{f"kind:{kind}:{name}": float(n) for kind, use in self._kinds.items() for name, n in asdict(use).items()},
        }


def _reported(error: Exception, problem_id: str, kind: str) -> Verdict:
    """Logs an error that no verifier should raise; the verdict says that nothing was checked."""
    _log.error("%s verifier failed on problem %s", kind, ascii(problem_id)[:300], exc_info=error)
    return verdict(Reason.CHECK_ERROR, note=f"{type(error).__name__}: {str(error)[:300]}")


def _not_counted(weak: Verdict) -> Verdict:
    """A verdict that the response may have forged, as one that says nothing; what it said is in the evidence."""
    if weak.outcome is Outcome.UNVERIFIABLE:
        return weak
    note = 'the tests share the program\'s process: set verification.weak_verdicts to "count" to use such verdicts'
    said = {"would_be": str(weak.reason), "note": weak.evidence.get("note", note)}
    return Verdict(Outcome.UNVERIFIABLE, Reason.WEAK_CHECK, weak.answer, {**weak.evidence, **said}, weak.verify_ms)
