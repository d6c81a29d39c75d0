"""Stands for the environment of a run, which says itself how an episode ended (`environment`).

Only responses that no environment has ended come here: they are unverifiable.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.specs.union import EnvironmentSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:  # noqa: ARG001 - one signature for all
    """Says that nothing was checked."""
    return verdict(Reason.NOT_CHECKED, note="no environment ended this episode")


def fault(spec: EnvironmentSpec) -> str | None:  # noqa: ARG001
    """None: whether the run has an environment is the run's to say."""
    return None
