"""Curves of a benchmark: which budgets are drawn, what they cost, what a band of unchecked answers does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from berry.pipeline.errors import InputError
from berry.pipeline.stages.evaluation.axis import Axis
from berry.pipeline.stages.evaluation.chains import ProblemAnswers, ScoredAnswer
from berry.pipeline.stages.evaluation.comparing import compare_runs
from berry.pipeline.stages.evaluation.compute import ForwardCost, Price, cost_of
from berry.pipeline.stages.evaluation.curves import ALL, EvalCurves, draw_curves
from berry.pipeline.stages.evaluation.measure import Measurement, measure_chains, measure_search


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
    tokens = sum(a.tokens for a in answers)
    return ProblemAnswers(f"p{i}", "sums", 20, tuple(answers), tokens, tuple((a.tokens, 20) for a in answers))


def evaluate_chains(problems: list[ProblemAnswers], budgets: list[int]) -> EvalCurves:
    return draw_curves(measure_chains(problems, budgets, {}))


def test_budgets_that_not_every_problem_fills_are_not_drawn():
    told = evaluate_chains([problem(0, 4), problem(1, 2, total=5)], [1, 4, 8])
    assert {p.budget for p in told.points if p.method == "pass@k"} == {1, 4}
    assert any("8 samples are not drawn: 1 of 2 problems have fewer than 8" in line for line in told.left_out)
    assert any("by logprob" in line for line in told.left_out)
    assert any("by prm" in line for line in told.left_out)
    assert {p.budget for p in told.points if p.method == "pass@1"} == {1}


def test_points_are_means_over_problems_with_difficulties_apart():
    told = evaluate_chains([problem(0, 8), problem(1, 0), problem(2, 4)], [1, 2])
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
    told = evaluate_chains([problem(0, 4, unchecked=2), problem(1, 4)], [1, 2])
    point = next(p for p in told.points if p.method == "pass@1" and p.difficulty == ALL)
    assert point.accuracy == pytest.approx((4 / 6 + 4 / 8) / 2)
    assert point.unchecked_low == pytest.approx((4 / 8 + 4 / 8) / 2)
    assert point.unchecked_high == pytest.approx((6 / 8 + 4 / 8) / 2)


def test_costs_count_prompt_once_and_value_models():
    one = problem(0, 4)
    models = {"generator": ForwardCost(100.0, 5.0), "orm": ForwardCost(10.0, 1.0)}
    mean = sum(a.tokens for a in one.answers) / 8
    bare = cost_of(one, 2, (), models)
    assert bare.generated_tokens == pytest.approx(2 * mean)
    assert bare.forward_tokens == pytest.approx(20 + 2 * mean)
    responses = sum(2 * 100 * a.tokens + 4 * 5 * sum(20 + k + 1 for k in range(a.tokens)) for a in one.answers) / 8
    prompt = 2 * 100 * 20 + 4 * 5 * sum(k + 1 for k in range(20))
    assert bare.flop == pytest.approx(prompt + 2 * responses)
    price = Price("there", {frozenset(): 10.0, frozenset({"orm"}): 5.0}, 36.0)
    scored = cost_of(one, 2, ("orm",), models, price)
    assert scored.forward_tokens == pytest.approx(2 * bare.forward_tokens)
    assert scored.flop is not None
    assert scored.flop > (bare.flop or 0)
    assert scored.seconds == pytest.approx(2 * mean / 5)
    assert scored.usd == pytest.approx(2 * mean / 5 / 100)
    unplanned = cost_of(one, 2, ("prm",), models, price)
    assert (unplanned.flop, unplanned.seconds, unplanned.usd) == (None, None, None)


def test_a_shared_prefix_is_computed_once_and_a_tool_s_words_are_read_but_not_generated():
    models = {"generator": ForwardCost(100.0, 5.0)}
    apart = replace(problem(0, 1, total=2), generated=60, segments=((30, 20), (30, 20)))
    tree = replace(apart, generated=40, segments=((20, 20), (10, 40), (10, 40)))
    called = replace(tree, generated=30)  # of the last ten tokens a tool said all
    costs = [cost_of(one, None, (), models) for one in (apart, tree, called)]
    assert [c.generated_tokens for c in costs] == [60, 40, 30]
    assert [c.forward_tokens for c in costs] == [80, 60, 60]
    way = [2 * 100 + 4 * 5 * (k + 1) for k in range(50)]  # of the token at each place
    assert costs[0].flop == pytest.approx(sum(way[:20]) + 2 * sum(way[20:]))
    assert costs[1].flop == pytest.approx(sum(way[:40]) + 2 * sum(way[40:]))


def test_layers_with_a_window_look_back_no_further():
    model = ForwardCost(0.0, 1.0, window=8, windowed_share=0.5)
    for behind in (0, 5, 8, 30):
        places = range(behind + 1, behind + 13)
        assert model.flop(12, behind) == pytest.approx(4 * sum((p + min(p, 8)) / 2 for p in places))


def test_comparisons_growth_and_crossings_are_told():
    told = evaluate_chains([problem(i, 5) for i in range(12)], [1, 2, 4, 8])
    assert {(c.first, c.second) for c in told.comparisons} >= {("pass@1", "majority"), ("majority", "best-of-N, orm")}
    growth = {g.method: g for g in told.growth}
    assert growth["pass@k"].fit.per_doubling > 0
    assert "pass@1" not in growth


def test_a_search_is_one_point_a_way_of_choosing():
    searched = [replace(problem(i, 4), weights=(1 / 8,) * 8) for i in range(3)]
    told = draw_curves(measure_search(searched, "beam", 8, {}))
    assert {p.method for p in told.points} == {"beam, majority", "beam, any", "beam, orm"}
    assert all(p.budget == 8 and not p.subsampled and p.problems == 3 for p in told.points)
    unknown = replace(problem(3, 0, total=2, unchecked=2), weights=(0.5, 0.5))
    odd = replace(problem(4, 4, unchecked=1), weights=(1 / 8,) * 8)
    banded = draw_curves(measure_search([*searched, odd, unknown], "b", 8, {}))
    chosen = next(p for p in banded.points if p.method == "b, orm")
    assert (chosen.problems, chosen.unchecked_low, chosen.unchecked_high) == (4, 3 / 4, 1.0)
    assert "sums: b, any: 1 problems of which no answer could be checked" in banded.left_out


def search(problems: list[ProblemAnswers], budget: int, right: int) -> Measurement:
    """A search of three problems at a budget of so many answers, that many of them right."""
    leaves = [replace(problem(i, right, total=budget), weights=(1 / budget,) * budget) for i in range(len(problems))]
    return measure_search(leaves, "beam", budget, {}, scorers=("orm",))


def test_searches_are_compared_with_chains_where_they_cost_the_same():
    pool = [problem(i, 3) for i in range(12)]
    chains = measure_chains(pool, [1, 2, 4, 8], {})
    told = draw_curves(Measurement.merged([chains, search(pool, 1, 0), search(pool, 2, 0), search(pool, 5, 5)]))
    (pair,) = [c for c in told.comparisons if (c.first, c.second) == ("majority", "beam, majority")]
    most = next(p for p in told.points if p.method == "beam, majority" and p.budget == 5)
    assert pair.cost == pytest.approx(most.generated_tokens)
    majority = {p.budget: p for p in told.points if p.method == "majority" and p.difficulty == ALL}
    below, above = majority[4], majority[8]
    assert below.generated_tokens < pair.cost < above.generated_tokens
    share = np.log2(pair.cost / below.generated_tokens) / np.log2(above.generated_tokens / below.generated_tokens)
    there = (1 - share) * below.accuracy + share * above.accuracy
    assert pair.told.mean == pytest.approx(1 - there)
    assert {(x.first, x.second) for x in told.crossovers} >= {("majority", "beam, majority")}
    assert not any("orm" in (c.first + c.second) and "majority" in (c.first, c.second) for c in told.comparisons if
        "beam" in c.first + c.second)  # fmt: skip
    assert {g.method for g in told.growth} >= {"beam, majority", "beam, any"}
    assert {p.difficulty for p in told.points if p.method == "beam, any"} == {ALL}


def test_a_search_s_own_scorer_counts_whatever_chooses():
    pool = [problem(i, 3) for i in range(2)]
    asked, free = (measure_search(
        [replace(p, weights=(1 / 8,) * 8) for p in pool], "s", 8, {}, scorers=scorers) for scorers in (("orm",), ())
    )  # fmt: skip
    forward = [m.columns[0].cost(Axis.FORWARD_TOKENS) for m in (asked, free)]
    assert forward[0] == pytest.approx(2 * (forward[1] or 0))


def test_difficulty_of_a_search_is_the_generator_s_own_pass_rate():
    pool = [problem(0, 8), problem(1, 0), problem(2, 4)]
    told = draw_curves(Measurement.merged([measure_chains(pool, [1], {}), search(pool, 2, 2)]))
    bands = {p.difficulty: p.problems for p in told.points if p.method == "beam, any"}
    assert bands == {ALL: 3, "easy": 1, "hard": 1, "medium": 1}


def test_an_axis_whose_cost_is_not_known_is_said():
    told = draw_curves(measure_chains([problem(i, 3) for i in range(3)], [1, 2], {}), axis=Axis.FLOP)
    assert told.comparisons == ()
    assert any("not compared by flop, which is not known: pass@1" in line for line in told.left_out)


def test_two_runs_are_compared_on_the_problems_of_both():
    first = [problem(i, 2) for i in range(10)]
    second = [problem(i, 6) for i in range(5, 15)]
    lines = compare_runs(first, second, [1], first="a", second="b")
    assert lines[0].endswith("on 5 problems of both:")
    assert any("pass@1 at 1: +50.0" in line for line in lines)
    with pytest.raises(InputError, match="share no problem"):
        compare_runs(first[:2], second, [1], first="a", second="b")
