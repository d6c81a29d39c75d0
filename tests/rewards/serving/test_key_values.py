from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from berry.pipeline.rewards.serving.key_values import LayerLayout
from berry.pipeline.rewards.serving.prefix_cache import PrefixCache, PrefixNode

Layer = tuple[torch.Tensor, torch.Tensor]
SHAPES = [(2, 4), (2, 4), (1, 8), (2, 4), (1, 8)]  # heads, head dimension a layer: two kinds, mixed
SEQUENCES = [[1, 2, 3, 4, 9, 9, 9, 5], [1, 2, 3, 4, 7], [1, 2, 8], [6, 6], [1, 2, 3, 4, 9, 9, 1, 2]]


def of_token(token: int, place: int, layer: int, side: int, shape: tuple[int, int]) -> torch.Tensor:
    """Keys (side 0) or values of one token: numbers that no other token, place, layer, head or side has."""
    heads, dim = shape
    return (token + 10 * place + 1000 * layer + 100_000 * side + torch.arange(heads * dim) / 64).view(heads, dim)


def computed(
    cache: PrefixCache, layout: LayerLayout, sequences: list[list[int]], shapes: list[tuple[int, int]]
) -> None:
    """Fills the cache as a scorer does, with a model that gives each token numbers of its own; checks the pasts that
    the model is given against the sum of all that came before."""
    ends = [cache.insert(ids) for ids in sequences]
    for wave in cache.missing(ends):
        before, longest = max(row.start for row in wave), max(len(row.ids) for row in wave)
        pasts = layout.pasts(wave, before)
        check(pasts, wave, before, shapes)
        layers: list[Layer] = []
        for number, (heads, dim) in enumerate(shapes):
            pair = []
            for side in (0, 1):
                out = torch.zeros(len(wave), heads, before + longest, dim)
                for i, row in enumerate(wave):
                    for j, token in enumerate(row.ids):
                        out[i, :, before + j] = of_token(token, row.start + j, number, side, (heads, dim))
                pair.append(out)
            layers.append((pair[0], pair[1]))
        for row, kept in zip(wave, layout.fresh(layers, before), strict=True):
            row.layers = [tensor[:, :, : len(row.ids)].clone() for tensor in kept]
            row.values = [0.0] * len(row.ids)


def check(pasts: list[Layer] | None, rows: list[PrefixNode], before: int, shapes: list[tuple[int, int]]) -> None:
    if before == 0:
        assert pasts is None
        return
    assert pasts is not None
    assert len(pasts) == len(shapes)
    for number, shape in enumerate(shapes):
        for side in (0, 1):
            past = pasts[number][side]
            assert past.shape == (len(rows), shape[0], before, shape[1])
            for i, row in enumerate(rows):
                ids = [token for node in row.path()[:-1] for token in node.ids]
                assert not past[i, :, : before - len(ids)].any()
                for place, token in enumerate(ids):
                    expected = of_token(token, place, number, side, shape)
                    assert torch.equal(past[i, :, before - len(ids) + place], expected)


def test_each_row_s_past_is_what_came_before_it_also_where_layers_differ_and_runs_are_split() -> None:
    cache, layout = PrefixCache(1000), LayerLayout()
    computed(cache, layout, SEQUENCES[:2], SHAPES)
    computed(cache, layout, SEQUENCES, SHAPES)  # splits what the first two have left
    assert len({group for group, _, _ in layout.places}) == 2


class Counting(TorchDispatchMode):
    """Counts the operations that reach a device: what is a view starts nothing."""

    VIEWS = frozenset(
        {"view", "_unsafe_view", "transpose", "unbind", "slice", "select", "detach", "unsqueeze", "alias"}
    )

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name not in self.VIEWS:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layers", [2, 30])
def test_operations_on_keys_and_values_grow_with_rows_not_with_layers(layers: int) -> None:
    shapes = [(2, 4)] * layers
    cache, layout = PrefixCache(10_000), LayerLayout()
    trunks = [[t, 1, 2, 3] for t in range(8)]
    computed(cache, layout, trunks, shapes)
    rows = [cache.insert([*trunks[i % 8], 5, i]) for i in range(64)]
    wave = [row for waves in cache.missing(rows) for row in waves if row.start == 5]
    assert len(wave) == 64
    for row in rows:  # the tokens 5, which each eight of them share
        assert row.parent is not None
        row.parent.layers = [torch.zeros(2 * layers, 2, 1, 4)]
    fresh = [(torch.ones(64, 2, 6, 4), torch.ones(64, 2, 6, 4)) for _ in range(layers)]
    with Counting() as counting:
        assert layout.pasts(wave, 5) is not None
        kept = [[tensor[:, :, :1].clone() for tensor in row] for row in layout.fresh(fresh, 5)]
    assert len(kept) == 64
    # One copy kept a row; joined, gathered and stacked once for all layers.
    assert counting.counts["cat"] == counting.counts["index_select"] == counting.counts["stack"] == 1
    assert counting.counts["clone"] == 64
    assert counting.counts.total() <= 64 + 10
