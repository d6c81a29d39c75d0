"""Values of draws that verdicts ended: exact, over every order of passes and fails that can come, and from searches."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from berry.pipeline.config.sections.rollout.rollout import Budget
from berry.pipeline.core import events as ev
from berry.pipeline.core.search.limits import EndsDraws
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.values.pass_at_k import chains_of
from berry.pipeline.core.values.stopped import pass_at_k, until_stop
from berry.pipeline.records import Finish, ValueKind

STOP = ev.Completion((9, 2), "ab", Finish.STOP)
RULES = [
    Budget(stop_after_correct=2),
    Budget(stop_after_correct=3, hopeless_after=5),
    Budget(hopeless_after=1),
    Budget(pass_rate_band=(0.3, 0.6), band_after=4),
]


def ended(n: int, ends: EndsDraws, chance: float) -> Iterator[tuple[float, list[bool]]]:
    """Every sequence of draws up to its stop, with the chance that it comes; together they are certain."""
    seen = set[tuple[bool, ...]]()
    for drawn in product([True, False], repeat=n):
        stopped = drawn[: until_stop(drawn, ends)]
        if stopped not in seen:
            seen.add(stopped)
            passed = sum(stopped)
            yield chance**passed * (1 - chance) ** (len(stopped) - passed), list(stopped)


@pytest.mark.parametrize("budget", RULES, ids=str)
@pytest.mark.parametrize("chance", [0.1, 0.45, 0.9])
def test_the_mean_over_all_that_can_come_is_the_truth(budget: Budget, chance: float) -> None:
    ends, told = EndsDraws(budget), 0
    for k in (1, 2, 3):
        found = [(weight, pass_at_k(drawn, k, ends)) for weight, drawn in ended(9, ends, chance)]
        assert sum(weight for weight, _ in found) == pytest.approx(1)
        if any(value is None for _, value in found):
            assert all(value is None for _, value in found), "left out for some outcomes alone it would be biased"
            continue
        told += 1
        assert sum(w * (v or 0.0) for w, v in found) == pytest.approx(1 - (1 - chance) ** k)
    assert told


def test_after_r_passes_it_is_inverse_sampling_and_else_the_plain_share() -> None:
    ends = EndsDraws(Budget(stop_after_correct=3))
    assert pass_at_k([False, True, False, False, True, True], 1, ends) == pytest.approx(2 / 5)
    assert pass_at_k([False, True, False, False, True, False], 1, ends) == pytest.approx(2 / 6)
    assert pass_at_k([], 1, ends) is None


def test_what_is_not_known_stops_nothing() -> None:
    ends = EndsDraws(Budget(stop_after_correct=2))
    assert until_stop([None, True, None, True, True], ends) == 4
    assert until_stop([None, None], ends) == 2


@pytest.mark.parametrize("window", [None, 3])
def test_the_order_of_arrival_changes_neither_the_stop_nor_the_value(core: Any, window: int | None) -> None:
    for seed in range(12):
        found = set[Any]()
        for order in (None, 1, 2, 3, 4):
            budget = Budget(stop_after_correct=3, max_in_flight=window)
            search = core.search(BestOfN(n=16), run_seed=seed, budget=budget)
            core.play(search, core.World(3), None if order is None else random.Random(order))
            values = search.values()
            root = values[search.tree.root.node_id]
            found.add((search.finished, root, tuple(chains_of(search.tree, values) or ())))
        assert len(found) == 1


def test_samples_beyond_the_stop_have_no_value(core: Any) -> None:
    search = core.search(BestOfN(n=6), budget=Budget(stop_after_correct=2))
    root = search.tree.root.node_id
    search.start()
    for index in (5, 0, 2):  # the last sample is there first
        search.handle(ev.Segment(root, index, STOP))
        leaf = search.tree.root.children[-1].node_id
        search.handle(ev.Verified(leaf, core.PASS))
    assert search.stopping is None, "sample 1 may still fail or pass: who is third is not known"
    search.handle(ev.Segment(root, 1, STOP))
    search.handle(ev.Verified(search.tree.root.children[-1].node_id, core.PASS))
    assert search.stopping is ev.FinishReason.ENOUGH
    search.handle(ev.Cancelled(root, tokens=2))
    values = search.values()
    assert (values[root].value, values[root].n, values[root].kind) == (1.0, 2, ValueKind.ESTIMATE)
    kinds = {c.index: (values[c.node_id].kind, values.inside(c.node_id).label) for c in search.tree.root.children}
    assert kinds[0] == kinds[1] == (ValueKind.ESTIMATE, 1.0)
    assert kinds[2] == kinds[5] == (ValueKind.ADAPTIVE, None)
