"""Configures what `berry variants` makes from a run's problems. A run ignores it: `berry run` reads the output as a
file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.sections.problems import EvaluationSets


class _Wanted(Section):
    count: int = Field(default=1, ge=1)
    """Variants wanted of each problem."""


class _Written(_Wanted):
    attempts: int = Field(default=2, ge=1)
    """Rounds of drafts: what a round lacks is written again in the next."""


class Rephrase(_Written):
    """The same problem in other words. Kept where the engine answers it as it answers the original."""

    type: Literal["rephrase"] = "rephrase"
    max_distance: float = Field(default=0.3, ge=0, lt=1)
    """Largest total variation between the two distributions of answers, in [0, 1]. `samples` answers from one and the
    same distribution differ by chance alone: the check's `noise` says by how much."""
    min_majority: float = Field(default=0.3, ge=0, le=1)
    """Smallest share of the original's most frequent answer; below it there is nothing to compare with."""


class Numbers(_Written):
    """The same word problem with other numbers. The answer comes from programs that solve the original."""

    type: Literal["numbers"] = "numbers"
    programs: int = Field(default=6, ge=2)
    """Programs the engine writes for the original, each on its own, in a round."""
    min_programs: int = Field(default=2, ge=2)
    """Programs that must solve the original and agree on the new numbers."""
    agreement: float = Field(default=0.75, gt=0.5, le=1)
    """Share of the programs that solve the original which must agree on the new numbers."""
    change: tuple[float, float] = (0.5, 2.0)
    """Range of the factor by which a number changes."""
    draws: int = Field(default=32, ge=1, le=1000)
    """Sets of new numbers tried before giving up on a plausible one."""

    @model_validator(mode="after")
    def _possible(self) -> Numbers:
        low, high = self.change
        if not 0 < low < high:
            raise ValueError(f"change must be [low, high] with 0 < low < high, got {[low, high]}")
        if self.min_programs > self.programs:
            raise ValueError(f"min_programs ({self.min_programs}) is above programs ({self.programs})")
        return self


class Reseed(_Wanted):
    """Problems of a procedural source (arithmetic, synthetic, reasoning_gym) drawn with other seeds."""

    type: Literal["reseed"] = "reseed"
    pass_rate: tuple[float, float] | None = None
    """Keep those whose pass rate on the engine, over those of `samples` replies that give an answer, lies in
    [low, high]. null: not measured, and no engine is needed."""

    @model_validator(mode="after")
    def _band(self) -> Reseed:
        if self.pass_rate is not None:
            low, high = self.pass_rate
            if not 0 <= low <= high <= 1:
                raise ValueError(f"pass_rate must be [low, high] with 0 <= low <= high <= 1, got {[low, high]}")
        return self


class _Shifted(_Written):
    agreement: float = Field(default=0.5, gt=0, le=1)
    """Smallest share of the variant's most frequent answer over all samples."""
    margin: float = Field(default=0.15, ge=0, lt=1)
    """By how much the measured pass rate must move. With 16 samples a difference of two equal rates has a standard
    deviation of up to 0.18 by chance."""
    gold: Literal["majority", "pseudo_label"] = "majority"
    """How the variant is checked in a run: `majority` votes afresh; `pseudo_label` takes the agreed answer as gold."""


class Harder(_Shifted):
    """A harder problem of the same kind: the engine agrees on an answer less often than on the original."""

    type: Literal["harder"] = "harder"


class Easier(_Shifted):
    """An easier problem of the same kind: the engine agrees on an answer more often than it solves the original."""

    type: Literal["easier"] = "easier"


VariantKind = Annotated[Rephrase | Numbers | Reseed | Harder | Easier, Field(discriminator="type")]


class Writing(Section):
    """How the engine writes drafts and programs; answers are sampled as `rollout.sampling` says."""

    temperature: float = Field(default=1.0, gt=0)
    """Temperature of the softmax."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Least probability mass of the likeliest tokens that are drawn from."""
    max_tokens: int = Field(default=512, ge=1)
    """Longest text."""


class Duplicates(Section):
    """Near-duplicates among originals and variants: equal numbers, and similar words (MinHash over word shingles)."""

    threshold: float = Field(default=0.8, gt=0, le=1)
    """Jaccard similarity from which two texts are near-duplicates."""
    shingle_words: int = Field(default=3, ge=1)
    """Words a shingle."""
    permutations: int = Field(default=128, ge=16)
    """Of the MinHash that finds candidates; they are compared exactly afterwards."""


class Screen(EvaluationSets):
    """Evaluation sets that no variant may come near."""

    drop_originals: bool = False
    """Refuse originals that overlap too. They never get variants; without this they stay and are counted."""


class Variants(Section):
    """What `berry variants` makes from the problems."""

    kinds: tuple[VariantKind, ...] = Field(min_length=1)
    """What to make of each problem; kinds that do not apply to one are listed among the refused."""
    seed: int = Field(default=0, ge=0, lt=2**31)
    """Everything that is drawn at random follows from it."""
    limit: int | None = Field(default=None, ge=1)
    """Make variants of the first so many problems; the others go through as they are."""
    samples: int = Field(default=16, ge=4, le=1024)
    """Answers drawn from the engine for each text that is compared."""
    problems_in_flight: int | None = Field(default=None, ge=1)
    """Problems worked on at once; null: enough to keep the engine full."""
    writing: Writing = Writing()
    """How the model writes new texts."""
    duplicates: Duplicates = Duplicates()
    """When two texts count as one problem."""
    screen: Screen = Screen()
    """What texts are held against, so that no variant is a test problem."""
