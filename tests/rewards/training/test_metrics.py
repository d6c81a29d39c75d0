from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berry.pipeline.rewards.training import metrics
from berry.pipeline.rewards.training.metrics import ScoredLeaf, ScoredSteps

PAIRS = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30)


@given(PAIRS)
def test_auc_is_the_share_of_pairs_in_order(pairs: list[tuple[int, bool]]) -> None:
    good = [s for s, label in pairs if label]
    bad = [s for s, label in pairs if not label]
    value = metrics.auc([float(s) for s, _ in pairs], [label for _, label in pairs])
    if not good or not bad:
        assert value is None
        return
    counted = sum((g > b) + 0.5 * (g == b) for g in good for b in bad) / (len(good) * len(bad))
    assert value == pytest.approx(counted)


def test_a_calibrated_score_has_little_error_and_an_overconfident_one_much() -> None:
    rng = random.Random(0)
    scores = [rng.random() for _ in range(5000)]
    labels = [float(rng.random() < s) for s in scores]
    assert metrics.calibration(scores, labels)[0] < 0.03
    assert metrics.calibration([float(s > 0.5) for s in scores], labels)[0] > 0.2


def test_first_errors_counts_exact_hits_and_quiet_rights() -> None:
    steps = [
        ScoredSteps((0.9, 0.2, 0.1), (True, False, False)),  # found at 1
        ScoredSteps((0.9, 0.8, 0.1), (True, False, False)),  # claimed at 2: missed
        ScoredSteps((0.9, 0.9), (True, True)),  # left alone
        ScoredSteps((0.3, 0.9), (True, True)),  # wrongly accused
    ]
    found = metrics.first_errors(steps, 0.5)
    assert (found.wrong_accuracy, found.right_accuracy, found.f1) == (0.5, 0.5, 0.5)
    assert metrics.first_errors(steps[2:], 0.5).f1 is None


def test_the_threshold_is_the_one_that_separates() -> None:
    steps = [ScoredSteps((0.9, 0.35), (True, False)), ScoredSteps((0.45, 0.9), (True, True))]
    assert 0.35 < metrics.best_threshold(steps) <= 0.45


def test_f1_of_bad_ones() -> None:
    assert metrics.f1_of_bad([0.1, 0.2, 0.9], [False, True, True], 0.5) == pytest.approx(2 / 3)
    assert metrics.f1_of_bad([0.1], [True], 0.5) is None


def test_a_chain_that_was_forked_often_has_one_vote() -> None:
    forked = [ScoredLeaf(False, "7", {}, weight=1 / 12) for _ in range(4)]
    alone = [ScoredLeaf(True, "3", {}, weight=1 / 3) for _ in range(2)]
    spared = [ScoredLeaf(False, "7", {}, weight=0.0) for _ in range(9)]
    picked = metrics.best_of_n([[*forked, *alone, *spared]])
    assert picked["majority"] == 1.0
    assert picked["random"] == pytest.approx(2 / 3)
    assert "random" not in metrics.best_of_n([spared]), "no leaf has a vote"


def test_best_of_n_by_score_majority_random_and_verifier() -> None:
    problem = [
        ScoredLeaf(True, "4", {"orm": 0.9}),
        ScoredLeaf(False, "5", {"orm": 0.1}),
        ScoredLeaf(False, "5", {"orm": 0.2}),
        ScoredLeaf(False, None, {"orm": 0.3}),
    ]
    picked = metrics.best_of_n([problem])
    assert picked == {"random": 0.25, "verifier": 1.0, "majority": 0.0, "orm": 1.0}


def test_a_constant_score_picks_like_chance() -> None:
    problems = [[ScoredLeaf(i == 0, str(i), {"flat": 0.5}) for i in range(4)] for _ in range(400)]
    assert metrics.best_of_n(problems)["flat"] == pytest.approx(0.25, abs=0.07)


def test_correlation() -> None:
    assert metrics.correlation([1, 2, 3], [2, 4, 6]) == pytest.approx(1.0)
    assert metrics.correlation([1, 1], [2, 3]) is None


def test_weights_count_a_label_as_often_as_they_say() -> None:
    scores, labels = [0.2, 0.25, 0.8], [0.0, 1.0, 1.0]
    error, bins = metrics.calibration(scores, labels, [1.0, 3.0, 2.0])
    repeated = [0.2, 0.25, 0.25, 0.25, 0.8, 0.8], [0.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert error == pytest.approx(metrics.calibration(*repeated)[0])
    assert [(b.score, b.label, b.count) for b in bins] == [(pytest.approx(0.2375), 0.75, 2), (0.8, 1.0, 1)]
    assert metrics.brier(scores, labels, [1.0, 3.0, 2.0]) == pytest.approx(metrics.brier(*repeated))
    assert metrics.calibration([0.5], [1.0], [0.0]) == (0.0, [])
    assert metrics.brier([0.5], [1.0], [0.0]) is None
