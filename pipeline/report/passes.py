"""Counts what each round read forward for what it learned from: the forward-to-backward ratio.

metrics/round-N.json, round=N/learned.json ─► PassLine
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from berry.pipeline.storage.run.directory import RunDir


@dataclass(frozen=True, slots=True)
class PassLine:
    """Tokens that models computed in a round and in the training behind it, a prefix that was shared counted once; null
    where it is not known.

    `engines`: prompts that no cache held and what was generated, for rollouts, judges and rechecks. `reward_models`:
    read while the trees grew. `references`: read in training by weights that are not trained. `trained`: read forward
    and backward, all epochs, the generator and reward models together. `forward_a_backward`: the first three and
    `trained`, over `trained`: 1 in pre-training. Null too where an earlier driver or another site
    made a part of the round, whose counts are gone.
    """

    round_index: int
    engines: int | None
    reward_models: int | None
    references: int | None
    trained: int | None
    forward_a_backward: float | None


def pass_lines(run: RunDir) -> list[PassLine]:
    """Reads a line for each round that was trained on, the first round first."""
    lines = []
    for index in run.rounds():
        learned = run.location.get(f"round={index}/learned.json")
        passes = None if learned is None else json.loads(learned).get("passes")
        if passes:
            lines.append(_line(index, run.metrics(f"round-{index}") or {}, passes))
    return lines


def _line(index: int, figures: dict[str, Any], passes: dict[str, dict[str, int]]) -> PassLine:
    forward: dict[str, int] = dict(figures.get("forward_tokens") or {})
    if not forward or figures.get("other_problems") != 0:
        forward = {}
    engines = forward.pop("engines", None)
    rewards = None if engines is None else sum(forward.values())
    trained = sum(one["trained"] for one in passes.values())
    references = sum(one["reference"] for one in passes.values())
    ratio = None
    if engines is not None and rewards is not None and trained:
        ratio = (engines + rewards + references + trained) / trained
    return PassLine(index, engines, rewards, references, trained, ratio)
