"""Each policy on the synthetic engine, whose true values are known: estimates agree with the truth, and search is worth
its tokens where it is meant to be."""

from __future__ import annotations

import random
from typing import Any

import pytest

from berry.pipeline.config.sections.rollout.rollout import SamplingConfig
from berry.pipeline.core import events as ev
from berry.pipeline.core.labels import step_labels
from berry.pipeline.core.search.policies.beam import Beam
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.policies.dvts import Dvts
from berry.pipeline.core.search.policies.entropy import Entropy
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.search.policies.mcts import Mcts
from berry.pipeline.core.search.policies.omega import Omega
from berry.pipeline.core.search.policies.shepherd import Shepherd
from berry.pipeline.core.search.policies.value import ValueGuided
from berry.pipeline.core.tree import TreeNode
from berry.pipeline.core.values.counts import pooled
from berry.pipeline.core.values.intervals import wilson
from berry.pipeline.records import Finish

HARD = {"error_rate": (0.45, 0.45), "repair_rate": (0.05, 0.05), "hard_share": 0.3}


@pytest.fixture(scope="module")
def hard_problems(core: Any) -> list[Any]:
    """Pass rates of about a tenth; scores are the true values with an error of 0.1."""
    return [core.SyntheticWorld(i, steps=8, noise=0.1, **HARD) for i in range(10)]


def correct_per_kilotoken(core: Any, policy: Any, worlds: list[Any]) -> float:
    passed = tokens = 0
    for world in worlds:
        played = core.play(core.synthetic(world, policy), world, random.Random(1), check=False)
        passed += played.search.passed
        tokens += played.search.ledger.generated
    return 1000 * passed / tokens


@pytest.mark.parametrize(
    ("policy", "gain"),
    [
        (ValueGuided(leaves=32), 1.5),
        (Mcts(simulations=32, parallel=4), 1.3),
        (Beam(beams=4, width=4), 2.0),
        (Dvts(subtrees=4, width=4), 2.0),
        (Entropy(chains=4, forks=2, rounds=2, branches=2), 1.3),
    ],
    ids=lambda p: getattr(p, "type", ""),
)
def test_more_correct_leaves_for_the_tokens_on_hard_problems(
    core: Any, hard_problems: list[Any], policy: Any, gain: float
) -> None:
    plain = correct_per_kilotoken(core, BestOfN(n=32), hard_problems)
    assert correct_per_kilotoken(core, policy, hard_problems) > gain * plain


def test_a_tree_costs_fewer_tokens_than_as_many_samples(core: Any, hard_problems: list[Any]) -> None:
    world = hard_problems[0]
    tree = core.play(core.synthetic(world, Fixed(branching=(4, 2, 2))), world).search
    apart = core.play(core.synthetic(world, BestOfN(n=16)), world).search
    assert len(tree.trajectories()) == len(apart.trajectories()) == 16
    assert tree.ledger.generated < 0.9 * apart.ledger.generated


def test_the_root_value_agrees_with_the_truth(core: Any) -> None:
    for index in range(4):
        world = core.SyntheticWorld(index)
        search = core.play(core.synthetic(world, BestOfN(n=400)), world, check=False).search
        low, high = wilson(search.passed, search.checked, z=4.0)
        assert low <= world.true_value(search.tree, search.tree.root.node_id) <= high
        assert search.nodes()[0].value == pytest.approx(search.passed / 400)


def test_estimates_at_every_step_agree_with_the_truth(core: Any) -> None:
    world = core.SyntheticWorld(3, steps=6, error_rate=(0.25, 0.25), repair_rate=(0.2, 0.2))
    search = core.play(core.synthetic(world, Shepherd(chains=3, completions=200)), world, check=False).search
    values = search.values()
    estimated = [n for n in search.tree.walk() if values[n.node_id].n > 100]
    assert len(estimated) == 18
    for node in estimated:
        value = values[node.node_id]
        assert value.value is not None
        low, high = wilson(value.value * value.n, value.n, z=4.0)
        assert low <= world.true_value(search.tree, node.node_id) <= high
    truths = {round(world.true_value(search.tree, n.node_id), 3) for n in estimated}
    assert len(truths) > 3


def test_completions_of_deeper_steps_would_bias_a_pooled_estimate(core: Any) -> None:
    """Why leaves are not pooled: below an early step of a failed solution most come from its later, hopeless steps."""
    pooled_errors: list[float] = []
    value_errors: list[float] = []
    for index in range(24):
        world = core.SyntheticWorld(index, steps=8, error_rate=(0.15, 0.15), repair_rate=(0, 0))
        search = core.synthetic(world, Shepherd(chains=1, completions=60), run_seed=index)
        tree = core.play(search, world, check=False).search.tree
        first = tree.root.children[0]
        chain = next(leaf for leaf in tree.leaves() if leaf.origin == first.origin)
        if chain.verdict is None or chain.verdict.passed:
            continue
        truth = world.true_value(tree, first.node_id)
        pooled_errors.append((pooled(tree)[first.node_id].soft or 0) - truth)
        value_errors.append((search.values()[first.node_id].value or 0) - truth)
    assert len(pooled_errors) > 8
    assert sum(pooled_errors) < -0.5
    assert abs(sum(value_errors)) < 0.2 * abs(sum(pooled_errors))


