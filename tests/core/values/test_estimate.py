"""Values of hand-made trees, against figures worked out on paper."""

from __future__ import annotations

from typing import Any

import pytest

from berry.pipeline.core.events import Completion
from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.core.values.estimate import Heads, Scheme, Values, estimate
from berry.pipeline.core.values.intervals import wilson
from berry.pipeline.records import Finish, ValueKind
from berry.verifiers.base import Outcome, Reason, Verdict


def step(tree: Tree, parent: TreeNode, index: int = 0) -> TreeNode:
    return tree.add(parent, index, Completion((5, 6, 7, 8), "abcd", Finish.STEP))


def leaves(core: Any, tree: Tree, parent: TreeNode, letters: str) -> list[TreeNode]:
    """p(ass), f(ail), u(nverifiable), n(o answer), t(runcated: never checked)."""
    none = Verdict(Outcome.FAIL, Reason.NO_ANSWER)
    verdicts = {"p": core.PASS, "f": core.FAIL, "u": core.UNSURE, "n": none, "t": None}
    found = []
    for letter in letters:
        parent.next_index += 1
        leaf = tree.add(parent, parent.next_index - 1, Completion((9, 9), "ef", Finish.STOP))
        leaf.verdict = verdicts[letter]
        found.append(leaf)
    return found


def test_a_value_is_the_mean_over_sampled_children_however_many_leaves_each_has(core: Any) -> None:
    tree = Tree("p", [1])
    a, b = step(tree, tree.root, 0), step(tree, tree.root, 1)
    leaves(core, tree, a, "pppppppf")
    leaves(core, tree, b, "f")
    values = estimate(tree)
    root = values[tree.root.node_id]
    assert values[a.node_id].value == 7 / 8
    assert root.value is not None
    assert root.value == (7 / 8 + 0) / 2, "pooled it would be 7/9"
    assert root.n == 2
    assert (root.low, root.high) == pytest.approx(wilson(2 * root.value, 2))
    assert (root.kind, root.mass, root.reached) == (ValueKind.ESTIMATE, 1.0, True)


def test_what_tells_neither_right_nor_wrong_counts_in_neither(core: Any) -> None:
    tree = Tree("p", [1])
    a, b = step(tree, tree.root, 0), step(tree, tree.root, 1)
    leaves(core, tree, a, "pfunt")
    leaves(core, tree, b, "unt")
    values = estimate(tree)
    assert (values[a.node_id].value, values[a.node_id].n) == (0.5, 2)
    unknown = values[b.node_id]
    assert (unknown.value, unknown.kind, unknown.n, unknown.reached) == (None, None, 0, None)
    assert (unknown.low, unknown.high) == (0.0, 1.0)
    assert (values[tree.root.node_id].value, values[tree.root.node_id].n) == (0.5, 1)


def test_a_chain_passes_its_value_on_with_one_continuation_behind_it(core: Any) -> None:
    tree = Tree("p", [1])
    a = step(tree, tree.root)
    leaves(core, tree, a, "ppff")
    root = estimate(tree)[tree.root.node_id]
    assert (root.value, root.n) == (0.5, 1)
    assert estimate(tree)[a.node_id].n == 4


def test_a_spared_branch_weighs_one_over_its_share(core: Any) -> None:
    tree = Tree("p", [1])
    kept, spared, gone = (step(tree, tree.root, i) for i in range(3))
    spared.weight, gone.weight = 4.0, 0.0
    leaves(core, tree, kept, "p")
    leaves(core, tree, spared, "pf")
    values = estimate(tree)
    root = values[tree.root.node_id]
    assert root.value == pytest.approx((1 + 4 * 0.5 + 0) / 3)
    assert root.mass == pytest.approx((1 + 4 + 0) / 3)
    assert root.label == pytest.approx((1 + 4 * 0.5) / (1 + 4))
    assert root.n == int(25 / 17)
    assert values[gone.node_id].kind is None


