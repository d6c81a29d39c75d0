"""pass@k from root children against the formula of independent samples, and against the truth."""

from __future__ import annotations

import random
import statistics
from itertools import combinations
from math import comb, prod
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berry.pipeline.config.sections.rollout.rollout import Budget, Cut
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.values.pass_at_k import chains_of, pass_at_k


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(1, 12))
def test_of_single_chains_it_is_that_of_independent_samples(passed: list[bool], k: int) -> None:
    n, c = len(passed), sum(passed)
    found = pass_at_k([float(p) for p in passed], k)
    assert found == (pytest.approx(1 - comb(n - c, k) / comb(n, k)) if k <= n else None)


@given(st.lists(st.floats(0, 3), min_size=1, max_size=7), st.integers(1, 7))
def test_it_is_the_mean_over_subsets(chains: list[float], k: int) -> None:
    if k <= len(chains):
        subsets = [prod(1 - x for x in chosen) for chosen in combinations(chains, k)]
        assert pass_at_k(chains, k) == pytest.approx(1 - statistics.mean(subsets), abs=1e-9)


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("cut", [None, Cut(below=0.3, spare=0.4, speculative=False)], ids=["plain", "cut"])
def test_trees_agree_with_the_truth(core: Any, k: int, cut: Cut | None) -> None:
    errors: list[float] = []
    for index in range(120):
        world = core.SyntheticWorld(index, noise=0.1, steps=6, error_rate=(0.1, 0.25), repair_rate=(0, 0.1))
        search = core.synthetic(world, Fixed(branching=(6, 2)), run_seed=index, cut=cut)
        core.play(search, world, random.Random(index), check=False)
        chains = chains_of(search.tree, search.values())
        assert chains is not None
        found = pass_at_k(chains, k)
        assert found is not None
        errors.append(found - (1 - (1 - world.true_value(search.tree, search.tree.root.node_id)) ** k))
    assert abs(statistics.mean(errors)) < 3 * statistics.stdev(errors) / len(errors) ** 0.5


def test_a_search_that_verdicts_stopped_has_none(core: Any) -> None:
    search = core.search(Fixed(branching=(4, 2)), budget=Budget(stop_after_correct=2))
    core.play(search, core.World(3))
    assert chains_of(search.tree, search.values()) is None
