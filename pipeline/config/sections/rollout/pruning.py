"""Looks up which class configures each rule of `pruning`, by its `type`.

A rule stands in one file of `pipeline/core/prune/`, its configuration with it; installed packages bring more by the
entry point group `berry.pruning` (an entry point is a class like those, see `berry.pipeline.core.prune.base.Rule`).
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import SerializeAsAny

from berry.pipeline.config.reading.base import Section
from berry.pipeline.config.reading.by_type import ByType, Configured, explain_unusable
from berry.pipeline.extensions import Registry


def _check(name: str, rule: type[Configured]) -> str | None:
    return explain_unusable(name, rule, RuleConfig)


_PRUNE = "berry.pipeline.core.prune"
PRUNING_RULES: Registry[type[Configured]] = Registry(
    "berry.pruning",
    {
        "verdict": f"{_PRUNE}.verdict:ByVerdict",
        "format": f"{_PRUNE}.format:ByFormat",
        "length": f"{_PRUNE}.length:ByLength",
        "orm": f"{_PRUNE}.orm:ByOrm",
        "prm": f"{_PRUNE}.prm:ByPrm",
        "near_duplicate": f"{_PRUNE}.near_duplicate:NearDuplicates",
        "exact_duplicate": f"{_PRUNE}.exact_duplicate:ExactDuplicates",
        "diversity": f"{_PRUNE}.diversity:ByDiversity",
        "difficulty": f"{_PRUNE}.difficulty:ByDifficulty",
        "shortest": f"{_PRUNE}.shortest:ShortestCorrect",
    },
    _check,
)
"""Pruning rules by name: rule classes, whose `config` is the configuration's class."""


class RuleConfig(Section):
    """What configures a pruning rule; each has a `type` of its own, a Literal with a default."""

    by_type: ClassVar = PRUNING_RULES

    type: Any


PruneRule = Annotated[SerializeAsAny[RuleConfig], ByType(PRUNING_RULES)]


def default_rules() -> tuple[RuleConfig, ...]:
    """The rules where a configuration has none: keep what a verifier passed."""
    return (PRUNING_RULES.get("verdict").config(),)
