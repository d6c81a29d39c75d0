from __future__ import annotations

from collections import Counter

from berry.pipeline.stages.training.splits import part, place


def test_shares_are_met_and_parts_stay_put() -> None:
    parts = Counter(part(f"p{i}", heldout_share=0.2, validation_share=0.1) for i in range(20_000))
    assert abs(parts["heldout"] / 20_000 - 0.2) < 0.015
    assert abs(parts["validation"] / 20_000 - 0.1) < 0.015
    assert place("p7") == place("p7") != place("p7", seed=1)


def test_a_larger_share_only_adds_to_what_is_held_out() -> None:
    small = {f"p{i}" for i in range(500) if part(f"p{i}", heldout_share=0.1) == "heldout"}
    large = {f"p{i}" for i in range(500) if part(f"p{i}", heldout_share=0.3) == "heldout"}
    assert small < large
