"""Configures what problems are held against, so that no training problem is an evaluation problem."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.sections.problems import ConfigPath


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
