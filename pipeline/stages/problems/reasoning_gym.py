"""Draws problems from the datasets of the package reasoning-gym."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from berry.pipeline.config.sections.problems import (
    ReasoningGymProblems,
)
from berry.pipeline.errors import ProblemFileError
from berry.pipeline.records import Problem
from berry.pipeline.stages.problems.base import Passing, ProblemReader
from berry.pipeline.stages.problems.files import parse_problem


class ReasoningGymReader(ProblemReader[ReasoningGymProblems]):
    """Draws tasks afresh. One whose answer is a number is checked as mathematics, any other by the dataset's own
    scorer. Raises ProblemFileError for a dataset or parameter that reasoning-gym does not have."""

    config = ReasoningGymProblems

    def problems(self) -> Iterator[Problem]:
        return self.not_passed(Passing())

    def not_passed(self, passing: Passing) -> Iterator[Problem]:
        dataset = _dataset(self.settings)
        for index in range(self.settings.count):
            if not passing.takes():
                yield _problem(self.settings, dataset, index)

    def fingerprint(self) -> str:
        return ""

    def redraw(self, seed: int, index: int) -> Problem:
        other = self.settings.model_copy(update={"seed": seed})
        return _problem(other, _cached_dataset(other.model_dump_json()), index)


@lru_cache(maxsize=64)
def _cached_dataset(settings: str) -> Any:
    return _dataset(ReasoningGymProblems.model_validate_json(settings))


def _dataset(source: ReasoningGymProblems) -> Any:
    """The package's own dataset object, from which any task can be drawn by its index."""
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if source.dataset not in DATASETS:
        near = difflib.get_close_matches(source.dataset, DATASETS, n=3)
        raise ProblemFileError(
            f"problems: reasoning-gym has no dataset {source.dataset!r}; near it: {', '.join(near) or 'none'}"
        )
    try:
        return reasoning_gym.create_dataset(source.dataset, seed=source.seed, size=source.count, **source.params)
    except (AssertionError, TypeError, ValueError) as error:
        raise ProblemFileError(f"problems: reasoning-gym's {source.dataset} refuses its params: {error}") from error


def _problem(source: ReasoningGymProblems, dataset: Any, index: int) -> Problem:
    entry = dataset[index]
    answer = str(entry["answer"])
    spec: dict[str, Any] = {"type": "math", "answer": answer}
    if not _is_number(answer):
        spec = {"type": "reasoning_gym", "dataset": source.dataset, "entry": _jsonable(entry)}
    return parse_problem(
        {
            "id": f"{source.dataset}-{source.seed}-{index}",
            "prompt": entry["question"] + source.suffix,
            "verifier": spec,
            "source": f"reasoning-gym/{source.dataset}",
        },
        f"reasoning-gym {source.dataset}, task {index}",
    )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _jsonable(entry: object) -> Any:
    return json.loads(json.dumps(entry, default=str))
