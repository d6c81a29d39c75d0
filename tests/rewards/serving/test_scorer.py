from __future__ import annotations

import random

import pytest

from berry.pipeline.errors import EngineError
from berry.pipeline.rewards.serving.scorer import PrefixScorer


def test_kept_prefixes_change_no_value(tiny_model, alone, tree_of_ids) -> None:
    model = tiny_model()
    reader = PrefixScorer(model, keep_tokens=10_000, batch_tokens=300)
    prefixes = tree_of_ids(0) + tree_of_ids(1)
    random.Random(3).shuffle(prefixes)
    values = [v for start in range(0, len(prefixes), 7) for v in reader.values(prefixes[start : start + 7])]
    expected = [alone(model, ids) for ids in prefixes]
    assert values == pytest.approx(expected, abs=2e-5)
    assert max(expected) - min(expected) > 0.1  # else anything would pass


def test_a_tree_step_by_step_costs_each_token_once_where_the_naive_way_costs_many_times_that(
    tiny_model, tree_of_ids
) -> None:
    reader = PrefixScorer(tiny_model(), keep_tokens=10_000)
    prefixes = tree_of_ids(0)
    for ids in prefixes:  # one at a time, as a search asks
        reader.values([ids])
    leaves = [p for p in prefixes if not any(q[: len(p)] == p and q != p for q in prefixes)]
    once = sum(map(len, leaves))  # every trajectory's tokens, each read once
    distinct = len({tuple(ids[:n]) for ids in prefixes for n in range(1, len(ids) + 1)})
    assert reader.reads.computed == distinct <= 1.3 * once
    assert reader.reads.naive == sum(map(len, prefixes)) > 3 * reader.reads.computed


def test_too_small_a_memory_costs_tokens_but_no_value(tiny_model, alone, tree_of_ids) -> None:
    model = tiny_model()
    reader = PrefixScorer(model, keep_tokens=25)
    prefixes = tree_of_ids(2)
    values = [reader.values([ids])[0] for ids in prefixes]
    assert values == pytest.approx([alone(model, ids) for ids in prefixes], abs=2e-5)
    assert reader.cache.tokens <= 25
    assert reader.reads.computed > len({tuple(i[:n]) for i in prefixes for n in range(1, len(i) + 1)})


@pytest.mark.parametrize(
    ("ids", "says"),
    [([], "no token"), ([1] * 300, "longer than"), ([1, 99], "another tokenizer")],
)
def test_what_the_model_can_not_read_is_an_error_that_says_so(tiny_model, ids, says) -> None:
    reader = PrefixScorer(tiny_model())
    with pytest.raises(EngineError, match=says):
        reader.values([ids])
    assert reader.values([[1, 2, 3]])  # and it goes on serving
