from __future__ import annotations

import pytest

from berry.pipeline.config.sections.rollout import Budget, Cut, Rollout
from berry.pipeline.core.search.audit import is_audited, prunes, unpruned
from berry.pipeline.core.search.beam import Beam
from berry.pipeline.core.search.best_of_n import BestOfN
from berry.pipeline.core.search.dvts import Dvts
from berry.pipeline.core.search.entropy import Entropy
from berry.pipeline.core.search.fixed import Fixed
from berry.pipeline.core.search.value import Value


def test_the_share_is_met_and_the_same_problems_are_drawn_again() -> None:
    rollout = Rollout(policy=Value(), audit_share=0.25)
    drawn = {i for i in range(4000) if is_audited(f"p{i}", rollout, run_seed=1)}
    assert 900 < len(drawn) < 1100
    wider = rollout.model_copy(update={"audit_share": 0.5})
    assert all(is_audited(f"p{i}", wider, run_seed=1) for i in drawn)
    assert drawn != {i for i in range(4000) if is_audited(f"p{i}", rollout, run_seed=2)}


def test_without_a_cut_there_is_nothing_to_audit() -> None:
    rollout = Rollout(policy=BestOfN(n=4), audit_share=0.99)
    assert not prunes(rollout)
    assert not any(is_audited(f"p{i}", rollout, run_seed=1) for i in range(50))


@pytest.mark.parametrize(
    ("policy", "becomes"),
    [
        (Value(leaves=12), Fixed(branching=(12,))),
        (Beam(beams=2, width=3), Fixed(branching=(6,))),
        (Dvts(subtrees=3, width=4), Fixed(branching=(12,))),
        (Entropy(), Entropy()),
    ],
)
def test_nothing_is_cut_or_stopped_early_and_steps_are_scored_still(policy, becomes) -> None:
    cut = Cut(model="prm", below=0.4)
    budget = Budget(stop_after_correct=1, max_tokens=500)
    whole = unpruned(Rollout(policy=policy, cut=cut, budget=budget))
    assert whole.policy == becomes
    assert whole.cut is not None
    assert whole.cut.model == "prm"
    assert whole.cut.below == float("-inf")
    assert whole.budget == Budget(max_tokens=500)
