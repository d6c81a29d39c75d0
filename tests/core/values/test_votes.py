"""Votes of a tree's leaves: weights that undo its forks, chains that are independent, majorities that are right."""

from __future__ import annotations

from typing import Any

import pytest

from berry.pipeline.config.sections.rollout.rollout import Cut
from berry.pipeline.core.search.policies.beam import Beam
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.policies.dvts import Dvts
from berry.pipeline.core.search.policies.entropy import Entropy
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.search.policies.mcts import Mcts
from berry.pipeline.core.search.policies.omega import Omega
from berry.pipeline.core.search.policies.shepherd import Shepherd
from berry.pipeline.core.values.votes import votes

POLICIES = [
    BestOfN(n=6),
    Fixed(branching=(3, 2)),
    Entropy(chains=3, forks=1, rounds=1, branches=2),
    Shepherd(chains=2, completions=3),
    Omega(chains=4, completions=3),
    Mcts(simulations=8),
]
RANKED = [Beam(beams=2, width=3), Dvts(subtrees=3, width=3)]


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


@pytest.mark.parametrize("policy", RANKED, ids=lambda policy: policy.type)
def test_what_was_given_up_or_spared_has_no_vote(core: Any, policy: Any) -> None:
    """So that the votes are the same however many branches are spared."""
    seen = []
    for spare in (0.0, 0.4):
        search = core.search(policy.model_copy(update={"spare": spare}))
        core.play(search, core.World())
        drawn = votes(search.tree, search.heads)
        assert sum(vote.weight for vote in drawn.values()) == pytest.approx(1.0)
        lines = {leaf.node_id: {node.weight for node in search.tree.path(leaf)} for leaf in search.tree.leaves()}
        assert {leaf for leaf, vote in drawn.items() if vote.weight} == {x for x, ws in lines.items() if ws == {1.0}}
        seen.append({leaf: vote for leaf, vote in drawn.items() if vote.weight})
    assert seen[0] == seen[1]
    assert len(drawn) > len(seen[1])


def test_a_search_that_gave_up_every_branch_has_no_votes(core: Any) -> None:
    search = core.search(BestOfN(n=4), cut=Cut(below=2, spare=0, speculative=False))
    core.play(search, core.World())
    assert {vote.weight for vote in votes(search.tree, search.heads).values()} == {0.0}


LABELS = {  # by benchmark row: the least that a majority labels of 120 problems
    "best_of_n 32": 20,
    "fixed 4,2,2,2": 10,
    "entropy 4, 2x2x2": 4,
    "value 16": 60,
    "beam 4x4": 0,  # its beams share one beginning
    "dvts 4x4": 50,
    "mcts 32": 4,
    "shepherd 4x4": 15,
    "shepherd 1x8": 0,  # one chain is no majority
    "shepherd 2x8": 0,  # nor are two
    "omega": 4,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LABELS)
def test_what_a_majority_labels_is_right(core: Any, bias: Any, name: str) -> None:
    _, elected = bias.elect(core, bias.VOTERS[name], problems=120)
    print(f"{name}: {elected.labelled} labelled, {elected.right} right, {elected.chains:.1f} chains")
    assert elected.labelled >= LABELS[name]
    assert elected.right >= 0.95 * elected.labelled
