"""Where problems come from: a list of sources, read in order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from pipeline.config.base import Section


def _resolve(path: str, info: ValidationInfo) -> str:
    base = (info.context or {}).get("base")
    if base is None or "://" in path or Path(path).is_absolute():
        return path
    return str(Path(base) / path)


ConfigPath = Annotated[str, AfterValidator(_resolve)]
"""A path; a relative one is relative to the config file's folder."""


class FileProblems(Section):
    """A JSONL or Parquet file of problems (`id`, `prompt`, `verifier`)."""

    type: Literal["file"] = "file"
    path: ConfigPath
    limit: int | None = Field(default=None, ge=1)
    """Take the first so many."""


class ReasoningGymProblems(Section):
    """Freshly drawn tasks of one dataset of the package reasoning-gym."""

    type: Literal["reasoning_gym"] = "reasoning_gym"
    dataset: str
    count: int = Field(ge=1)
    seed: int = 0
    params: dict[str, Any] = Field(default_factory=dict)
    """Passed to the dataset's own configuration."""
    suffix: str = ""
    """Put after every question: how to answer."""


class ArithmeticProblems(Section):
    """Freshly drawn sums with running totals, what the tiny test model was trained on."""

    type: Literal["arithmetic"] = "arithmetic"
    count: int = Field(ge=1)
    seed: int = 0


class SyntheticProblems(Section):
    """Problems of the synthetic engine, whose true values are known. No model stands behind them."""

    type: Literal["synthetic"] = "synthetic"
    count: int = Field(ge=1)
    seed: int = 0


ProblemSource = Annotated[
    FileProblems | ReasoningGymProblems | ArithmeticProblems | SyntheticProblems, Field(discriminator="type")
]
