"""Figures of methods are means over all subsets of a size; answers that could not be checked are no answers."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from math import ceil

import pytest

from berry.pipeline.stages.evaluation import methods
from berry.pipeline.stages.evaluation.chains import ProblemAnswers, ScoredAnswer
from berry.pipeline.stages.evaluation.methods import ORDER, Method, unchecked_band, weighted_votes

METHODS = {method.name: method for method in ORDER}


def pool(seed: int, size: int = 7) -> list[ScoredAnswer]:
    """Answers of three classes, of which `a` is right; scores that tie now and then; one gives no answer."""
    chance = random.Random(seed)
    made = [ScoredAnswer(False, None, 3, {"orm": 0.5})]
    for _ in range(size - 1):
        answer = chance.choice("aabc")
        made.append(ScoredAnswer(answer == "a", answer, 5, {"orm": chance.choice([0.1, 0.5, 0.7, 0.9])}))
    return made


def problem(answers: Sequence[ScoredAnswer]) -> ProblemAnswers:
    return ProblemAnswers("p", "b", 4, tuple(answers), sum(a.tokens for a in answers), ())


def over_subsets(answers: Sequence[ScoredAnswer], n: int, chosen: Callable[[Sequence[ScoredAnswer]], float]) -> float:
    values = [chosen(subset) for subset in combinations(answers, n)]
    return sum(values) / len(values)


def best(subset: Sequence[ScoredAnswer]) -> float:
    top = max(a.scores["orm"] for a in subset)
    alike = [a for a in subset if a.scores["orm"] == top]
    return sum(bool(a.passed) for a in alike) / len(alike)


def elected(weight: Callable[[ScoredAnswer], float]) -> Callable[[Sequence[ScoredAnswer]], float]:
    def chosen(subset: Sequence[ScoredAnswer]) -> float:
        votes: dict[str, float] = defaultdict(float)
        for a in subset:
            if a.answer is not None:
                votes[a.answer] += weight(a)
        if not votes:
            return 0.0
        most = max(votes.values())
        winners = [name for name, count in votes.items() if count >= most - 1e-9]
        return winners.count("a") / len(winners)

    return chosen


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("n", [1, 2, 3, 5, 7])
def test_closed_forms_are_means_over_subsets(seed: int, n: int):
    answers = pool(seed)
    told = {
        name: METHODS[name].value(problem(answers), n) for name in METHODS if METHODS[name].applies(problem(answers))
    }
    assert told["pass@k"] == pytest.approx(over_subsets(answers, n, lambda s: float(any(a.passed for a in s))))
    assert told["best-of-N, orm"] == pytest.approx(over_subsets(answers, n, best))
    for share in methods.G_PASS_SHARES:
        wanted = over_subsets(
            answers, n, lambda s, t=share: float(sum(bool(a.passed) for a in s) >= max(1, ceil(t * n)))
        )
        assert told[f"G-Pass@k {share:g}"] == pytest.approx(wanted)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [1, 3, 7])
def test_votes_are_means_over_drawn_subsets(seed: int, n: int):
    answers = pool(seed)
    wanted = over_subsets(answers, n, elected(lambda _: 1.0))
    weighted = over_subsets(answers, n, elected(lambda a: a.scores["orm"]))
    near = 1e-9 if n in (1, 7) else 0.08
    assert METHODS["majority"].value(problem(answers), n) == pytest.approx(wanted, abs=near)
    assert METHODS["majority, orm"].value(problem(answers), n) == pytest.approx(weighted, abs=near)


def test_draws_of_votes_are_unbiased():
    answers = pool(1)
    wanted = over_subsets(answers, 3, elected(lambda _: 1.0))
    told = [methods.votes()(answers, 3, f"problem {i}") for i in range(40)]
    assert sum(told) / len(told) == pytest.approx(wanted, abs=0.01)


def test_what_was_not_checked_is_left_out_and_banded():
    answers = [ScoredAnswer(True, "a", 5), ScoredAnswer(False, "b", 5), ScoredAnswer(None, "c", 5)]
    told = problem(answers)
    assert METHODS["pass@1"].value(told, 1) == 0.5
    assert unchecked_band(partial(METHODS["pass@1"].value, n=1), told) == pytest.approx((1 / 3, 2 / 3))
    assert METHODS["pass@k"].value(told, 3) is None  # two were checked
    assert unchecked_band(partial(METHODS["pass@k"].value, n=4), told) is None
    heavy = replace(told, weights=(0.3, 0.3, 0.4))
    assert unchecked_band(weighted_votes, heavy) == (0.0, 1.0), "the answer that was not checked leads"
    assert unchecked_band(weighted_votes, replace(told, weights=(0.5, 0.3, 0.2))) == (1.0, 1.0), "it changes nothing"


def test_a_method_needs_its_score_on_every_answer():
    scored, bare = ScoredAnswer(True, "a", 5, {"orm": 0.5}), ScoredAnswer(True, "a", 5)
    method = METHODS["best-of-N, orm"]
    assert method.applies(problem([scored]))
    assert not method.applies(problem([scored, bare]))
    assert method.reads == "orm"
    assert METHODS["best-of-N, prm_min"].reads == "prm"
    assert METHODS["majority"].reads is None


def test_leaf_weights_vote_in_searches():
    answers = (ScoredAnswer(False, "b", 5), ScoredAnswer(False, "b", 5), ScoredAnswer(True, "a", 5))
    told = ProblemAnswers("p", "b", 4, answers, 15, (), weights=(0.2, 0.2, 0.6))
    assert weighted_votes(told) == 1.0
    assert weighted_votes(ProblemAnswers("p", "b", 4, answers, 15, (), weights=(0.4, 0.4, 0.6))) == 0.0
    unknown = ProblemAnswers("p", "b", 4, (ScoredAnswer(None, "a", 5),), 5, (), weights=(1.0,))
    assert weighted_votes(unknown) is None


def test_names_are_unique():
    assert len(METHODS) == len(methods.ORDER)
    assert all(isinstance(method, Method) for method in methods.ORDER)