def agreement(core: Any, policy: Any, worlds: list[Any]) -> tuple[int, int, int]:
    """(first errors found right, failed solutions, rollouts)."""
    right = failed = rollouts = 0
    for world in worlds:
        search = core.play(core.synthetic(world, policy), world, check=False).search
        tree = search.tree
        rollouts += search.leaves
        values = search.values()
        for leaf in tree.leaves():
            path = tree.path(leaf)
            if leaf.verdict is None or leaf.verdict.passed or path[0].origin != leaf.origin:
                continue
            failed += 1
            ends = [node.end for node in path]
            labels = step_labels(tree, leaf.node_id, ends, values)
            found = next((i for i, label in enumerate(labels) if label.reached is False), None)
            right += found == next(i for i, n in enumerate(path) if world.true_value(tree, n.node_id) == 0)
    return right, failed, rollouts


def test_omega_finds_the_first_error_with_a_third_of_the_rollouts_of_shepherd(core: Any) -> None:
    worlds = [
        core.SyntheticWorld(i, steps=16, error_rate=(0.08, 0.08), repair_rate=(0, 0), hard_share=0.0) for i in range(10)
    ]
    right, failed, many = agreement(core, Shepherd(chains=2, completions=8), worlds)
    found, searched, few = agreement(core, Omega(chains=2, completions=8, searches=2), worlds)
    assert searched == failed > 10
    assert found >= right - 1
    assert found >= 0.85 * searched
    assert few <= many / 3


def test_omega_says_where_the_error_is(core: Any) -> None:
    world = core.SyntheticWorld(5, steps=12, error_rate=(0.15, 0.15), repair_rate=(0, 0), hard_share=0.0)
    search = core.play(core.synthetic(world, Omega(chains=12, completions=12, searches=6)), world).search
    assert search.first_errors
    assert len(search.first_errors) <= 6
    right = 0
    for leaf, name in search.first_errors.items():
        path: list[TreeNode] = search.tree.path(search.tree[leaf])
        assert search.tree[name] in path
        right += next(n for n in path if world.true_value(search.tree, n.node_id) == 0).node_id == name
    assert right >= len(search.first_errors) - 1


def test_forks_are_where_the_process_decides(core: Any) -> None:
    world = core.SyntheticWorld(2, steps=8, error_rate=(0.3, 0.3), hard_share=0.3)
    search = core.play(core.synthetic(world, Entropy(chains=4, forks=2, rounds=1, branches=2)), world).search
    forks = [node for node in search.tree.walk() if node.depth and len(node.children) > 1]
    assert len(forks) == 8
    for node in forks:
        following = node.children[0].tokens[0]
        step = world.chain.position(search.tree.response_ids(node.node_id))
        assert len(step[2]) + 1 == world.chain.decision(step[0]), "a fork resamples a result token"
        assert following >= 1000


def test_early_exit_finds_the_same_errors_for_fewer_tokens(core: Any) -> None:
    world = core.SyntheticWorld(5, steps=12, error_rate=(0.15, 0.15), repair_rate=(0, 0), hard_share=0.0)
    chance = random.Random(2)
    whole = core.play(core.synthetic(world, Omega(chains=12, completions=12, searches=3)), world, chance).search
    early = core.play(
        core.synthetic(world, Omega(chains=12, completions=12, searches=3, early_exit=True)), world, chance
    ).search
    assert early.first_errors == whole.first_errors
    assert early.ledger.generated < whole.ledger.generated


def test_every_step_of_a_long_solution_is_annotated_however_deep(core: Any) -> None:
    """A failed solution of 300 steps whose completions all pass: no step before the last is called wrong."""

    class Long(core.World):
        checked = 0

        def segment(self, prefix: list[int], until: ev.Until, seed: int) -> ev.Completion:
            left = 300 - prefix[3:].count(1)
            ids = (11, 12, 1) * left + (13, 2)
            return ev.Completion(ids, "ab;" * left + "a.", Finish.STOP, token_ends=tuple(range(1, len(ids) + 1)))

        def verdict(self, response: list[int]) -> Any:
            self.checked += 1
            return core.FAIL if self.checked == 1 else core.PASS

    search = core.search(Shepherd(chains=1, completions=3), sampling=SamplingConfig(max_tokens=2000), context_len=3000)
    core.play(search, Long(), check=False)
    failed = next(t for t in search.trajectories() if t.verdict == core.FAIL)
    values = search.values()
    labels = [values[node_id] for node_id in failed.path]
    assert len(labels) == 301
    assert [label.n for label in labels[:-1]] == [4] * 300
    assert all(label.reached for label in labels[:-1])
    assert labels[0].value is not None
    assert labels[0].value > 0.99, "each step's own estimate goes into those before it"
    assert labels[-1].value == 0.0
