"""What a run can't prune by itself is said before it starts."""

from __future__ import annotations

import pytest

from berry.pipeline.core.prune.exact_duplicate import ExactDuplicateRule
from berry.pipeline.core.prune.reach import explain_reach
from berry.pipeline.core.prune.verdict import VerdictRule

EXACT = (VerdictRule(), ExactDuplicateRule())


def test_variants_in_other_leases_are_told() -> None:
    (note,) = explain_reach(EXACT, problems=5000, variants=1200, lease_problems=64)
    assert "1,200" in note
    assert "64" in note
    assert "berry reprune" in note


@pytest.mark.parametrize(
    ("rules", "problems", "variants"),
    [(EXACT, 5000, 0), (EXACT, 64, 10), ((VerdictRule(),), 5000, 1200)],
    ids=["no variants", "one lease", "no such rule"],
)
def test_nothing_is_said_where_nothing_is_missed(rules, problems, variants) -> None:
    assert not list(explain_reach(rules, problems=problems, variants=variants, lease_problems=64))
