"""Each pruning rule alone, and the order in which they apply."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from berry.pipeline.config.sections.rollout.pruning import PruneRule
from berry.pipeline.core.prune import Decision, prune
from berry.pipeline.core.prune.difficulty import DifficultyRule
from berry.pipeline.core.prune.diversity import DiversityRule
from berry.pipeline.core.prune.exact_duplicate import ExactDuplicateRule
from berry.pipeline.core.prune.format import FormatRule
from berry.pipeline.core.prune.length import LengthRule
from berry.pipeline.core.prune.near_duplicate import NearDuplicateRule
from berry.pipeline.core.prune.orm import OrmRule
from berry.pipeline.core.prune.prm import PrmRule
from berry.pipeline.core.prune.shortest import ShortestRule
from berry.pipeline.core.prune.similarity import jaccard, leaders, shingles
from berry.pipeline.core.prune.verdict import VerdictRule
from berry.pipeline.core.values.estimate import Value
from berry.pipeline.records import DropReason, Trajectory
from berry.verifiers.base import Outcome, Reason, Verdict

PASS = Verdict(Outcome.PASS, Reason.CORRECT)
FAIL = Verdict(Outcome.FAIL, Reason.WRONG_ANSWER)
UNSURE = Verdict(Outcome.UNVERIFIABLE, Reason.SANDBOX_FAULT)

Make = Callable[..., Trajectory]


@pytest.fixture
def make() -> Make:
    numbers = itertools.count()

    def one(response: str = "", *, verdict: Verdict | None = PASS, n_tokens: int = 10, **fields: object) -> Trajectory:
        name = f"t{next(numbers)}"
        values = {"leaf": name, "path": (name,), "n_new_tokens": n_tokens, **fields}
        return Trajectory(
            trajectory_id=name, problem_id="p", response=response, verdict=verdict, n_tokens=n_tokens, **values
        )

    return one


def reasons(trajectories: list[Trajectory], *rules: PruneRule, seen: set[bytes] | None = None) -> list[str | None]:
    return [d.reason.value if d.reason else None for d in prune(trajectories, rules, seen=seen)]


def test_verdict_tells_wrong_from_unchecked(make: Make) -> None:
    given = [make(verdict=v) for v in (PASS, FAIL, UNSURE, None)]
    assert reasons(given, VerdictRule()) == [None, "wrong", "unverifiable", "unverifiable"]
    assert prune(given[:2], [VerdictRule()]) == [Decision(True), Decision(False, DropReason.WRONG)]


def test_what_was_dropped_while_growing_keeps_its_reason(make: Make) -> None:
    given = [make(verdict=None, drop_reason=reason) for reason in (DropReason.TRUNCATED, DropReason.CUT_IN_LOOP)]
    assert reasons(given, VerdictRule()) == ["truncated", "cut_in_loop"]
    assert reasons(given) == ["truncated", "cut_in_loop"]


def test_the_first_rule_that_drops_gives_the_reason(make: Make) -> None:
    given = [make(verdict=FAIL, n_tokens=100), make(n_tokens=100), make()]
    length, verdict = LengthRule(max_tokens=50), VerdictRule()
    assert reasons(given, verdict, length) == ["wrong", "length", None]
    assert reasons(given, length, verdict) == ["length", "length", None]


def test_rules_see_what_earlier_rules_left(make: Make) -> None:
    given = [make(n_tokens=n, orm=o) for n, o in ((1, 0.1), (2, 0.9), (3, 0.8), (4, 0.7))]
    assert reasons(given, OrmRule(at_least=0.5), ShortestRule(k=1)) == [
        "low_orm",
        None,
        "not_shortest",
        "not_shortest",
    ]
    assert reasons(given, ShortestRule(k=1), OrmRule(at_least=0.5)) == ["low_orm", *["not_shortest"] * 3]


def test_format(make: Make) -> None:
    given = [make("so \\boxed{1}"), make("so 1"), make("sorry \\boxed{1}")]
    rule = FormatRule(must_match=(r"\\boxed\{.+\}",), must_not_match=(r"(?i)sorry",))
    assert reasons(given, rule) == [None, "format", "format"]


def test_length_absolute_and_relative_to_the_correct(make: Make) -> None:
    given = [make(n_tokens=10), make(n_tokens=20), make(n_tokens=30), make(n_tokens=500, verdict=FAIL)]
    assert reasons(given, LengthRule(min_tokens=15, max_tokens=100)) == ["length", None, None, "length"]
    assert reasons(given, LengthRule(max_ratio=1.2)) == [None, None, "length", "length"]
    assert reasons(given, LengthRule(min_ratio=0.8)) == ["length", None, None, None]
    assert reasons([make(n_tokens=500, verdict=FAIL)], LengthRule(max_ratio=1.2)) == [None]


def test_orm_threshold_rank_and_missing_scores(make: Make) -> None:
    given = [make(orm=o) for o in (0.2, 0.9, None, 0.9, 0.5)]
    assert reasons(given, OrmRule(at_least=0.5)) == ["low_orm", None, "low_orm", None, None]
    assert reasons(given, OrmRule(top_k=1)) == ["over_quota", None, "low_orm", "over_quota", "over_quota"]
    assert reasons(given, OrmRule(at_least=0.5, unscored="keep"))[2] is None


def test_prm_over_the_chosen_aggregate(make: Make) -> None:
    given = [make(prm_min=0.2, prm_last=0.9, prm_prod=0.1), make()]
    assert reasons(given, PrmRule(at_least=0.5)) == ["low_prm", "low_prm"]
    assert reasons(given, PrmRule(at_least=0.5, over="last", unscored="keep")) == [None, None]
    assert reasons(given, PrmRule(at_least=0.5, over="prod"))[0] == "low_prm"


TEXT = "first we add five and three to get eight then we double it and arrive at sixteen as the final answer"


def test_near_duplicates_leave_the_preferred_one(make: Make) -> None:
    changed = TEXT.replace("arrive at", "reach")
    other = "an integral by parts gives the logarithm of two minus one half"
    given = [
        make(TEXT, n_tokens=30, orm=0.1),
        make(changed, n_tokens=20, orm=0.9),
        make(other, n_tokens=40, orm=0.5),
    ]
    rule = NearDuplicateRule(threshold=0.6)
    assert reasons(given, rule) == [None, "duplicate", None]
    assert reasons(given, NearDuplicateRule(threshold=0.6, prefer="shortest")) == ["duplicate", None, None]
    assert reasons(given, NearDuplicateRule(threshold=0.6, prefer="orm")) == ["duplicate", None, None]
    assert reasons(given, NearDuplicateRule(threshold=1.0)) == [None, None, None]


def test_other_numbers_are_other_solutions(make: Make) -> None:
    given = [make("1 + 2 = 3 then 3 + 4 = 7"), make("5 + 6 = 11 then 11 + 8 = 19")]
    assert reasons(given, NearDuplicateRule(threshold=0.5)) == [None, None]


@given(st.lists(st.text("ab c", max_size=12), max_size=8), st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_leaders_are_as_alike_as_asked_and_lead_themselves(texts: list[str], threshold: float) -> None:
    found = leaders(texts, threshold=threshold, words=2, permutations=64)
    for i, leader in enumerate(found):
        assert leader <= i
        assert found[leader] == leader
        assert jaccard(shingles(texts[i], 2), shingles(texts[leader], 2)) >= threshold or leader == i
    equal = {t: i for i, t in reversed(list(enumerate(texts)))}
    assert all(found[i] == found[equal[t]] for i, t in enumerate(texts))


def test_many_texts_are_grouped_through_minhash_as_few_are_by_pairs() -> None:
    words = [
        "add",
        "take",
        "then",
        "so",
        "we",
        "get",
        "the",
        "sum",
        "of",
        "two",
        "more",
        "and",
        "less",
        "at",
        "last",
        "now",
        "here",
        "there",
    ]
    texts = [" ".join(random.Random(i % 40).choices(words, k=60)) + f" end {i // 40}" for i in range(120)]
    few = leaders(texts[:60], threshold=0.7, words=2, permutations=128)
    many = leaders(texts, threshold=0.7, words=2, permutations=128)
    assert many[:60] == few
    assert many == [i % 40 for i in range(120)]


def test_exact_duplicates_across_problems(make: Make) -> None:
    seen: set[bytes] = set()
    rule = ExactDuplicateRule(min_tokens=5)
    assert reasons([make("a  long answer"), make("a long\nanswer"), make("42", n_tokens=1)], rule, seen=seen) == [
        None,
        "duplicate",
        None,
    ]
    assert reasons([make("a long answer"), make("42", n_tokens=1)], rule, seen=seen) == ["duplicate", None]
    assert reasons([make("a long answer")], rule) == [None]


def test_a_wrong_copy_hides_no_right_one(make: Make) -> None:
    given = [make(TEXT, verdict=FAIL), make(TEXT)]
    assert reasons(given, VerdictRule(), ExactDuplicateRule(min_tokens=1)) == ["wrong", None]


def test_diversity_quotas_take_turns_over_clusters(make: Make) -> None:
    other = "an integral by parts gives the logarithm of two minus one half"
    given = [make(TEXT), make(TEXT + " indeed"), make(TEXT + " surely"), make(other)]
    assert reasons(given, DiversityRule(per_cluster=2)) == [None, None, "not_diverse", None]
    assert reasons(given, DiversityRule(per_cluster=2, per_problem=2)) == [None, "over_quota", "not_diverse", None]


def test_difficulty_is_by_the_unbiased_pass_rate_and_without_one_decides_nothing(make: Make) -> None:
    given = [make(), make(verdict=FAIL), make(verdict=UNSURE)]

    def dropped(rule: DifficultyRule, rate: float | None, **interval: float) -> list[DropReason | None]:
        value = Value(rate, **{"low": 0.1, "high": 0.9, "n": 2, "mass": 1.0, **interval})
        return [decision.reason for decision in prune(given, [VerdictRule(), rule], value=value)]

    left = [None, "wrong", "unverifiable"]
    assert dropped(DifficultyRule(low=0.4, high=0.6), 0.5) == left
    assert dropped(DifficultyRule(low=0.6), 0.5) == ["difficulty", "wrong", "unverifiable"]
    assert dropped(DifficultyRule(low=0.6), None) == left, "half of these pass, but of those that a cut has left"
    assert dropped(DifficultyRule(low=0.6), 4.2, mass=4.2, low=0.2, high=1.0, n=1) == left, "one stands for twenty"
    assert dropped(DifficultyRule(low=0.6), 0.0, mass=0.0, low=0.0, high=1.0, n=0) == left, "all were cut"
    assert dropped(DifficultyRule(low=0.6), 0.1, mass=0.9, low=0.0, high=0.4) == ["difficulty", *left[1:]]
    assert dropped(DifficultyRule(low=0.6, certain=True), 0.5) == left
    assert dropped(DifficultyRule(low=0.95, certain=True), 0.5) == ["difficulty", *left[1:]]
    assert dropped(DifficultyRule(low=0.6, min_checked=3), 0.5) == left


def test_shortest_keeps_k_correct_and_leaves_the_rest(make: Make) -> None:
    given = [make(n_tokens=5), make(n_tokens=3), make(n_tokens=1, verdict=FAIL), make(n_tokens=3), make(n_tokens=9)]
    assert reasons(given, ShortestRule(k=2)) == ["not_shortest", None, None, None, "not_shortest"]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"type": "orm"}, "at_least or top_k"),
        ({"type": "length"}, "min_tokens"),
        ({"type": "length", "min_tokens": 5, "max_tokens": 4}, "above"),
        ({"type": "difficulty", "low": 0.9, "high": 0.1}, "above"),
        ({"type": "format"}, "must_match"),
        ({"type": "format", "must_match": ["("]}, "regular expression"),
        ({"type": "nonsense"}, "nonsense"),
    ],
)
def test_rules_that_make_no_sense_are_refused(raw: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TypeAdapter(PruneRule).validate_python(raw)
