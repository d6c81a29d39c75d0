"""A lease's shared leaf budget: granted once all have settled, whatever the order."""

from __future__ import annotations

import asyncio
from itertools import permutations

from berry.pipeline.core.allocate import Need
from berry.pipeline.stages.rollout.leaf_budget import LeafBudget

NEEDS = [Need("a", 5, 0), Need("b", 0, 3), Need("c", 0, 4), Need("d", 1, 0)]


async def test_grants_wait_for_the_last_and_do_not_depend_on_the_order() -> None:
    seen = []
    for order in permutations(NEEDS):
        sharing = LeafBudget.among((n.problem_id for n in NEEDS), seed=1)
        for need in order[:-1]:
            sharing.settle(need)
        waiting = asyncio.create_task(sharing.granted("b"))
        await asyncio.sleep(0)
        assert not waiting.done()
        sharing.settle(order[-1])
        assert await waiting == 3
        seen.append(dict(sharing.grants))
    assert all(grants == seen[0] for grants in seen)
    assert sum(seen[0].values()) <= 6


async def test_a_search_that_fails_holds_nobody_up() -> None:
    sharing = LeafBudget.among(["a", "b"], seed=1)
    sharing.settle(Need("a", 2, 0))
    sharing.leave("b")
    sharing.leave("a")
    assert await sharing.granted("a") == 0
