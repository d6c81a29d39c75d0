"""What a run can't prune by itself is said before it starts."""

from __future__ import annotations

import pytest

from berry.pipeline.config.sections.rollout.rollout import Budget, Cut, Rollout
from berry.pipeline.core.prune.difficulty import DifficultyRule
from berry.pipeline.core.prune.exact_duplicate import ExactDuplicateRule
from berry.pipeline.core.prune.reach import explain_reach
from berry.pipeline.core.prune.verdict import VerdictRule
from berry.pipeline.core.search.policies.beam import Beam
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.search.registry import search_class
from berry.pipeline.core.values.estimate import Scheme

EXACT = (VerdictRule(), ExactDuplicateRule())


def test_variants_in_other_leases_are_told() -> None:
    (note,) = explain_reach(EXACT, Scheme(), problems=5000, variants=1200, lease_problems=64)
    assert "1,200" in note
    assert "64" in note
    assert "berry reprune" in note


@pytest.mark.parametrize(
    ("rules", "problems", "variants"),
    [(EXACT, 5000, 0), (EXACT, 64, 10), ((VerdictRule(),), 5000, 1200)],
    ids=["no variants", "one lease", "no such rule"],
)
def test_nothing_is_said_where_nothing_is_missed(rules, problems, variants) -> None:
    assert not list(explain_reach(rules, Scheme(), problems=problems, variants=variants, lease_problems=64))


@pytest.mark.parametrize(
    ("rollout", "why"),
    [
        (Rollout(policy=Fixed(branching=(4, 2)), budget=Budget(stop_after_correct=2)), "verdicts"),
        (Rollout(policy=Beam(spare=0)), "spares none"),
        (Rollout(policy=BestOfN(n=4), cut=Cut(below=0.3, spare=0)), "spares none"),
        (Rollout(policy=Beam()), None),
        (Rollout(policy=BestOfN(n=8), budget=Budget(stop_after_correct=2)), None),
    ],
)
def test_a_difficulty_that_no_search_will_tell_is_said(rollout: Rollout, why: str | None) -> None:
    rules = (VerdictRule(), DifficultyRule(low=0.1))
    scheme = search_class(rollout.policy).scheme(rollout)
    notes = list(explain_reach(rules, scheme, problems=5, variants=0, lease_problems=64))
    if why is None:
        assert not notes
    else:
        assert why in notes[0]
        assert "berry annotate" in notes[0]
