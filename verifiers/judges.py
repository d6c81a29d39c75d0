"""Says which judge answers a verifier that asks one: the one without a name, or one of `verification.judges`.

spec.judge ─► None: verification.judge      NAME: verification.judges.NAME      a name that is not there ─► refused
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from berry.verifiers.config import CheckerConfig
from berry.verifiers.specs.answers import JudgedSpec
from berry.verifiers.specs.base import Spec
from berry.verifiers.specs.union import components

if TYPE_CHECKING:
    from berry.verifiers.chat_judge import ChatJudge


def chat_judges(config: CheckerConfig) -> dict[str | None, ChatJudge]:
    """The configured judges by name, None for the one without; each with connections and limits of its own."""
    if config.judge is None and not config.judges:
        return {}
    from berry.verifiers.chat_judge import ChatJudge

    named: dict[str | None, ChatJudge] = {
        name: ChatJudge(judge, place=f"judges.{name}") for name, judge in config.judges.items()
    }
    return named if config.judge is None else {None: ChatJudge(config.judge), **named}


def unknown_judge(spec: Spec, config: CheckerConfig) -> str | None:
    """Why a judge that `spec`, or a part of it, names can't be asked; None where all are there."""
    if isinstance(spec, JudgedSpec) and spec.judge is not None and spec.judge not in config.judges:
        there = ", ".join(config.judges)
        near = difflib.get_close_matches(spec.judge, config.judges, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        return (
            f"its verifier names the judge {spec.judge!r}, which is none of verification.judges "
            f"({there or 'there are none'}){meant}"
        )
    return next((why for part in components(spec) if (why := unknown_judge(part, config)) is not None), None)
