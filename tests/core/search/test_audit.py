from __future__ import annotations

from typing import Any

import pytest

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rollout.rollout import Budget, Cut, Rollout
from berry.pipeline.core.assignment.splits import split_of
from berry.pipeline.core.search.audit import is_unpruned, prunes, rollout_for, unpruned, unpruned_share
from berry.pipeline.core.search.policies.beam import Beam
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.policies.dvts import Dvts
from berry.pipeline.core.search.policies.entropy import Entropy
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.search.policies.omega import Omega
from berry.pipeline.core.search.policies.value import ValueGuided

CUT = {"cut": {"below": 0.3, "spare": 0.0}}


def config(*, rollout: dict[str, Any], rounds: int = 1, heldout: float = 0.2) -> RunConfig:
    raw = {
        "name": "test",
        "problems": [{"type": "synthetic", "count": 4}],
        "engine": {"type": "synthetic"},
        "rollout": {"policy": {"type": "best_of_n", "n": 4}, **rollout},
        "rewards": {"training": {"heldout_share": heldout}},
        "rounds": rounds,
    }
    return validate(raw, RunConfig, where="test")


def drawn(made: RunConfig) -> set[str]:
    return {f"p{i}" for i in range(4000) if is_unpruned(made, f"p{i}")}


def test_audits_are_a_share_of_all_problems_and_held_out() -> None:
    some = config(rollout={**CUT, "audit_share": 0.1})
    found = drawn(some)
    assert 340 < len(found) < 460
    assert all(split_of(some).part(family) == "heldout" for family in found)
    more = config(rollout={**CUT, "audit_share": 0.15})
    assert found < drawn(more)
    assert unpruned_share(config(rollout={**CUT, "audit_share": 0.9})) == 0.2, "no more than is held out"


def test_without_a_cut_there_is_nothing_to_audit() -> None:
    uncut = config(rollout={"audit_share": 0.2})
    assert not prunes(uncut.rollout)
    assert not drawn(uncut)


def test_in_rounds_every_held_out_problem_is_measured_without_cuts_and_stops() -> None:
    rounds = config(rollout={**CUT, "budget": {"stop_after_correct": 1, "max_tokens": 400}}, rounds=2)
    found = drawn(rounds)
    assert found == {f"p{i}" for i in range(4000) if split_of(rounds).part(f"p{i}") == "heldout"}
    family = min(found)
    whole = rollout_for(rounds, family, family)
    assert whole.cut is not None
    assert whole.cut.below == float("-inf")
    assert whole.budget == Budget()
    other = next(f"p{i}" for i in range(4000) if f"p{i}" not in found)
    assert rollout_for(rounds, other, other) == rounds.rollout


@pytest.mark.parametrize(
    ("policy", "becomes"),
    [
        (ValueGuided(leaves=12), Fixed(branching=(12,))),
        (Beam(beams=2, width=3), Fixed(branching=(6,))),
        (Dvts(subtrees=3, width=4), Fixed(branching=(12,))),
        (Entropy(), Entropy()),
    ],
)
def test_nothing_is_cut_or_stopped_early_and_steps_are_scored_still(policy: Any, becomes: Any) -> None:
    cut = Cut(model="prm", below=0.4)
    budget = Budget(stop_after_correct=1, max_tokens=500, max_wall_s=9)
    whole = unpruned(Rollout(policy=policy, cut=cut, budget=budget))
    assert whole.policy == becomes
    assert whole.cut is not None
    assert whole.cut.model == "prm"
    assert whole.cut.below == float("-inf")
    assert whole.budget == Budget(max_wall_s=9)


def test_a_search_without_unbiased_values_becomes_independent_samples() -> None:
    whole = unpruned(Rollout(policy=Omega(chains=5, early_exit=True)))
    assert (whole.policy, whole.cut) == (BestOfN(n=5), None)
    assert unpruned(Rollout(policy=Omega(chains=5))).policy == Omega(chains=5)
