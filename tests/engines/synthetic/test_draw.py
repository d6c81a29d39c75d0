"""A sample depends on its seed alone: not on what was drawn before it, nor on how much of it was asked for."""

from __future__ import annotations

import pytest

from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.core.events import Completion, Until
from berry.pipeline.engines.synthetic.draw import SegmentSpec, continuations, uniform_draws
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.engines.synthetic.process import SEGMENTS_KEPT
from berry.pipeline.records import Finish
from berry.pipeline.stages.problems.synthetic import synthetic_problems

PROBLEMS = synthetic_problems(5, seed=3)


def drawn(engine: Synthetic, prompt: list[int], seed: int | None, *, room: int, token_ends: bool) -> Completion:
    until = Until(room, token_ends=token_ends)
    what = continuations(engine.chain(prompt), [], SegmentSpec(until, room, entropies=True))
    return what.draw(seed)


@pytest.mark.parametrize("room", [1, 7, 40, 400])
def test_a_short_segment_begins_as_the_long_one_of_its_seed(room: int) -> None:
    engine = Synthetic(SyntheticEngine())
    for problem in PROBLEMS:
        prompt = engine.encode(problem.messages)
        for seed in (None, 1, 2, 3, 4, 5):
            long = drawn(engine, prompt, seed, room=1000, token_ends=False)
            short = drawn(engine, prompt, seed, room=room, token_ends=True)
            n = min(room, len(long.token_ids))
            assert short.finish is (Finish.LENGTH if n < len(long.token_ids) else Finish.STOP)
            for name in ("token_ids", "logprobs", "entropies"):
                assert getattr(short, name) == getattr(long, name)[:n], name
            assert engine.decode(short.token_ids) == short.text == long.text[: len(short.text)]


def test_what_is_kept_changes_no_sample() -> None:
    engine = Synthetic(SyntheticEngine(error_rate=(0.3, 0.3)))
    prompt = engine.encode(PROBLEMS[0].messages)
    often = [drawn(engine, prompt, seed, room=400, token_ends=False) for seed in range(2 * SEGMENTS_KEPT)]
    for seed in (0, 1, SEGMENTS_KEPT, 2 * SEGMENTS_KEPT - 1):
        fresh = Synthetic(SyntheticEngine(error_rate=(0.3, 0.3)))
        assert drawn(fresh, prompt, seed, room=400, token_ends=False) == often[seed]
    assert len({c.token_ids for c in often}) > 20


@pytest.mark.parametrize("n", [0, 1, 8, 9, 40])
def test_uniform_numbers_are_those_of_the_seed(n: int) -> None:
    assert uniform_draws(7, n) == uniform_draws(7, n)
    assert len(uniform_draws(7, n)) == n
    many = [x for seed in range(400) for x in uniform_draws(seed, n)]
    assert all(0 <= x <= 1 for x in many)
    assert not many or abs(sum(many) / len(many) - 0.5) < 0.05
