"""Defines what a problem source is: a class that reads or draws problems, configured by one entry of a run's
`problems`.

problems: [{type: arithmetic, count: 100}] ─► ArithmeticProblems (config) ─► ArithmeticReader ─► Problem, Problem, …
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Generic, TypeVar

from berry.pipeline.config.sections.problems import ProblemsConfig
from berry.pipeline.records import Problem

C = TypeVar("C", bound=ProblemsConfig)


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

    def redraw(self, seed: int, index: int) -> Problem | None:
        """The problem at place `index` (from 0) had the source another seed; None for a source that draws nothing."""
        del seed, index
        return None
