"""Records what came of one try at a variant: a problem that passed its kind's check, or a refusal with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from berry.pipeline.records import Message, Problem


class Refusal(StrEnum):
    """Why there is no such variant. It is listed all the same, in OUT.refused.jsonl."""

    NOT_APPLICABLE = "not_applicable"  # this kind can't be made of this problem
    ORIGINAL_IN_EVALUATION = "original_in_evaluation"  # the original overlaps with an evaluation set
    PROMPT_TOO_LONG = "prompt_too_long"  # no room in the engine's context
    NO_DRAFT = "no_draft"  # the engine wrote no problem between the tags
    ANSWER_LEAKED = "answer_leaked"  # the new text states the answer, the original's does not
    ORIGINAL_UNDECIDED = "original_undecided"  # the engine's answers to the original give nothing to compare with
    ORIGINAL_UNSOLVED = "original_unsolved"  # most answers to the original are wrong: the engine can't set harder ones
    ANSWERS_DIFFER = "answers_differ"  # another answer is the most frequent
    DISTRIBUTION_DIFFERS = "distribution_differs"  # the same, but the distributions are too far apart
    NO_CONSENSUS = "no_consensus"  # too few answers agree
    PASS_RATE = "pass_rate"  # did not move the right way, or lies outside the wanted band
    NO_PROGRAM = "no_program"  # too few programs solve the original
    PROGRAMS_DISAGREE = "programs_disagree"  # on every set of new numbers
    IMPLAUSIBLE = "implausible"  # no set of new numbers gives an answer of the original's form
    OWN_ANSWER_FAILS = "own_answer_fails"  # the drawn problem's verifier does not pass its own answer
    UNVERIFIABLE = "unverifiable"  # a check could not be made
    DUPLICATE = "duplicate"
    NEAR_DUPLICATE = "near_duplicate"
    EVALUATION_OVERLAP = "evaluation_overlap"


@dataclass(frozen=True, slots=True)
class Attempt:
    """`variant` without a refusal is good so far; the merge may still find it a duplicate. `text` is the draft, for
    reading, also where no problem could be made of it; `check` what was measured."""

    original: str
    kind: str
    refusal: Refusal | None = None
    detail: str = ""
    variant: Problem | None = None
    text: str | None = None
    check: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def refused(self, reason: Refusal, detail: str = "") -> Attempt:
        """The same attempt, refused for a reason."""
        return replace(self, refusal=reason, detail=detail)

    def row(self) -> dict[str, Any]:
        """The attempt as JSON, the same in parts and in OUT.refused.jsonl."""
        return {
            "original": self.original,
            "kind": self.kind,
            "reason": None if self.refusal is None else str(self.refusal),
            "detail": self.detail,
            "text": self.text,
            "check": dict(self.check),
            "provenance": dict(self.provenance),
            "variant": None if self.variant is None else self.variant.model_dump(mode="json"),
        }

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> Attempt:
        """Reads what `row` wrote."""
        return cls(
            original=row["original"],
            kind=row["kind"],
            refusal=None if row["reason"] is None else Refusal(row["reason"]),
            detail=row["detail"],
            variant=None if row["variant"] is None else Problem.model_validate(row["variant"]),
            text=row["text"],
            check=row["check"],
            provenance=row["provenance"],
        )


def question(problem: Problem) -> str:
    """The text a variant changes: the last message of the user's."""
    return next((m["content"] for m in reversed(problem.messages) if m["role"] == "user"), "")


def with_question(problem: Problem, text: str) -> str | tuple[Message, ...]:
    """The problem's prompt with `text` in place of its question."""
    if isinstance(problem.prompt, str):
        return text
    messages = [dict(m) for m in problem.prompt]
    last = max(i for i, m in enumerate(messages) if m["role"] == "user")
    messages[last]["content"] = text
    return tuple(messages)
