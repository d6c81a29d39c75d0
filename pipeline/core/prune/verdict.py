"""Keeps what a verifier passed.

A failed check drops as `wrong`, a response without an answer in the wanted form as `no_answer`, a check that could not
be made (or was not) as `unverifiable`: unknown is not wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from berry.pipeline.config.sections.rollout.pruning import RuleConfig
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.records import DropReason, Trajectory
from berry.verifiers.base import Outcome

_PASS, _UNCHECKED = Outcome.PASS, Outcome.UNVERIFIABLE
_UNVERIFIABLE, _WRONG = DropReason.UNVERIFIABLE, DropReason.WRONG


class VerdictRule(RuleConfig):
    """Keep what a verifier passed."""

    type: Literal["verdict"] = "verdict"


class ByVerdict:
    """Drops responses whose verdict is not wanted."""

    config: ClassVar = VerdictRule

    def __init__(self, config: VerdictRule) -> None:
        self.rule = config

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        """Drops each trajectory whose verdict, or lack of one, the rule names, with that as the reason."""
        return {t.trajectory_id: reason for t in alive if (reason := self._reason(t)) is not None}

    def _reason(self, trajectory: Trajectory) -> DropReason | None:
        verdict = trajectory.verdict
        if verdict is None or verdict.outcome is _UNCHECKED:
            return _UNVERIFIABLE
        if verdict.outcome is _PASS:
            return None
        return DropReason.NO_ANSWER if verdict.unanswered else _WRONG
