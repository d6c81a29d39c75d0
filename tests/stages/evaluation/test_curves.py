"""Curves of a benchmark: which budgets are drawn, what they cost, what a band of unchecked answers does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from berry.pipeline.errors import InputError
from berry.pipeline.stages.evaluation.chains import ProblemAnswers, ScoredAnswer
from berry.pipeline.stages.evaluation.comparing import compare_runs
from berry.pipeline.stages.evaluation.compute import ForwardCost, Price, cost_of
from berry.pipeline.stages.evaluation.curves import ALL, evaluate_chains, evaluate_search, merged


def problem(i: int, right: int, total: int = 8, unchecked: int = 0) -> ProblemAnswers:
    answers = [
        ScoredAnswer(
            None if j < unchecked else j < right + unchecked,
            "a" if j < right else f"w{j % 3}",
            10 + j,
            {"orm": 1 / (1 + j)},
        )
        for j in range(total)
    ]
    return ProblemAnswers(f"p{i}", "sums", 20, tuple(answers), sum(a.tokens for a in answers))


def test_budgets_that_not_every_problem_fills_are_not_drawn():
    told = evaluate_chains([problem(0, 4), problem(1, 2, total=5)], [1, 4, 8], {})
    assert {p.budget for p in told.points if p.method == "pass@k"} == {1, 4}
    assert any("8 samples are not drawn: 1 of 2 problems have fewer than 8" in line for line in told.left_out)
    assert any("by prm" in line for line in told.left_out)
    assert {p.budget for p in told.points if p.method == "pass@1"} == {1}


def test_points_are_means_over_problems_with_difficulties_apart():
    told = evaluate_chains([problem(0, 8), problem(1, 0), problem(2, 4)], [1, 2], {})
    at = {(p.difficulty, p.method, p.budget): p for p in told.points}
    assert at[ALL, "pass@1", 1].accuracy == pytest.approx(0.5)
    assert at["easy", "pass@1", 1].accuracy == 1.0
    assert at["hard", "pass@1", 1].accuracy == 0.0
    assert at["medium", "pass@1", 1].problems == 1
    assert at["medium", "pass@1", 1].low is None
    low, high = at[ALL, "pass@1", 1].low, at[ALL, "pass@1", 1].high
    assert low is not None
    assert high is not None
    assert low < 0.5 < high


def test_unchecked_answers_are_a_band_and_never_wrong():
    told = evaluate_chains([problem(0, 4, unchecked=2), problem(1, 4)], [1, 2], {})
    point = next(p for p in told.points if p.method == "pass@1" and p.difficulty == ALL)
    assert point.accuracy == pytest.approx((4 / 6 + 4 / 8) / 2)
    assert point.unchecked_low == pytest.approx((4 / 8 + 4 / 8) / 2)
    assert point.unchecked_high == pytest.approx((6 / 8 + 4 / 8) / 2)


def test_costs_count_prompt_once_and_value_models():
    one = problem(0, 4)
    models = {"generator": ForwardCost(100.0, 5.0), "orm": ForwardCost(10.0, 1.0)}
    mean = sum(a.tokens for a in one.answers) / 8
    bare = cost_of(one, 2, None, models)
    assert bare.generated == pytest.approx(2 * mean)
    assert bare.forward == pytest.approx(20 + 2 * mean)
    responses = sum(2 * 100 * a.tokens + 4 * 5 * sum(20 + k + 1 for k in range(a.tokens)) for a in one.answers) / 8
    prompt = 2 * 100 * 20 + 4 * 5 * sum(k + 1 for k in range(20))
    assert bare.flop == pytest.approx(prompt + 2 * responses)
    scored = cost_of(one, 2, "orm", models, Price("there", 10.0, 36.0))
    assert scored.forward == pytest.approx(2 * bare.forward)
    assert scored.flop is not None
    assert scored.flop > (bare.flop or 0)
    assert scored.seconds == pytest.approx(2 * mean / 10)
    assert scored.usd == pytest.approx(2 * mean / 10 / 100)
    assert cost_of(one, 2, "prm", models).flop is None


def test_comparisons_growth_and_crossings_are_told():
    told = evaluate_chains([problem(i, 5) for i in range(12)], [1, 2, 4, 8], {})
    assert {(c.first, c.second) for c in told.comparisons} >= {("pass@1", "majority"), ("majority", "best-of-N, orm")}
    growth = {g.method: g for g in told.growth}
    assert growth["pass@k"].fit.per_doubling > 0
    assert "pass@1" not in growth


def test_a_search_is_one_point_a_way_of_choosing():
    searched = [replace(problem(i, 4), weights=(1 / 8,) * 8) for i in range(3)]
    told = evaluate_search(searched, "beam", 8, {})
    assert {p.method for p in told.points} == {"beam, majority", "beam, any", "beam, orm"}
    assert all(p.budget == 8 and not p.subsampled and p.problems == 3 for p in told.points)
    unknown = replace(problem(3, 0, total=2, unchecked=2), weights=(0.5, 0.5))
    banded = evaluate_search(
        [*searched, replace(problem(4, 4, unchecked=1), weights=(1 / 8,) * 8), unknown], "b", 8, {}
    )
    chosen = next(p for p in banded.points if p.method == "b, orm")
    assert (chosen.problems, chosen.unchecked_low, chosen.unchecked_high) == (4, 3 / 4, 1.0)
    assert "sums: b, any: 1 problems of which no answer could be checked" in banded.left_out
    both = merged([told, evaluate_chains([problem(0, 4)], [1], {})])
    assert len(both.points) > len(told.points)


def test_two_runs_are_compared_on_the_problems_of_both():
    first = [problem(i, 2) for i in range(10)]
    second = [problem(i, 6) for i in range(5, 15)]
    lines = compare_runs(first, second, [1], first="a", second="b")
    assert lines[0].endswith("on 5 problems of both:")
    assert any("pass@1 at 1: +50.0" in line for line in lines)
    with pytest.raises(InputError, match="share no problem"):
        compare_runs(first[:2], second, [1], first="a", second="b")
