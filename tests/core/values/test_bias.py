"""Every label and pass rate that leaves a search, against the truth of the synthetic engine, policy by policy.

The cases are those of tests/benchmarks/bias.py, with larger shares spared, so that as few problems tell: as many that
the figure is known to ERROR, else a bias could hide in it, and at least 250, for the intervals. What its control
variates explain of a mean is chance, and is left out. `mcts`, `omega` and `shepherd` sample whole solutions: `cut` has
nothing to act on. Labels are read back as they were stored.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from berry.pipeline.config.sections.rollout.rollout import Budget, Cut
from berry.pipeline.core.search.policies.beam import Beam
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.policies.dvts import Dvts
from berry.pipeline.core.search.policies.entropy import Entropy
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.search.policies.mcts import Mcts
from berry.pipeline.core.search.policies.omega import Omega
from berry.pipeline.core.search.policies.shepherd import Shepherd
from berry.pipeline.core.search.policies.value import ValueGuided

MOST = 0.02  # of a mean bias
ERROR = 0.014  # two standard errors of it, at most
SPARE = 0.5
CUT = {"cut": Cut(below=0.3, spare=SPARE, speculative=False)}
CASES: list[tuple[str, Any, dict[str, Any], int]] = [
    ("best_of_n", BestOfN(n=16), {}, 400),
    ("fixed", Fixed(branching=(8, 2, 2)), {}, 400),
    ("entropy", Entropy(chains=8, forks=2, rounds=1, branches=2), {}, 400),
    ("shepherd", Shepherd(chains=4, completions=4), {}, 250),
    ("omega", Omega(chains=8, completions=4, searches=2), {}, 400),
    ("mcts", Mcts(simulations=16, parallel=8, width=8), {}, 400),
    ("value", ValueGuided(leaves=12, chains=8, spare=SPARE), {}, 300),
    ("beam", Beam(beams=4, width=4, spare=SPARE), {}, 600),
    ("dvts", Dvts(subtrees=4, width=4, spare=SPARE), {}, 700),
    ("best_of_n, cut", BestOfN(n=16), CUT, 400),
    ("fixed, cut", Fixed(branching=(8, 2)), CUT, 400),
    ("entropy, cut", Entropy(chains=8, forks=1, rounds=1, branches=2), CUT, 600),
    ("value, cut", ValueGuided(leaves=12, chains=8, spare=SPARE), CUT, 300),
    ("beam, cut", Beam(beams=4, width=4, spare=SPARE), CUT, 800),
    ("dvts, cut", Dvts(subtrees=4, width=4, spare=SPARE), CUT, 800),
    ("stopped in order", BestOfN(n=32), {"budget": Budget(stop_after_correct=3, hopeless_after=12)}, 700),
    ("leaves given to others", BestOfN(n=8), {"budget": Budget(stop_after_correct=3, reallocate=True)}, 500),
    ("speculative cut", Fixed(branching=(8, 2)), {"cut": CUT["cut"].model_copy(update={"speculative": True})}, 400),
]
NULL: list[tuple[str, Any, dict[str, Any]]] = [
    ("stopped early", Fixed(branching=(4, 2)), {"budget": Budget(stop_after_correct=2)}),
    ("stopped by the first pass", BestOfN(n=8), {"budget": Budget(stop_after_correct=1)}),
    ("out of tokens", BestOfN(n=8), {"budget": Budget(max_tokens=120)}),
    ("nothing spared", Beam(beams=2, width=4, spare=0), {}),
    ("early exit", Omega(chains=4, completions=4, early_exit=True), {}),
]


def assert_fair(controls: dict[int, list[float]]) -> None:
    """What a mean is corrected by has mean zero itself: the search has not chosen its samples by what they say."""
    drawn = np.array(list(controls.values()))
    drawn = drawn[:, drawn.std(axis=0) > 0]
    assert drawn.shape[1] >= 10, "six steps, after a right total and, from the second on, after a wrong one"
    standard_errors = drawn.std(axis=0, ddof=1) / len(drawn) ** 0.5
    assert np.all(abs(drawn.mean(axis=0)) < 4.5 * standard_errors)


def test_a_control_takes_chance_out_of_a_mean_and_leaves_the_bias_in(bias: Any) -> None:
    rng = np.random.default_rng(3)
    chance, weights, rest = rng.normal(size=(200, 2)), rng.uniform(1, 5, 200), rng.normal(0, 0.01, 200)

    def errors(added: float) -> Any:
        found = bias.Errors(controls={i: [*row] for i, row in enumerate(chance)})
        for i, (row, weight) in enumerate(zip(chance, weights, strict=True)):
            found.add(i, added + (0.3 * row[0] - 0.2 * row[1] + rest[i]) / weight, weight)
        return found

    true, biased = errors(0.0), errors(0.03)
    assert abs(true.bias) <= true.two_sigma < 0.001
    assert biased.bias == pytest.approx(true.bias + 0.03, abs=1e-9)
    assert biased.two_sigma == pytest.approx(true.two_sigma)
    true.controls = {}
    assert true.two_sigma > 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("name", "policy", "rollout", "problems"), CASES, ids=[c[0] for c in CASES])
def test_labels_and_pass_rates_are_true_in_the_mean(
    core: Any, bias: Any, name: str, policy: Any, rollout: dict[str, Any], problems: int
) -> None:
    measured = bias.measure(core, policy, problems=problems, shuffle=True, steps=6, pooling=False, **rollout)
    assert_fair(measured.labels.controls)
    print(
        f"\n{name}: pass rate {measured.root.bias:+.3f} ± {measured.root.two_sigma:.3f}, labels "
        f"{measured.labels.bias:+.3f} ± {measured.labels.two_sigma:.3f}, {measured.labels.null_share:.0%} null, "
        f"coverage {measured.nodes.coverage} {measured.labels.coverage}"
    )
    for errors in (measured.root, measured.labels):
        assert errors.two_sigma < ERROR, "too few problems to tell a bias from chance"
        assert abs(errors.bias) <= MOST
    for errors in (measured.nodes, measured.labels):
        assert len(errors.covered) < 100 or errors.coverage >= 0.92


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "problems"),
    [(BestOfN(n=4), 2000), (BestOfN(n=8), 600), (Fixed(branching=(8, 2)), 600)],
    ids=["4 samples", "8 samples", "fixed"],
)
def test_intervals_of_what_a_cut_has_left_hold_the_truth_at_the_default_share(
    core: Any, bias: Any, policy: Any, problems: int
) -> None:
    """Trees of which nothing was cut are those that looked good: their chains alone would say too much."""
    cut = Cut(below=0.1, speculative=False)
    measured = bias.measure(core, policy, problems=problems, labels=False, pooling=False, cut=cut)
    print(f"\n{policy.type}: {len(measured.nodes.covered)} nodes, coverage {measured.nodes.coverage}")
    assert len(measured.nodes.covered) >= 30
    assert measured.nodes.coverage >= 0.92


@pytest.mark.parametrize(("name", "policy", "rollout"), NULL, ids=[c[0] for c in NULL])
def test_what_can_not_be_told_is_null(core: Any, bias: Any, name: str, policy: Any, rollout: dict[str, Any]) -> None:
    measured = bias.measure(core, policy, problems=4, **rollout)
    assert measured.root.null_share == 1.0, name
    assert measured.labels.null_share == 1.0, name
