"""Configures where problems come from, and the evaluation sets that none of them may come near.

Sources are read in order; the class of each is looked up by its `type`.

A source stands in one file of `pipeline/stages/problems/`; installed packages bring more by the entry point group
`berry.problems` (an entry point is a subclass of `berry.pipeline.stages.problems.base.ProblemReader`).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, SerializeAsAny, ValidationInfo, model_validator

from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.reading.by_type import ByType, Configured, explain_unusable
from berry.pipeline.extensions import Registry


def _resolve(path: str, info: ValidationInfo) -> str:
    base = (info.context or {}).get("base")
    if base is None or "://" in path or Path(path).is_absolute():
        return path
    return str(Path(base) / path)


ConfigPath = Annotated[str, AfterValidator(_resolve)]
"""A path; a relative one is relative to the config file's folder."""


def _check(name: str, reader: type[Configured]) -> str | None:
    return explain_unusable(name, reader, ProblemsConfig)


_PROBLEMS = "berry.pipeline.stages.problems"
PROBLEM_SOURCES: Registry[type[Configured]] = Registry(
    "berry.problems",
    {
        "file": f"{_PROBLEMS}.files:FileReader",
        "reasoning_gym": f"{_PROBLEMS}.reasoning_gym:ReasoningGymReader",
        "arithmetic": f"{_PROBLEMS}.arithmetic:ArithmeticReader",
        "synthetic": f"{_PROBLEMS}.synthetic:SyntheticReader",
    },
    _check,
)
"""Problem sources by name: reader classes, whose `config` is the configuration's class."""


class ProblemsConfig(Section):
    """What configures a source of problems; each has a `type` of its own, a Literal with a default."""

    by_type: ClassVar = PROBLEM_SOURCES

    type: Any
    template_args: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the chat template for the problems of this source; they go before `engine.template_args`."""


class FileProblems(ProblemsConfig):
    """A JSONL or Parquet file of problems (`id`, `prompt`, `verifier`)."""

    type: Literal["file"] = "file"
    path: ConfigPath
    """Path or URL of the file; JSON lines unless it ends in `.parquet`. Relative to the configuration's folder."""
    limit: int | None = Field(default=None, ge=1)
    """Take the first so many."""
    suffix: str = ""
    """Put after every question: how to answer."""


class ReasoningGymProblems(ProblemsConfig):
    """Freshly drawn tasks of one dataset of the package reasoning-gym."""

    type: Literal["reasoning_gym"] = "reasoning_gym"
    dataset: str
    """Name of the generator in the package reasoning_gym."""
    count: int = Field(ge=1)
    """Problems to make."""
    seed: int = 0
    """What they are drawn from: the same seed gives the same problems."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Passed to the dataset's own configuration."""
    suffix: str = ""
    """Put after every question: how to answer."""


class ArithmeticProblems(ProblemsConfig):
    """Freshly drawn sums with running totals, what the tiny test model was trained on."""

    type: Literal["arithmetic"] = "arithmetic"
    count: int = Field(ge=1)
    """Problems to make."""
    seed: int = 0
    """What they are drawn from: the same seed gives the same problems."""
    operands: tuple[int, int] = (3, 4)
    """Fewest and most numbers in a sum: the more, the more steps its solution has."""

    @model_validator(mode="after")
    def _operands_are_a_range(self) -> ArithmeticProblems:
        if not 1 <= self.operands[0] <= self.operands[1]:
            raise ValueError(f"operands must be [fewest, most] with 1 <= fewest <= most, got {list(self.operands)}")
        return self


