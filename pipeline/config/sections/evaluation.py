"""Configures `berry eval CONFIG`: benchmarks, samples of each problem, searches at budgets of their own."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.sections.problems import ConfigPath


class BenchmarkFile(Section):
    """A benchmark: a problem file, or a data set's own file. One whose name or `dataset` is a standard benchmark
    (gsm8k, math500, aime24, aime25, humaneval, mbpp, livecodebench) is asked and judged as the field does."""

    path: ConfigPath
    """Path of the file, relative to the configuration's folder."""
    dataset: str | None = None
    """Data set that the file is of: a standard benchmark, or any that `berry import` reads. None: a problem file, or
    what the benchmark's own name says."""
    limit: int | None = Field(default=None, ge=1)
    """Take the first so many problems."""
    suffix: str | None = None
    """Put after every question: how to answer. None: as the field asks where it is a standard benchmark, else
    nothing."""


class SearchBudget(Section):
    """One search at one budget: a point beside the curves."""

    name: str = Field(min_length=1)
    """What it is called in tables and pictures, for example `beam`."""
    budget: int = Field(ge=1)
    """What the budget is called on the axis of samples: about how many trajectories' worth of tokens it takes."""
    rollout: dict[str, Any]
    """Keys of `rollout` that differ from the run's: the policy, its width, budget.max_tokens."""


class Evaluation(Section):
    """What `berry eval` makes and measures."""

    name: str = Field(default="eval", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Folder of the results below `evals`."""
    run: dict[str, Any]
    """Keys of a run's configuration: the engine, sampling, rewards, cluster. Problems come from `benchmarks`."""
    benchmarks: dict[str, BenchmarkFile] = Field(default_factory=dict)
    """By the name under which they are shown. None: the problems of `run`."""
    samples: int = Field(default=64, ge=1)
    """Independent chains of each problem."""
    budgets: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Samples at which methods are compared. Empty: the powers of two up to `samples`."""
    searches: tuple[SearchBudget, ...] = ()
    """Searches at budgets of their own, each made afresh."""

    @field_validator("benchmarks")
    @classmethod
    def _names_stand_in_tables(cls, benchmarks: dict[str, BenchmarkFile]) -> dict[str, BenchmarkFile]:
        for name in benchmarks:
            if not name or "/" in name or "\n" in name:
                raise ValueError(f"benchmark {name!r}: names can't be empty or hold a slash or a line break")
        return benchmarks

    @model_validator(mode="after")
    def _samples_fill_the_budgets(self) -> Evaluation:
        beyond = [n for n in self.budgets if n > self.samples]
        if beyond:
            raise ValueError(f"budgets: {beyond[0]} is more than samples {self.samples}: raise samples, or drop it")
        named = [(search.name, search.budget) for search in self.searches]
        twice = sorted({pair for pair in named if named.count(pair) > 1})
        if twice:
            raise ValueError(f"searches: {twice[0][0]} at budget {twice[0][1]} stands twice: give each its own")
        return self

    @property
    def all_budgets(self) -> tuple[int, ...]:
        """All budgets that methods are measured at, in rising order."""
        return tuple(sorted(set(self.budgets))) or powers_of_two(self.samples)


def powers_of_two(most: int) -> tuple[int, ...]:
    """1, 2, 4 … up to `most`."""
    return tuple(1 << i for i in range(most.bit_length()) if 1 << i <= most)
