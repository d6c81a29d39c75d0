"""Branches that are spared at random: the draw, the weights, and that a cut is undone in the mean."""

from __future__ import annotations

import random
import statistics
from typing import Any

import pytest

from berry.pipeline.config.sections.rollout.rollout import Cut
from berry.pipeline.core.search.policies.beam import Beam
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.policies.dvts import Dvts
from berry.pipeline.core.search.policies.entropy import Entropy
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.search.policies.value import ValueGuided
from berry.pipeline.core.tree import Tree
from berry.pipeline.core.values.leaf_weights import leaf_weights
from berry.pipeline.records import DropReason, ValueKind

CUT = Cut(below=0.5, spare=0.25, speculative=False)
PRUNED: list[tuple[Any, dict[str, Any]]] = [
    (BestOfN(n=6), {"cut": CUT}),
    (Fixed(branching=(3, 2)), {"cut": CUT}),
    (Entropy(chains=3, forks=1, rounds=1, branches=2), {"cut": CUT}),
    (Fixed(branching=(3, 2)), {"cut": CUT.model_copy(update={"speculative": True})}),
    (ValueGuided(leaves=12, cut_below=0.3, spare=0.25), {}),
    (Beam(beams=2, width=3, spare=0.25), {}),
    (Dvts(subtrees=2, width=3, spare=0.25), {}),
    (ValueGuided(leaves=12, cut_below=0.3, spare=0.25), {"cut": CUT}),
    (Beam(beams=2, width=3, spare=0.25), {"cut": CUT}),
    (Dvts(subtrees=2, width=3, spare=0.25), {"cut": CUT}),
]
every_prune = pytest.mark.parametrize(("policy", "rollout"), PRUNED, ids=lambda x: getattr(x, "type", ""))


def weight_of_all(search: Any) -> float:
    """Sum of the weights of the leaves, those left out that were cut while they were written."""
    tree: Tree = search.tree
    weights = leaf_weights(tree, search.heads)
    return sum(weights[leaf.node_id] for leaf in tree.leaves() if leaf.drop is not DropReason.CUT_IN_LOOP)


def below_inner_nodes(search: Any) -> float:
    """By how much the weights of the leaves below nodes that were grown on, and not given up, exceed 1 in all."""
    values, grown = search.values(), search.tree.walk()
    whole = [n for n in grown if n.parent and n.children and all(at.weight for at in search.tree.path(n))]
    return sum(values[node.node_id].mass - 1 for node in whole)


@pytest.mark.slow
@every_prune
def test_the_weights_of_the_leaves_below_any_node_sum_to_one_in_the_mean(
    core: Any, policy: Any, rollout: dict[str, Any]
) -> None:
    sums, masses, inner = [], [], []
    for seed in range(400):
        search = core.search(policy, run_seed=seed, **rollout)
        core.play(search, core.World(3), random.Random(seed), check=False)
        sums.append(weight_of_all(search))
        masses.append(search.values()[search.tree.root.node_id].mass)
        inner.append(below_inner_nodes(search))
    assert masses == pytest.approx(sums), "what an estimate calls mass is that sum"
    error = statistics.stdev(sums) / len(sums) ** 0.5
    assert error < 0.1
    assert abs(statistics.mean(sums) - 1) < 3.5 * error
    assert abs(statistics.mean(inner)) <= 3.5 * statistics.stdev(inner) / len(inner) ** 0.5
    assert min(sums) < 0.9, "something was cut, and not spared"
    assert max(sums) > 1.1


@every_prune
def test_without_sparing_values_are_survivors_and_with_it_the_ledger_counts(
    core: Any, policy: Any, rollout: dict[str, Any]
) -> None:
    if "cut" in rollout:
        bare = core.search(policy, cut=rollout["cut"].model_copy(update={"spare": 0.0}))
    else:
        bare = core.search(policy.model_copy(update={"spare": 0.0}))
    core.play(bare, core.World(4))
    root = bare.values()[bare.tree.root.node_id]
    assert root.kind is ValueKind.SURVIVORS
    assert "spared" not in bare.ledger.extra
    tokens = 0
    for seed in range(8):
        spared = core.search(policy, run_seed=seed, **rollout)
        core.play(spared, core.World(4))
        assert spared.values()[spared.tree.root.node_id].kind is ValueKind.ESTIMATE
        tokens += spared.ledger.extra["spared"]
    assert tokens > 0


@every_prune
def test_nothing_is_cut_below_a_spared_branch(core: Any, policy: Any, rollout: dict[str, Any]) -> None:
    found = 0
    for seed in range(8):
        search = core.search(policy, run_seed=seed, **rollout)
        core.play(search, core.World(4))
        spared = [node for node in search.tree.walk() if node.weight is not None and node.weight > 1]
        found += len(spared)
        for node in spared:
            assert node.drop is None
            if rollout.get("cut") is None or not rollout["cut"].speculative:
                assert all(below.weight != 0 for below in search.tree.walk(node))
    assert found


def test_who_is_spared_depends_on_the_place_alone(core: Any) -> None:
    def weights(order: int | None) -> dict[str, float | None]:
        search = core.search(Fixed(branching=(4, 2)), cut=CUT)
        core.play(search, core.World(3), None if order is None else random.Random(order))
        return {node.node_id: node.weight for node in search.tree.walk()}

    assert weights(None) == weights(1) == weights(2)
