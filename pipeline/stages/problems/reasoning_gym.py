"""reasoning_gym: written by the move."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterator
from typing import Any

from berry.pipeline.config.problems import (
    ReasoningGymProblems,
)
from berry.pipeline.errors import ProblemFileError
from berry.pipeline.records import Problem
from berry.pipeline.stages.problems.files import parse_problem


def reasoning_gym_problems(source: ReasoningGymProblems) -> Iterator[Problem]:
    """Tasks drawn afresh. One whose answer is a number is checked as mathematics, any other by the dataset's own
    scorer. Raises ProblemFileError for a dataset or parameter that reasoning-gym does not have."""
    dataset = reasoning_gym_dataset(source)
    for index in range(source.count):
        yield reasoning_gym_problem(source, dataset, index)


def reasoning_gym_dataset(source: ReasoningGymProblems) -> Any:
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


def reasoning_gym_problem(source: ReasoningGymProblems, dataset: Any, index: int) -> Problem:
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