class SyntheticCheck(Section):
    """A program that checks an answer and takes a set time over it, in a real sandbox: the load of a code verifier
    without its tests. CPU times are drawn from a lognormal, the same for the same response."""

    cpu_ms: float = Field(gt=0, le=60_000)
    """Mean CPU time of a check."""
    p99_ms: float | None = Field(default=None, gt=0)
    """CPU time that 1% of the checks exceed; None: all take cpu_ms."""
    wait_ms: float = Field(default=0, ge=0, le=60_000)
    """Time in which a check holds its slot and computes nothing, as one that waits for a disk or a service."""
    wait_max_ms: float | None = Field(default=None, gt=0, le=60_000)
    """Longest wait: waits are then drawn between wait_ms and this, most of them short, with a heavy tail (a bounded
    Pareto of exponent 1: of mean wait_ms × ln(longest/shortest) for a long range). None: all wait wait_ms."""

    @model_validator(mode="after")
    def _has_a_lognormal(self) -> SyntheticCheck:
        if self.p99_ms is not None and not self.cpu_ms <= self.p99_ms <= 14.9 * self.cpu_ms:
            raise ValueError(
                f"p99_ms {self.p99_ms:g} must lie between cpu_ms {self.cpu_ms:g} and 14.9 times it: no lognormal has "
                f"another tail"
            )
        if self.wait_max_ms is not None and not 0 < self.wait_ms < self.wait_max_ms:
            raise ValueError(f"wait_max_ms {self.wait_max_ms:g} needs a wait_ms above 0 and below it")
        return self

    @property
    def mean_wait_ms(self) -> float:
        """Mean wait of a check in ms: from `wait_ms` to `wait_max_ms`, with a density that falls as 1/x²."""
        if self.wait_max_ms is None:
            return self.wait_ms
        return self.wait_ms * math.log(self.wait_max_ms / self.wait_ms) / (1 - self.wait_ms / self.wait_max_ms)

    def wait_quantile_ms(self, share: float) -> float:
        """The wait that a share of 1 - `share` of the checks exceeds."""
        low, high = self.wait_ms, self.wait_max_ms
        return low if high is None else low / (1 - share * (1 - low / high))


class SyntheticProblems(ProblemsConfig):
    """Problems of the synthetic engine, whose true values are known. No model stands behind them."""

    type: Literal["synthetic"] = "synthetic"
    count: int = Field(ge=1)
    """Problems to make."""
    seed: int = 0
    """What they are drawn from: the same seed gives the same problems."""
    steps: tuple[int, int] = (4, 8)
    """Range of the operations a problem."""
    start: tuple[int, int] = (4000, 6000)
    """Range of the number that a problem starts with."""
    largest: int = Field(default=50, ge=1, le=999)
    """Largest number that is added or subtracted."""
    check: SyntheticCheck | None = None
    """How answers are checked: by a program that takes this long in a sandbox; None: as mathematics."""

    @model_validator(mode="after")
    def _totals_stay_positive(self) -> SyntheticProblems:
        if not 1 <= self.steps[0] <= self.steps[1] <= 60:
            raise ValueError(f"steps must be a range within 1 … 60, got {list(self.steps)}")
        reach = self.steps[1] * self.largest + 3 * self.steps[1]
        if not reach <= self.start[0] <= self.start[1] <= 9999 - reach:
            raise ValueError(
                f"start {list(self.start)} must be a range within {reach} … {9999 - reach}, so that {self.steps[1]} "
                f"numbers up to {self.largest}, and errors, stay within 0 … 9999"
            )
        return self


ProblemSource = Annotated[SerializeAsAny[ProblemsConfig], ByType(PROBLEM_SOURCES)]


class EvaluationSets(Section):
    """Evaluation sets, and from when on a text comes too near to one of their items."""

    files: tuple[ConfigPath, ...] = ()
    """JSONL, JSON, .jsonl.gz or Parquet; relative to the config's folder."""
    fields: tuple[str, ...] = Field(default=("prompt", "question", "problem", "text"), min_length=1)
    """Where a row's text is: the first of these that it has."""
    ngram: int = Field(default=8, ge=1)
    """Words and signs a piece; a shorter text is one piece."""
    overlap: float = Field(default=0.5, gt=0, le=1)
    """Shared pieces, as a share of the shorter text's, from which two texts overlap."""


class Screening(EvaluationSets):
    """Evaluation sets that a run's problems are held against before it begins; without files nothing is screened."""

    overlapping: Literal["leave_out", "tell"] = "leave_out"
    """What becomes of problems that overlap: `leave_out` takes them out of the run, `tell` only lists them in
    `versions.json`."""
