"""Checks that the reward models that a run names are there, are of the kind that is asked, and are asked.

RunConfig ─► check_rewards ─► ValueError that names the key, what is there, and what to write
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from berry.pipeline.config.sections.rewards import Rewards
from berry.pipeline.config.sections.rollout.rollout import Rollout


def check_rewards(rewards: Rewards | None, rollout: Rollout) -> None:
    """Raises ValueError for the first thing that does not fit."""
    named = {} if rewards is None else rewards.models
    asked: set[str] = set()
    for place, what, name in _asked(rollout):
        if name not in named:
            there = ", ".join(named) or "there are none"
            near = difflib.get_close_matches(name, named, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"{place}.{what} {name!r} is none of rewards.models ({there}){meant}")
        if named[name].what != what:
            raise ValueError(
                f"{place}.{what} {name!r} is of the kind {named[name].what}: name it as `{named[name].what}`"
            )
        asked.add(name)
    idle = next((name for name in named if name not in asked), None)
    if idle is not None:
        what = named[idle].what
        raise ValueError(
            f"rewards.models.{idle} is asked by nothing: set rollout.{what}, or a mode's {what}, to {idle!r}, or leave "
            "it out"
        )
    for what in ("prm", "orm"):
        if rewards is not None and what in rewards.each and all(what in one.scorers for one in rollout.each_mode):
            raise ValueError(
                f"rewards.{what} is asked by nothing: all is scored by {what}s of other names; leave it out"
            )
    for one in rollout.each_mode:
        in_loop = (getattr(one.policy, "scorer", None), None if one.cut is None else one.cut.model)
        direct = next((name for name in in_loop if name in named), None)
        if direct is not None:
            raise ValueError(
                f"rollout: {direct!r} as the scorer of a policy or cut would mix two models in one column: leave that "
                f"at {named[direct].what}, and set `{named[direct].what}: {direct}` beside it"
            )


def _asked(rollout: Rollout) -> Iterator[tuple[str, str, str]]:
    """Where a reward model is named, what it is asked as, and the name: a mode's own goes before the run's."""
    for what in ("prm", "orm"):
        everywhere, own = getattr(rollout, what), [getattr(mode, what) for mode in rollout.modes]
        yield from ((f"rollout.modes.{n}", what, name) for n, name in enumerate(own) if name is not None)
        if everywhere is not None and not (own and all(own)):
            yield "rollout", what, everywhere
