"""Problems that count: name a palindrome of at least n."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from berry.pipeline.config.sections.problems import ProblemsConfig
from berry.pipeline.records import Problem
from berry.pipeline.stages.problems.base import ProblemReader


class CountingProblems(ProblemsConfig):
    """Asks for palindromes, one problem after another."""

    type: Literal["counting"] = "counting"
    count: int = Field(default=8, ge=1)
    """Problems to make."""


class CountingReader(ProblemReader[CountingProblems]):
    """Makes the same problems in the same order, every time."""

    config = CountingProblems

    def problems(self) -> Iterator[Problem]:
        """Yields each problem with the verifier of this package."""
        for least in range(self.settings.count):
            spec = {"type": "palindrome", "least": least}
            raw = {"id": f"count-{least}", "prompt": f"Name a palindrome of at least {least}.", "verifier": spec}
            yield Problem.model_validate(raw)
