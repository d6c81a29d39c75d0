from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from berry.pipeline.rewards.serving.prefix_cache import PrefixCache

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=12)


def compute(cache: PrefixCache, sequences: list[list[int]]) -> int:
    """Fills what is missing with keys that say which token they are; returns how many tokens that were."""
    ends = [cache.insert(ids) for ids in sequences]
    count = 0
    for wave in cache.missing(ends):
        for node in wave:
            assert node.parent is cache.root or (node.parent is not None and node.parent.layers is not None)
            keys = torch.tensor([[[float(t)] for t in node.ids]])
            node.layers = [torch.stack([keys, keys + 0.5])]
            node.values = [float(t) for t in node.ids]
            count += len(node.ids)
    for ids, end in zip(sequences, ends, strict=True):
        path = end.path()
        assert [t for node in path for t in node.ids] == ids
        assert [int(k) for node in path for k in (node.layers or [])[0][0, 0, :, 0]] == ids
        assert end.values is not None
        assert end.values[-1] == ids[-1]
    return count


def distinct_prefixes(sequences: list[list[int]]) -> int:
    return len({tuple(ids[:n]) for ids in sequences for n in range(1, len(ids) + 1)})


@given(SEQUENCES)
def test_each_distinct_prefix_is_computed_once(sequences: list[list[int]]) -> None:
    cache = PrefixCache(10_000)
    assert compute(cache, sequences) == distinct_prefixes(sequences) == cache.tokens
    assert compute(cache, sequences) == 0


@given(SEQUENCES, st.integers(0, 20))
def test_forgetting_keeps_within_capacity_and_never_a_child_without_its_parent(
    sequences: list[list[int]], capacity: int
) -> None:
    cache = PrefixCache(capacity)
    for ids in sequences:
        compute(cache, [ids])
        cache.trim()
        assert cache.tokens <= capacity
        stack, seen = [cache.root], 0
        while stack:
            node = stack.pop()
            seen += len(node.ids)
            for first, child in node.children.items():
                assert child.parent is node
                assert child.ids[0] == first
                assert child.start == node.end
                stack.append(child)
        assert seen == cache.tokens


def test_the_least_recently_used_goes_first() -> None:
    cache = PrefixCache(6)
    compute(cache, [[1, 1, 1]])
    compute(cache, [[2, 2, 2]])
    compute(cache, [[1, 1, 1]])
    compute(cache, [[3, 3]])
    cache.trim()
    assert compute(cache, [[1, 1, 1]]) == 0
    assert compute(cache, [[2, 2, 2]]) == 3


def test_what_was_never_computed_is_forgotten() -> None:
    cache = PrefixCache(100)
    compute(cache, [[1, 2, 3]])
    cache.insert([1, 2, 4, 5])
    cache.forget_missing()
    assert cache.tokens == 3
    assert compute(cache, [[1, 2, 4, 5]]) == 2
