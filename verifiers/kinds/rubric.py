"""Asks a judge about each criterion of a rubric alone, k votes each, and weighs those that are met (`rubric`).

    criterion ─► k votes ─► met | missed | open (too little agreement) ─► weight met over all ─► PASS at `threshold`

Each criterion is put as `model` puts its one rubric: the response is quoted between marks drawn for this request, and
only a vote's own last line counts. What the open criteria could still change is UNVERIFIABLE.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from berry.verifiers.base import Outcome, Reason, Verdict, verdict
from berry.verifiers.context import CheckRequest
from berry.verifiers.kinds import model
from berry.verifiers.specs.answers import RubricSpec
from berry.verifiers.specs.union import ModelSpec

if TYPE_CHECKING:
    from berry.verifiers.context import VerifierContext


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:
    """Asks about all criteria at once; each is a question of its own to the judge."""
    spec = request.spec
    assert isinstance(spec, RubricSpec)
    asked = [
        CheckRequest(
            f"{request.problem_id}/{number}",
            ModelSpec(
                rubric=criterion.text,
                reference=spec.reference,
                votes=spec.votes,
                agreement=spec.agreement,
                judge=spec.judge,
            ),
            request.response,
            request.prompt,
            request.key,
        )
        for number, criterion in enumerate(spec.criteria)
    ]
    verdicts = await asyncio.gather(*(model.verify(one, context) for one in asked))
    if all(one.reason is verdicts[0].reason for one in verdicts) and verdicts[0].reason in (
        Reason.NO_ANSWER, Reason.ANSWER_TOO_LARGE, Reason.NO_JUDGE,
    ):  # fmt: skip
        return verdicts[0]
    weights = [criterion.weight for criterion in spec.criteria]
    total = sum(weights)
    met = sum(w for w, one in zip(weights, verdicts, strict=True) if one.outcome is Outcome.PASS)
    still_open = sum(w for w, one in zip(weights, verdicts, strict=True) if one.outcome is Outcome.UNVERIFIABLE)
    votes = [
        {
            "criterion": criterion.text[:80],
            "correct": one.evidence.get("correct"),
            "incorrect": one.evidence.get("incorrect"),
        }
        for criterion, one in zip(spec.criteria, verdicts, strict=True)
    ]
    evidence = {"met": met / total, "open": still_open / total, "votes": votes, **context.who_judges(spec.judge)}
    wanted = spec.threshold * total - 1e-9
    if met >= wanted:
        return verdict(Reason.CORRECT, **evidence)
    if met + still_open < wanted:
        return verdict(Reason.WRONG_ANSWER, **evidence)
    lost = any(one.reason is Reason.NO_JUDGE for one in verdicts)
    return verdict(Reason.NO_JUDGE if lost else Reason.NO_CONSENSUS, **evidence)


def fault(spec: RubricSpec) -> str | None:  # noqa: ARG001 - one signature for all kinds
    """Nothing can be wrong with it: a criterion is any text."""
    return None
