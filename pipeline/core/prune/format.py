"""Keeps responses of a wanted form: every `must_match` is found, no `must_not_match` is. Drops as `format`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import field_validator, model_validator

from berry.pipeline.config.sections.rollout.pruning import RuleConfig
from berry.pipeline.core.prune.base import Pool
from berry.pipeline.records import DropReason, Trajectory


class FormatRule(RuleConfig):
    """Keep responses of a wanted form."""

    type: Literal["format"] = "format"
    must_match: tuple[str, ...] = ()
    """Regular expressions that all have to be found in the response."""
    must_not_match: tuple[str, ...] = ()
    """Regular expressions none of which may be found in it."""

    @field_validator("must_match", "must_not_match")
    @classmethod
    def _compile(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
        return patterns

    @model_validator(mode="after")
    def _not_empty(self) -> FormatRule:
        if not self.must_match and not self.must_not_match:
            raise ValueError("a format rule needs must_match or must_not_match")
        return self


class ByFormat:
    """Drops responses that lack the wanted form."""

    config: ClassVar = FormatRule

    def __init__(self, config: FormatRule) -> None:
        self.wanted = [re.compile(pattern) for pattern in config.must_match]
        self.unwanted = [re.compile(pattern) for pattern in config.must_not_match]

    def drops(self, alive: Sequence[Trajectory], pool: Pool) -> Mapping[str, DropReason]:
        """Drops each response that lacks a pattern it must match, or matches one it must not."""
        return {t.trajectory_id: DropReason.FORMAT for t in alive if not self._fits(t.response)}

    def _fits(self, response: str) -> bool:
        wanted = all(pattern.search(response) for pattern in self.wanted)
        return wanted and not any(pattern.search(response) for pattern in self.unwanted)
