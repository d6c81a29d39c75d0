"""Sessions of tools: state along a path, branches rebuilt by replay, limits, hostile calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from berry.sandboxes.base import JobOutcome
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.sessions import SessionCall, SessionKeeper, SessionLimits, SessionReply

LIMITS = SessionLimits(call_wall_s=20.0, cpu_s=30.0, memory_mb=128, output_kb=64)


class Path:
    """The calls of one path, with what they said."""

    def __init__(self, keeper: SessionKeeper, tree: str = "t", past: tuple[tuple[str, str], ...] = ()) -> None:
        self.keeper, self.tree = keeper, tree
        self.past: tuple[tuple[str, str], ...] = past

    async def call(self, snippet: str, **limits: Any) -> SessionReply:
        own = SessionLimits(**{"call_wall_s": 20.0, "memory_mb": 128, "output_kb": 64, **limits})
        reply = await self.keeper.call(SessionCall(self.tree, self.past, snippet, own, profile="bare"))
        self.past = () if reply.ended else (*self.past, (snippet, reply.text))
        return reply

    def branch(self, calls: int) -> Path:
        return Path(self.keeper, self.tree, self.past[:calls])


@pytest.fixture(scope="module")
async def keeper() -> AsyncIterator[SessionKeeper]:
    keeper = SessionKeeper(PoolConfig(calibration=1.0), slots=1, sessions=2, profile="bare")
    await keeper.start()
    yield keeper
    await keeper.close()


pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_state_lives_along_a_path_and_a_branch_is_rebuilt(keeper: SessionKeeper) -> None:
    path = Path(keeper)
    assert (await path.call("x = 20\nprint('set')")).text == "set"
    assert (await path.call("x += 1; x")).text == "21"
    branch = path.branch(1)
    on = await path.call("x * 2")
    assert (on.text, on.replayed) == ("42", 0)
    side = await branch.call("x + 5")
    assert (side.text, side.replayed, side.nondeterministic) == ("25", 1, False)
    assert (await path.call("x")).text == "21"
    other = await Path(keeper, "another tree").call("x")
    assert other.text == "NameError: name 'x' is not defined"


async def test_few_sessions_wait_and_what_was_evicted_is_rebuilt(keeper: SessionKeeper) -> None:
    paths = [Path(keeper, f"e{i}") for i in range(4)]
    for i, path in enumerate(paths):
        await path.call(f"x = {i}")
    while keeper.metrics()["call_sessions"] > 2:  # those too many are ended after the call
        await asyncio.sleep(0.001)
    replies = [await path.call("x") for path in reversed(paths)]
    assert [reply.text for reply in replies] == ["3", "2", "1", "0"]
    assert [reply.replayed for reply in replies] == [0, 0, 1, 1]


async def test_a_replay_that_says_something_else_is_marked_and_the_record_stands(keeper: SessionKeeper) -> None:
    path = Path(keeper, "chance")
    first = await path.call("import os; n = int.from_bytes(os.urandom(8), 'big'); n")
    branch = path.branch(1)
    assert (await path.call("n")).text == first.text
    side = await branch.call("n == 0")
    assert side.nondeterministic
    assert [said for _, said in branch.past] == [first.text, side.text]


@pytest.mark.parametrize(
    ("snippet", "limits", "outcome"),
    [
        ("while True: pass", {"call_wall_s": 0.3}, JobOutcome.WALL_LIMIT),
        ("while True: pass", {"cpu_s": 0.2}, JobOutcome.CPU_LIMIT),
        ("import os; os._exit(3)", {}, JobOutcome.RUNTIME_ERROR),
        ("print('x' * 1_000_000)", {}, JobOutcome.OUTPUT_LIMIT),
        ("x = bytearray(1 << 30)", {}, JobOutcome.MEMORY_LIMIT),
        ("import os; os.fork()", {}, JobOutcome.VIOLATION),
        ("import socket; socket.create_connection(('127.0.0.1', 1))", {}, JobOutcome.VIOLATION),
        ("open('/etc/shadow').read()", {}, None),
        ("1 +", {}, JobOutcome.COMPILE_ERROR),
    ],
    ids=["hangs", "computes", "dies", "floods", "grows", "forks", "phones", "reads", "is no program"],
)
async def test_a_bad_call_has_its_own_outcome_and_the_path_goes_on(
    keeper: SessionKeeper, snippet: str, limits: dict[str, Any], outcome: JobOutcome | None
) -> None:
    path = Path(keeper, "bad")
    reply = await path.call(snippet, **limits)
    assert reply.outcome is outcome or (outcome is None and reply.outcome is not JobOutcome.OK)
    assert reply.text
    after = await path.call("6 * 7")
    assert (after.text, after.outcome) == ("42", JobOutcome.OK)


async def test_a_long_result_is_cut_in_its_middle(keeper: SessionKeeper) -> None:
    reply = await keeper.call(SessionCall("long", (), "'a' * 50 + 'b' * 50", LIMITS, most_chars=20, profile="bare"))
    assert reply.text == "aaaaaaaaaa\n[… 80 characters left out …]\nbbbbbbbbbb"


async def test_trees_take_turns_and_the_queue_is_counted(keeper: SessionKeeper) -> None:
    before = keeper.metrics()
    order: list[str] = []

    async def made(tree: str, number: int) -> None:
        await keeper.call(SessionCall(tree, (), f"import time; time.sleep(0.05); {number}", LIMITS, profile="bare"))
        order.append(tree)

    calls = [asyncio.create_task(made("many", n)) for n in range(4)] + [asyncio.create_task(made("one", 0))]
    await asyncio.sleep(0.01)
    now = keeper.metrics()
    assert (now["call_slots"], now["call_running"], now["call_waiting"]) == (1, 1, 4)
    await asyncio.gather(*calls)
    assert order.index("one") == 2, "the first runs, the second was in line before it"
    after = keeper.metrics()
    assert after["call_jobs"] - before["call_jobs"] == 5
    assert after["call_service_s"] - before["call_service_s"] >= 5 * 0.05
    assert after["call_queue_s"] - before["call_queue_s"] >= (1 + 2 + 3 + 4) * 0.05
    assert sum(n for name, n in after.items() if name.startswith("call_service:")) == after["call_jobs"]


async def test_fewer_calls_run_at_once_when_slots_are_taken_away() -> None:
    keeper = SessionKeeper(PoolConfig(calibration=1.0), slots=2, sessions=2, profile="bare")
    await keeper.start()
    try:
        keeper.resize(1)
        snippet = "import time; time.sleep(0.1)"
        calls = [asyncio.create_task(keeper.call(SessionCall(t, (), snippet, LIMITS, profile="bare"))) for t in "ab"]
        await asyncio.sleep(0.05)
        assert (keeper.metrics()["call_running"], keeper.metrics()["call_waiting"]) == (1, 1)
        keeper.resize(2)
        await asyncio.sleep(0)
        assert keeper.metrics()["call_waiting"] == 0
        await asyncio.gather(*calls)
    finally:
        await keeper.close()
