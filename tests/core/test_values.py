"""Backed-up values, labels, scorers, the ledger and the allocator."""

from __future__ import annotations

import random
from math import exp
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berry.pipeline.core import ledger as ledgers
from berry.pipeline.core import scorers
from berry.pipeline.core.allocate import Need, allocate
from berry.pipeline.core.events import Completion
from berry.pipeline.core.labels import step_labels
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.search.policies.value import apportion
from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.core.values.counts import Counts, pooled
from berry.pipeline.core.values.estimate import Scheme, estimate
from berry.pipeline.core.values.intervals import wilson
from berry.pipeline.records import DropReason, Finish, TokenLedger, ValueKind


def grown(core: Any, verdicts: str) -> tuple[Tree, TreeNode, list[TreeNode]]:
    """One step of 4 tokens with a leaf of 2 for each letter: p(ass), f(ail), u(nverifiable), t(runcated)."""
    tree = Tree("p", [1])
    step = tree.add(tree.root, 0, Completion((5, 6, 7, 8), "abcd", Finish.STEP, (-0.5,) * 4))
    leaves = []
    for i, letter in enumerate(verdicts):
        leaf = tree.add(step, i, Completion((9, i), "ef", Finish.STOP, (-1.0, -1.0)))
        leaf.verdict = {"p": core.PASS, "f": core.FAIL, "u": core.UNSURE, "t": None}[letter]
        leaves.append(leaf)
    return tree, step, leaves


def test_values_are_over_verified_leaves(core: Any) -> None:
    tree, step, leaves = grown(core, "ppfut")
    counts = pooled(tree)
    assert counts[tree.root.node_id] == counts[step.node_id] == Counts(2, 3)
    assert counts[step.node_id].soft == pytest.approx(2 / 3)
    assert counts[step.node_id].hard is True
    assert [counts[leaf.node_id].soft for leaf in leaves] == [1.0, 1.0, 0.0, None, None]
    assert [counts[leaf.node_id].hard for leaf in leaves] == [True, True, False, None, None]


@given(st.integers(0, 50), st.integers(0, 50))
def test_wilson_holds_the_share_and_narrows(passed: int, failed: int) -> None:
    n = passed + failed
    low, high = wilson(passed, n)
    assert 0 <= low <= high <= 1
    if n:
        assert low <= passed / n <= high
        wider = wilson(passed * 4, n * 4)
        assert wider[1] - wider[0] < high - low
    else:
        assert (low, high) == (0.0, 1.0)


def test_wilson_has_the_known_values() -> None:
    low, high = wilson(8, 10)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)


def test_a_step_is_labelled_by_the_prefix_that_ends_with_it(core: Any) -> None:
    tree, _, leaves = grown(core, "pf")
    values = estimate(tree)
    labels = step_labels(tree, leaves[1].node_id, [2, 4, 6], values)
    assert [(x.value, x.reached, x.n) for x in labels] == [(0.5, True, 1), (0.5, True, 2), (0.0, False, 1)]
    assert (labels[1].low, labels[1].high) == pytest.approx(wilson(1, 2))
    assert (labels[2].low, labels[2].high) == (0.0, 0.0), "of a whole response the verdict is all there is to know"
    passing = step_labels(tree, leaves[0].node_id, [2, 4, 6], values)
    assert [x.reached for x in passing] == [True] * 3


def test_unknown_labels_are_no_errors(core: Any) -> None:
    tree, _, leaves = grown(core, "u")
    labels = step_labels(tree, leaves[0].node_id, [4, 6], estimate(tree))
    assert [(x.value, x.reached, x.n, x.low, x.high) for x in labels] == [(None, None, 0, 0.0, 1.0)] * 2


def test_what_is_no_estimate_is_no_label_unless_asked_for_by_name(core: Any) -> None:
    tree, _, leaves = grown(core, "pf")
    values = estimate(tree, Scheme(survivors=True))
    labels = step_labels(tree, leaves[1].node_id, [4, 6], values)
    assert [(x.value, x.kind) for x in labels] == [(None, ValueKind.SURVIVORS), (0.0, ValueKind.ESTIMATE)]
    asked = step_labels(tree, leaves[1].node_id, [4], values, kinds=(ValueKind.SURVIVORS,))
    assert [x.value for x in asked] == [0.5]


