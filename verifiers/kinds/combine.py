"""Combines the verdicts of several verifiers into one: `all_of`, `any_of`, `weighted`.

A part that could not be checked makes the whole UNVERIFIABLE only where it could still change the outcome.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from berry.verifiers.base import Outcome, Verdict
from berry.verifiers.specs.union import AllOfSpec, AnyOfSpec, WeightedSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:
    """Checks the parts at the same time and combines their verdicts."""
    spec = request.spec
    if isinstance(spec, WeightedSpec):
        parts: Sequence[Any] = [part.verifier for part in spec.parts]
    else:
        assert isinstance(spec, AllOfSpec | AnyOfSpec)
        parts = spec.parts
    verdicts = await asyncio.gather(*(context.check(replace(request, spec=part)) for part in parts))
    if isinstance(spec, AllOfSpec):
        return all_of(verdicts)
    if isinstance(spec, AnyOfSpec):
        return any_of(verdicts)
    return weighted(verdicts, [part.weight for part in spec.parts], spec.threshold)


def fault(spec: AllOfSpec | AnyOfSpec | WeightedSpec) -> str | None:  # noqa: ARG001 - one signature for all kinds
    """Nothing can be wrong with the combination itself; `registry.fault` asks its parts."""
    return None


def all_of(verdicts: Sequence[Verdict]) -> Verdict:
    """FAIL if any part fails, else UNVERIFIABLE if any could not be checked, else PASS. ValueError for no part."""
    for outcome in (Outcome.FAIL, Outcome.UNVERIFIABLE, Outcome.PASS):
        if (first := _first(verdicts, outcome)) is not None:
            return _of(verdicts, first)
    raise ValueError("all_of needs at least one part")


def any_of(verdicts: Sequence[Verdict]) -> Verdict:
    """PASS if any part passes, else UNVERIFIABLE if any could not be checked, else FAIL. ValueError for no part."""
    for outcome in (Outcome.PASS, Outcome.UNVERIFIABLE, Outcome.FAIL):
        if (first := _first(verdicts, outcome)) is not None:
            return _of(verdicts, first)
    raise ValueError("any_of needs at least one part")


def weighted(verdicts: Sequence[Verdict], weights: Sequence[float], threshold: float) -> Verdict:
    """PASS when sum of passing weights / sum of weights >= threshold, whatever the unchecked parts would say."""
    pairs = list(zip(verdicts, weights, strict=True))
    total = sum(weights)
    passed = sum(w for v, w in pairs if v.outcome is Outcome.PASS) / total
    open_ = sum(w for v, w in pairs if v.outcome is Outcome.UNVERIFIABLE) / total
    evidence = {"score": passed, "unchecked": open_, "threshold": threshold}
    slack = 1e-12
    if passed + slack >= threshold:
        outcome = Outcome.PASS
    else:
        outcome = Outcome.UNVERIFIABLE if passed + open_ + slack >= threshold else Outcome.FAIL
    first = _first(verdicts, outcome)
    assert first is not None  # the outcome needs weight from such a part
    whole = _of(verdicts, first)
    return replace(whole, evidence={**whole.evidence, **evidence})


def _first(verdicts: Sequence[Verdict], outcome: Outcome) -> int | None:
    return next((i for i, v in enumerate(verdicts) if v.outcome is outcome), None)


def _of(verdicts: Sequence[Verdict], index: int) -> Verdict:
    """The verdict of part `index` for the whole, with every part's reason in the evidence."""
    part = verdicts[index]
    return replace(part, evidence={**part.evidence, "part": index, "parts": [str(v.reason) for v in verdicts]})
