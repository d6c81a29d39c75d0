"""A response drawn in one go is the one that is drawn step by step."""

from __future__ import annotations

import random

import pytest

from pipeline.config.synthetic import SyntheticEngine
from pipeline.core.events import Completion, Until
from pipeline.engines.synthetic import Synthetic
from pipeline.engines.synthetic_draw import draw
from pipeline.stages.synthetic_problems import synthetic_problems

ENGINE = Synthetic(SyntheticEngine())


def drawn(prompt: list[int], seed: int | None, *, room: int, token_ends: bool) -> Completion:
    chance = None if seed is None else random.Random(seed)
    until = Until(room, token_ends=token_ends)
    return draw(ENGINE.chain(prompt), [], until, room=room, chance=chance, entropies=True, decode=ENGINE.decode)


@pytest.mark.parametrize("room", [1, 7, 40, 400])
def test_the_short_way_and_the_long_way_agree(room: int) -> None:
    for problem in synthetic_problems(5, seed=3):
        prompt = ENGINE.encode(problem.messages)
        for seed in (None, 1, 2, 3, 4, 5):
            short = drawn(prompt, seed, room=room, token_ends=False)
            long = drawn(prompt, seed, room=room, token_ends=True)
            for name in ("token_ids", "text", "finish", "logprobs", "entropies"):
                assert getattr(short, name) == getattr(long, name), name
            assert ENGINE.decode(short.token_ids) == short.text