def test_scorers_without_a_model(core: Any) -> None:
    tree, step, leaves = grown(core, "pft")
    assert scorers.logprob(tree, step.node_id) == pytest.approx(exp(-0.5))
    assert scorers.logprob(tree, leaves[0].node_id) == pytest.approx(exp(-4 / 6))
    assert scorers.logprob(tree, tree.root.node_id) is None
    assert scorers.path_logprob(tree, leaves[0].node_id) == pytest.approx(-4)
    assert scorers.path_logprob(tree, tree.root.node_id) is None
    assert scorers.verified(tree, step.node_id) == 0.5
    assert scorers.verified(tree, leaves[0].node_id) == pytest.approx(2 / 3)
    assert scorers.verified(tree, leaves[2].node_id) == 0.5, "nothing below: the parent's"
    empty = Tree("p", [1])
    assert scorers.verified(empty, empty.root.node_id) is None
    silent = empty.add(empty.root, 0, Completion((1,), "a", Finish.STEP))
    assert scorers.logprob(empty, silent.node_id) is None
    assert scorers.path_logprob(empty, silent.node_id) is None


def test_every_token_of_the_tree_is_kept_or_pruned_once(core: Any) -> None:
    search = core.play(core.search(Fixed(branching=(2, 2, 2))), core.World(4), random.Random(1)).search
    found = search.trajectories()
    found[0].kept = True
    for i, trajectory in enumerate(found[1:]):
        trajectory.drop_reason = DropReason.WRONG if i % 2 else DropReason.UNVERIFIABLE
    settled = ledgers.settle(search.ledger.snapshot(), search.tree, found)
    assert settled.kept == found[0].n_tokens
    pruned = {name: count for name, count in settled.extra.items() if name.startswith("pruned.")}
    assert set(pruned) == {"pruned.wrong", "pruned.unverifiable"}
    assert settled.kept + sum(pruned.values()) == settled.generated


def test_prompt_tokens_are_counted_once_a_request_and_ledgers_add_up(core: Any) -> None:
    search = core.search(BestOfN(n=3))
    core.play(search, core.World(2))
    one = search.ledger.snapshot()
    assert (one.prompt, one.cached, one.recomputed) == (3, 0, 3)
    both = ledgers.add([one, one, TokenLedger(cached=2, extra={"segments": 1})])
    assert both.prompt == 6
    assert both.generated == 2 * one.generated
    assert both.cached == 2
    assert both.extra["segments"] == 7


needs = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=8).map(
    lambda pairs: [Need(f"p{i}", *pair) for i, pair in enumerate(pairs)]
)


@given(needs, st.integers(0, 10), st.randoms(use_true_random=False))
def test_grants_never_exceed_what_is_left_and_do_not_depend_on_the_order(
    given_needs: list[Need], seed: int, chance: Any
) -> None:
    granted = allocate(given_needs, seed=seed)
    left = sum(need.unspent for need in given_needs)
    assert sum(granted.values()) <= left
    assert sum(granted.values()) == min(left, sum(need.wanted for need in given_needs))
    assert all(granted[need.problem_id] <= need.wanted for need in given_needs)
    shuffled = list(given_needs)
    chance.shuffle(shuffled)
    assert allocate(shuffled, seed=seed) == granted


def test_the_cheapest_needs_come_first() -> None:
    found = allocate([Need("a", 0, 9), Need("b", 5, 0), Need("c", 0, 3)], seed=0)
    assert found == {"a": 2, "b": 0, "c": 3}
    assert allocate([Need("a", 0, 9)], seed=0, extra=4) == {"a": 4}


@given(st.integers(0, 30), st.lists(st.floats(0, 1), max_size=6))
def test_apportioning_gives_all_and_nothing_for_nothing(total: int, weights: list[float]) -> None:
    shares = apportion(total, weights)
    assert sum(shares) == (total if sum(weights) > 0 else 0)
    assert all(share == 0 for share, weight in zip(shares, weights, strict=True) if weight == 0)
