"""Votes of a tree's leaves: weights that undo its forks, chains that are independent, majorities that are right."""

from __future__ import annotations

from typing import Any

import pytest

from berry.pipeline.core.search.beam import Beam
from berry.pipeline.core.search.best_of_n import BestOfN
from berry.pipeline.core.search.entropy import Entropy
from berry.pipeline.core.search.fixed import Fixed
from berry.pipeline.core.search.mcts import Mcts
from berry.pipeline.core.search.omega import Omega
from berry.pipeline.core.search.shepherd import Shepherd
from berry.pipeline.core.values.votes import votes
from berry.verifiers.specs.union import MajoritySpec

POLICIES = [
    BestOfN(n=6),
    Fixed(branching=(3, 2)),
    Entropy(chains=3, forks=1, rounds=1, branches=2),
    Shepherd(chains=2, completions=3),
    Omega(chains=4, completions=3),
    Mcts(simulations=8),
]


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.type)
def test_weights_sum_to_one_and_no_chain_has_more_than_another(core: Any, policy: Any) -> None:
    search = core.search(policy)
    core.play(search, core.World())
    drawn = votes(search.tree, search.heads)
    assert set(drawn) == {leaf.node_id for leaf in search.tree.leaves()}
    assert sum(vote.weight for vote in drawn.values()) == pytest.approx(1.0)
    chains: dict[str, float] = {}
    for vote in drawn.values():
        chains[vote.chain] = chains.get(vote.chain, 0.0) + vote.weight
    assert set(chains) == {child.node_id for child in search.tree.root.children}
    assert all(weight == pytest.approx(1 / len(chains)) for weight in chains.values() if weight)


def test_what_was_given_up_has_no_vote(core: Any) -> None:
    search = core.search(Beam(beams=2, width=3, spare=0))
    core.play(search, core.World())
    drawn = votes(search.tree, search.heads)
    dropped = [leaf for leaf in search.tree.leaves() if leaf.drop is not None]
    assert dropped
    assert not any(drawn[leaf.node_id].weight for leaf in dropped)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["best_of_n 32", "fixed 4,2,2,2", "omega", "shepherd 1x8", "mcts 32"])
def test_what_a_majority_labels_is_right(core: Any, bias: Any, name: str) -> None:
    """The benchmark has all policies: those left out here label nothing, or as few."""
    labelled, right = bias.elect(core, bias.VOTERS[name], problems=120, spec=MajoritySpec())
    print(f"{name}: {labelled} labelled, {right} right")
    assert right >= 0.95 * labelled
    assert labelled > 0 or name == "shepherd 1x8", "its one chain is no majority"
