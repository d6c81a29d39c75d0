"""One configuration class a pruning rule; `type` picks it. The rules themselves are in `pipeline/core/prune/`."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from berry.pipeline.config.base import Section


class VerdictRule(Section):
    """Keep what a verifier passed."""

    type: Literal["verdict"] = "verdict"


class FormatRule(Section):
    """Keep responses of a wanted form."""

    type: Literal["format"] = "format"
    must_match: tuple[str, ...] = ()
    """Regular expressions that all have to be found in the response."""
    must_not_match: tuple[str, ...] = ()
    """Regular expressions none of which may be found in it."""

    @field_validator("must_match", "must_not_match")
    @classmethod
    def _compile(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return patterns

    @model_validator(mode="after")
    def _not_empty(self) -> FormatRule:
        if not self.must_match and not self.must_not_match:
            raise ValueError("a format rule needs must_match or must_not_match")
        return self


class LengthRule(Section):
    """Keep responses of a wanted length, absolute or relative to the problem's correct ones."""

    type: Literal["length"] = "length"
    min_tokens: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    min_ratio: float | None = Field(default=None, gt=0)
    """Least length over the median length of the problem's correct responses."""
    max_ratio: float | None = Field(default=None, gt=0)
    """Greatest length over the median length of the problem's correct responses."""

    @model_validator(mode="after")
    def _some_limit(self) -> LengthRule:
        if self.min_tokens is self.max_tokens is self.min_ratio is self.max_ratio is None:
            raise ValueError("a length rule needs one of min_tokens, max_tokens, min_ratio, max_ratio")
        for low, high in (("min_tokens", "max_tokens"), ("min_ratio", "max_ratio")):
            least, most = getattr(self, low), getattr(self, high)
            if least is not None and most is not None and least > most:
                raise ValueError(f"{low} ({least}) is above {high} ({most})")
        return self


class OrmRule(Section):
    """Keep what the outcome reward model likes: above a threshold, or the best few of each problem."""

    type: Literal["orm"] = "orm"
    at_least: float | None = None
    top_k: int | None = Field(default=None, ge=1)
    unscored: Literal["drop", "keep"] = "drop"
    """Trajectories without a score."""

    @model_validator(mode="after")
    def _some_limit(self) -> OrmRule:
        if self.at_least is None and self.top_k is None:
            raise ValueError("an orm rule needs at_least or top_k")
        return self


class PrmRule(Section):
    """Keep trajectories whose steps the process reward model likes."""

    type: Literal["prm"] = "prm"
    at_least: float
    over: Literal["min", "last", "prod"] = "min"
    """The worst step's score, the last one's, or the product of all."""
    unscored: Literal["drop", "keep"] = "drop"
    """Trajectories without a score."""


class NearDuplicateRule(Section):
    """Keep one of each group of near-duplicates within a problem."""

    type: Literal["near_duplicate"] = "near_duplicate"
    threshold: float = Field(default=0.8, gt=0, le=1)
    """Jaccard similarity of the word shingles from which two responses are duplicates."""
    shingle_words: int = Field(default=3, ge=1)
    """Words a shingle."""
    prefer: Literal["first", "shortest", "orm"] = "first"
    """Which one of a group is kept."""
    permutations: int = Field(default=128, ge=16)
    """Of the MinHash that finds candidates; they are compared exactly afterwards."""


class ExactDuplicateRule(Section):
    """Keep one of responses that are equal up to white space, across problems: of a lease while the run goes on, since
    leases are committed apart; of the whole run, all rounds, in `berry reprune`."""

    type: Literal["exact_duplicate"] = "exact_duplicate"
    min_tokens: int = Field(default=64, ge=0)
    """Shorter responses are left alone: they can be equal by chance."""


class DiversityRule(Section):
    """Keep at most so many trajectories of each kind, and of each problem."""

    type: Literal["diversity"] = "diversity"
    per_cluster: int = Field(default=1, ge=1)
    """Trajectories of one cluster of similar responses."""
    threshold: float = Field(default=0.5, gt=0, le=1)
    """Jaccard similarity of word shingles that joins a cluster."""
    shingle_words: int = Field(default=2, ge=1)
    per_problem: int | None = Field(default=None, ge=1)
    """Trajectories of one problem; clusters take turns."""
    permutations: int = Field(default=128, ge=16)


class DifficultyRule(Section):
    """Keep problems whose pass rate is in a band."""

    type: Literal["difficulty"] = "difficulty"
    low: float = Field(default=0.0, ge=0, le=1)
    high: float = Field(default=1.0, ge=0, le=1)
    min_checked: int = Field(default=1, ge=1)
    """Problems with fewer verified trajectories are left alone."""

    @model_validator(mode="after")
    def _band(self) -> DifficultyRule:
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) is above high ({self.high})")
        return self


class ShortestRule(Section):
    """Keep the k shortest correct trajectories of each problem."""

    type: Literal["shortest"] = "shortest"
    k: int = Field(default=4, ge=1)


PruneRule = Annotated[
    VerdictRule
    | FormatRule
    | LengthRule
    | OrmRule
    | PrmRule
    | NearDuplicateRule
    | ExactDuplicateRule
    | DiversityRule
    | DifficultyRule
    | ShortestRule,
    Field(discriminator="type"),
]
