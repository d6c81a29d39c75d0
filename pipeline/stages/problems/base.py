"""Defines what a problem source is: a class that reads or draws problems, configured by one entry of a run's
`problems`.

problems: [{type: arithmetic, count: 100}] ─► ArithmeticProblems (config) ─► ArithmeticReader ─► Problem, Problem, …
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from berry.pipeline.config.sections.problems import ProblemsConfig
from berry.pipeline.records import Problem

C = TypeVar("C", bound=ProblemsConfig)


@dataclass(slots=True)
class Passing:
    """How many of the next problems nobody wants: a reader counts them down, and whoever reads may set `count` again
    between two problems."""

    count: int = 0

    def takes(self) -> bool:
        """Whether the next problem is passed over; counts it."""
        if not self.count:
            return False
        self.count -= 1
        return True


class ProblemReader(ABC, Generic[C]):
    """Reads or draws the problems of one source.

    A subclass names the section that configures it as `config`. The same settings must give the same problems in the
    same order, every time: a run that is resumed reads them again.
    """

    config: ClassVar[type[Any]]

    def __init__(self, settings: C) -> None:
        self.settings = settings

    @abstractmethod
    def problems(self) -> Iterator[Problem]:
        """Every problem, in order, one at a time. Raises ProblemFileError that names what can't be used."""

    def not_passed(self, passing: Passing) -> Iterator[Problem]:
        """The problems that `passing` does not take, in order. A reader that can leave one out without making it does
        so: a run that is resumed passes over millions."""
        return (problem for problem in self.problems() if not passing.takes())

    def fingerprint(self) -> str | None:
        """What the problems are made of beside the settings: "" where that is nothing, else as a file's digest. None
        where only reading them says what they are: a run that is resumed then reads all of them first."""
        return None

    def redraw(self, seed: int, index: int) -> Problem | None:
        """The problem at place `index` (from 0) had the source another seed; None for a source that draws nothing."""
        del seed, index
        return None
