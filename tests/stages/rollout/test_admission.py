"""A new search begins when the engine has places and the cache has room."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from berry.pipeline.engines.base import Counters
from berry.pipeline.stages.rollout import admission
from berry.pipeline.stages.rollout.admission import COSTLY_SHARE, LOOK_TOKENS, Admission, admits

IDLE = Counters()


@pytest.mark.parametrize(
    ("counters", "open_searches", "wanted"),
    [
        (IDLE, 0, True),
        (replace(IDLE, running=64, waiting=500, kv_usage=1.0), 0, True),  # one is always open
        (replace(IDLE, running=30), 5, True),
        (replace(IDLE, running=64), 5, True),  # full, but nothing waits to take the next place
        (replace(IDLE, running=64, waiting=16), 5, False),
        (replace(IDLE, running=20, kv_usage=0.95), 5, False),
        (IDLE, 10, False),
    ],
)
def test_admits(counters: Counters, open_searches: int, wanted: bool) -> None:
    assert admits(counters, max_num_seqs=64, open_searches=open_searches, limit=10) is wanted


async def test_searches_are_let_in_in_order_as_places_come_free() -> None:
    running = 0
    entered: list[int] = []

    def counters() -> Counters:
        return Counters(running=running)

    admission = Admission(counters, max_num_seqs=4, limit=100)

    async def search(number: int) -> None:
        nonlocal running
        await admission.enter()
        running += 3
        entered.append(number)
        await asyncio.sleep(0.03)
        running -= 3
        admission.leave()

    await asyncio.gather(*(search(i) for i in range(6)))
    assert entered == list(range(6))
    assert admission.open_searches == 0


async def test_no_more_than_the_limit_while_trees_wait_for_verdicts() -> None:
    admission = Admission(Counters, max_num_seqs=64, limit=3)
    most = 0

    async def search() -> None:
        nonlocal most
        await admission.enter()
        most = max(most, admission.open_searches)
        await asyncio.sleep(0.01)
        admission.leave()

    await asyncio.gather(*(search() for _ in range(10)))
    assert most == 3


async def test_a_search_that_ends_lets_the_next_one_in_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "POLL_S", 60.0)
    gate = Admission(Counters, max_num_seqs=8, limit=1)
    await gate.enter()
    waiting = asyncio.create_task(gate.enter())
    await asyncio.sleep(0.01)
    assert not waiting.done()
    gate.leave()
    await asyncio.wait_for(waiting, 5)


async def test_searches_that_the_engine_has_not_heard_of_count_for_what_they_will_ask() -> None:
    gate = Admission(Counters, max_num_seqs=64, limit=100, width=16)
    entering = [asyncio.create_task(gate.enter()) for _ in range(6)]
    await asyncio.sleep(0)
    assert [task.done() for task in entering] == [True] * 5 + [False], "80 sequences are on their way"
    await asyncio.gather(*entering)
    assert gate.open_searches == 6


def test_fewer_trees_are_open_while_much_is_computed_again_and_more_when_it_is_not() -> None:
    now = IDLE
    admission = Admission(lambda: now, max_num_seqs=4, limit=10)
    computed = 2 * LOOK_TOKENS * 4  # between two looks, enough to learn from

    def goes_on(again: int) -> list[bool]:
        """Whether one more is let in, by how many are open, after `computed` tokens of which `again` were preempted."""
        nonlocal now
        now = replace(
            now,
            generated_tokens=now.generated_tokens + computed - again,
            preempted_tokens=now.preempted_tokens + again,
        )
        let_in = []
        for admission.open_searches in range(7):
            let_in.append(admission._admits(0))
        return let_in

    admission.open_searches = 5
    assert goes_on(0) == [True] * 7  # however many: nothing was computed again
    assert goes_on(int(computed * COSTLY_SHARE) - 1) == [True] * 7  # little costs less than empty places
    admission.open_searches = 5
    now = replace(
        now,
        generated_tokens=now.generated_tokens + computed // 2,
        preempted_tokens=now.preempted_tokens + computed // 2,
    )
    assert not admission._admits(0)
    assert goes_on(computed // 20) == [True] * 4 + [False] * 3  # four fit, no more are tried while some are preempted
    assert goes_on(0) == [True] * 5 + [False] * 2
    assert goes_on(0) == [True] * 6 + [False]


def test_one_tree_is_open_however_much_is_computed_again() -> None:
    now = IDLE
    admission = Admission(lambda: now, max_num_seqs=4, limit=10)
    for _ in range(5):
        now = replace(now, generated_tokens=now.generated_tokens + 500, preempted_tokens=now.preempted_tokens + 500)
        admission.open_searches = 1
        assert not admission._admits(0)
        admission.open_searches = 0
        assert admission._admits(0)
