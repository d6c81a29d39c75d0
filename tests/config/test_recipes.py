"""The ten recipes that a lab begins with say what they cost, and it is what `berry plan` says."""

from __future__ import annotations

from pathlib import Path

import pytest

from berry.pipeline.cli.plan import build

RECIPES = Path(__file__).resolve().parents[2] / "configs" / "recipes"
PLANNED = (
    *("math_rl", "code", "distil", "prm_data", "pairs"),
    *("calculator", "thinking", "two_sites", "qwen3_8xh100"),
)
"""With gsm8k_curves, an evaluation, which `berry plan` does not read."""
BEGINS = "# By the plan: "


@pytest.mark.slow
@pytest.mark.parametrize("name", PLANNED)
def test_a_recipe_says_what_the_plan_says(name: str) -> None:
    path = RECIPES / f"{name}.yaml"
    _, rows = build(str(path), [], [], prices=None, run=None).columns[-1]
    figures = dict(rows)
    wanted = [figures["run: time"], f"trajectories: {figures['run: trajectories']}"]
    if (cost := figures.get("a million kept")) not in (None, "$0"):
        wanted.append(f"{cost} a million kept")
    assert f"{BEGINS}{'; '.join(wanted)}" in path.read_text(encoding="utf-8").splitlines()