def test_mass_lost_to_cuts_may_have_any_value(core: Any) -> None:
    tree = Tree("p", [1])
    kept, gone = step(tree, tree.root, 0), step(tree, tree.root, 1)
    gone.weight = 0.0
    leaves(core, tree, kept, "p")
    root = estimate(tree)[tree.root.node_id]
    assert (root.value, root.mass, root.label) == (0.5, 0.5, 1.0)
    low, high = wilson(1, 1)
    assert (root.low, root.high) == pytest.approx((low / 2, high / 2 + 0.5))
    sure, _ = wilson(1, 2)  # by a threshold, what was lost is chance too
    root = estimate(tree, Scheme(cuts=True))[tree.root.node_id]
    assert (root.low, root.high) == pytest.approx((sure * low, sure * high + 1 - sure))
    kept.weight = 0.0
    nothing = estimate(tree)[tree.root.node_id]
    assert (nothing.value, nothing.low, nothing.high, nothing.n, nothing.label) == (0.0, 0.0, 1.0, 0, None)


def test_survivors_are_called_so(core: Any) -> None:
    tree = Tree("p", [1])
    kept, gone = step(tree, tree.root, 0), step(tree, tree.root, 1)
    gone.weight = 0.0
    leaves(core, tree, kept, "pf")
    root = estimate(tree, Scheme(survivors=True))[tree.root.node_id]
    assert (root.value, root.kind) == (0.5, ValueKind.SURVIVORS)


def test_what_verdicts_asked_for_counts_in_no_value(core: Any) -> None:
    tree = Tree("p", [1])
    tree.root.scheduled = 2
    leaves(core, tree, tree.root, "pffff")
    assert estimate(tree)[tree.root.node_id].value == 0.5
    adaptive = estimate(tree, Scheme(adaptive=True))[tree.root.node_id]
    assert (adaptive.value, adaptive.kind, adaptive.reached) == (None, ValueKind.ADAPTIVE, True)


def forked(core: Any) -> tuple[Tree, TreeNode, Values, Values, Values]:
    """A failed chain, cut in two and forked into two that pass: by each rule (see `Heads`)."""
    tree = Tree("p", [1])
    (chain,) = leaves(core, tree, tree.root, "f")
    head = tree.split(chain.node_id, 1)
    leaves(core, tree, head, "pp")
    by_all, by_forks, by_own = (estimate(tree, Scheme(heads=heads)) for heads in (Heads.ALL, Heads.FORKS, Heads.OWN))
    return tree, head, by_all, by_forks, by_own


def test_forks_behind_and_above_the_place_of_a_fork(core: Any) -> None:
    tree, head, by_all, by_forks, by_own = forked(core)
    root = tree.root.node_id
    assert (by_all[head.node_id].value, by_all[root].value) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert by_all[head.node_id].n == 3
    assert (by_forks[head.node_id].value, by_forks[root].value) == (1.0, 0.0)
    assert by_forks[head.node_id].n == 2
    assert (by_own[head.node_id].value, by_own[root].value) == (0.0, 0.0)
    assert by_own[head.node_id].n == 1
    assert by_own[head.node_id].reached, "some continuation passed, however it was drawn"


def test_a_step_inside_a_segment_has_its_result_and_one_continuation(core: Any) -> None:
    _, head, by_all, by_forks, _ = forked(core)
    assert by_all.inside(head.node_id).n == 1
    assert by_all.inside(head.node_id).value == pytest.approx(2 / 3)
    assert by_forks.inside(head.node_id).value == 0.0, "the rest of its own segment failed"
    tree = Tree("p", [1])
    (leaf,) = leaves(core, tree, tree.root, "p")
    values = estimate(tree, Scheme())
    assert (values[leaf.node_id].low, values[leaf.node_id].high) == (1.0, 1.0), (
        "a whole response is checked, not guessed"
    )
    inside = values.inside(leaf.node_id)
    assert (inside.value, inside.n, inside.high) == (1.0, 1, 1.0)
    assert inside.low < 0.25
    assert estimate(tree, Scheme(inside=False)).inside(leaf.node_id).kind is ValueKind.ADAPTIVE
