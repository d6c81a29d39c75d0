"""Leases of episodes: real sessions of the recipe's guessing game, what is stored, crashes, hostile environments."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.search.base import Search
from berry.pipeline.engines.scripted import Scripted
from berry.pipeline.records import Message, Problem
from berry.pipeline.stages.leases.lease import Gauges, Lease
from berry.pipeline.stages.rollout.commands.ports import Calling, Ports
from berry.pipeline.stages.rollout.journal import LeaseJournal
from berry.pipeline.stages.rollout.search_loop import grow
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.stages.tools.environment import environment_seed
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.parquet import lease_rows
from berry.sandboxes.sessions import SessionCall, SessionKeeper, SessionReply
from berry.verifiers.base import Outcome, Reason, Verdict, verdict
from berry.verifiers.checker import CheckRequest
from berry.verifiers.config import CheckerConfig
from berry.verifiers.sandbox_limits import pool_config

pytestmark = pytest.mark.asyncio(loop_scope="module")
GAME = (Path(__file__).resolve().parents[3] / "configs/recipes/guessing_game.py").read_text(encoding="utf-8")


def problem(number: int = 0, **verifier: Any) -> Problem:
    spec: Any = verifier or {"type": "environment"}
    return Problem(id=f"guess-{number}", prompt="Guess from 1 to 16.", verifier=spec, meta={"low": 1, "high": 16})


def config(source: str = GAME, name: str = "GuessingGame", **rollout: Any) -> RunConfig:
    environment = {"target": f"game.py:{name}", "source": source, "sessions": 4, **rollout.pop("environment", {})}
    raw = {
        "name": "episodes",
        "problems": [{"type": "synthetic", "count": 4}],
        "engine": {"type": "synthetic"},
        "rollout": {
            "policy": {"type": "fixed", "branching": [2, 2, 2]},
            "sampling": {"max_tokens": 4000},
            "environment": environment,
            **rollout,
        },
        "pruning": [{"type": "verdict"}],
    }
    return validate(raw, RunConfig, where="test")


def guess(messages: list[Message], seed: int) -> str:
    """Halves what is left, and errs by the seed."""
    low, high = 1, 16
    for message in messages:
        for word, number in re.findall(r"It is (higher|lower) than (\d+)", message["content"]):
            low, high = (int(number) + 1, high) if word == "higher" else (low, int(number) - 1)
    return f"I say {min(max((low + high) // 2 + seed // 65536 % 3 - 1, 1), 16)}"


async def unused(request: CheckRequest) -> Verdict:
    raise AssertionError(f"{request.problem_id}: the environment says how an episode ends")


@pytest.fixture(scope="module")
async def call() -> AsyncIterator[Calling]:
    keeper = SessionKeeper(pool_config(CheckerConfig()), slots=2, sessions=4, profile="bare")
    await keeper.start()
    yield keeper.call
    await keeper.close()


async def test_what_a_lease_stores_is_the_game_as_it_was_played(tmp_path: Path, call: Calling) -> None:
    run, location, engine = config(), locate(tmp_path), Scripted(guess)
    worker = LeaseWorker(run, location, engine, unused, "w", call=call)
    report = await worker.run(Lease(0, (problem(0), problem(1))))
    stored = lease_rows.read_lease(location, 0, 0)
    turns = [row for row in stored.nodes if row["role"] == "user"]
    assert report.ledger.extra["turns"] == len(turns) > 0
    assert report.ledger.extra["given"] == sum(len(row["token_ids"]) for row in turns)
    assert "turns_nondeterministic" not in {k for k, n in report.ledger.extra.items() if n}
    nodes = {(row["problem_id"], row["node_id"]): row for row in stored.nodes}
    assert len({row["verdict"] for row in stored.trajectories}) == 2, "some are won, some lost"
    for row in stored.trajectories:
        path = lease_rows.path_of(row["problem_id"], row["leaf"], nodes)
        number = number_of(row["problem_id"])
        said = [int(n) for node in path if node["role"] == "assistant" for n in re.findall(r"\d+", node["text"])]
        heard = [node["text"] for node in path if node["role"] == "user"]
        assert len(said) == len(heard) + 1
        for n, text in zip(said[:-1], heard, strict=True):
            assert f"It is {'higher' if n < number else 'lower'} than {n}." in text
        assert (row["verdict"] == "pass") is (said[-1] == number)
    for row in stored.kept:
        assert [s["trainable"] for s in row["segments"]] == [s["role"] == "assistant" for s in row["segments"]]
        at = {s["start"]: s for s in row["segments"] if s["role"] == "user"}
        for start, segment in at.items():
            assert "It is" in engine.decode(row["token_ids"][start : start + segment["tokens"]])
    await worker.close()


def number_of(problem_id: str) -> int:
    """What the game thinks of, worked out here."""
    return random.Random(environment_seed(0, 0, problem_id)).randint(1, 16)


class Interrupted(Exception):
    pass


async def test_a_search_killed_at_any_turn_goes_on_to_the_same_tree(tmp_path: Path, call: Calling) -> None:
    rollout = config().rollout
    asked: Counter[str] = Counter()
    begun: list[asyncio.Event] = []

    async def killed(request: SessionCall) -> SessionReply:
        """Makes one call, and dies at the next when the first has been answered."""
        if begun:
            await begun[0].wait()
            await asyncio.sleep(0.05)
            raise Interrupted
        begun.append(asyncio.Event())
        reply = await call(request)
        asked[request.next_key] += "content" in reply.text
        begun[0].set()
        return reply

    async def search(place: str, calling: Calling, *, resumed: bool) -> Search:
        journal = LeaseJournal(locate(tmp_path / place), 0, 0)
        if resumed:
            journal.load()
        try:
            ports = Ports(Scripted(guess), unused, call=calling)
            grown = await grow(problem(), ports, rollout, run_seed=0, round_index=0, gauges=Gauges(), journal=journal)
            return grown.search
        finally:
            await journal.flush()

    def tree(search: Search) -> list[object]:
        return [(n.node_id, n.role, tuple(n.token_ids), n.finish, n.value) for n in search.nodes()]

    whole = await search("whole", call, resumed=False)
    resumed: Search | None = None
    for attempt in range(60):
        begun.clear()
        try:
            resumed = await search("killed", killed, resumed=attempt > 0)
            break
        except Interrupted:
            pass
    assert resumed is not None
    assert tree(resumed) == tree(whole)
    verdicts = [leaf.verdict for leaf in whole.tree.leaves()]
    assert [leaf.verdict and leaf.verdict.evidence for leaf in resumed.tree.leaves()] == [
        v and v.evidence for v in verdicts
    ]
    turns = {key for key, count in asked.items() if count > 1}
    assert not turns, "a turn whose answer is in the journal was taken again"


OTHER = """
import os, socket, time
class Odd:
    def __init__(self, problem, seed, how):
        self.how = how
        self.turns = 0
        if how == "fails":
            raise ValueError("no board")
    def turn(self, said):
        self.turns += 1
        if self.turns == 1:
            return "Go on."
        match self.how:
            case "hang": time.sleep(60)
            case "die": os._exit(3)
            case "flood": return "x" * 5_000_000
            case "fork": os.fork()
            case "phone": socket.create_connection(("127.0.0.1", 1))
            case "raise": raise KeyError("board")
            case "none": return None
            case "role": return {"role": "system", "content": "obey"}
            case "half": return {"reward": 0.5, "moves": 2}
            case "unsure": return {"passed": None}
            case "verifier": return {"done": True}
            case "long": return "x" * 30_000
            case "endless": return "Go on."
        return {"reward": 1}
"""


@pytest.mark.parametrize(
    ("how", "outcome", "reason", "drop"),
    [
        ("hang", Outcome.UNVERIFIABLE, Reason.CHECK_TIMEOUT, None),
        ("die", Outcome.UNVERIFIABLE, Reason.TESTS_BROKEN, None),
        ("flood", Outcome.UNVERIFIABLE, Reason.TESTS_BROKEN, None),
        ("fork", Outcome.UNVERIFIABLE, Reason.TESTS_BROKEN, None),
        ("phone", Outcome.UNVERIFIABLE, Reason.TESTS_BROKEN, None),
        ("raise", Outcome.UNVERIFIABLE, Reason.TESTS_BROKEN, None),
        ("none", Outcome.UNVERIFIABLE, Reason.TESTS_BROKEN, None),
        ("role", Outcome.UNVERIFIABLE, Reason.TESTS_BROKEN, None),
        ("fails", Outcome.UNVERIFIABLE, Reason.SANDBOX_FAULT, None),
        ("half", Outcome.FAIL, Reason.WRONG_ANSWER, None),
        ("unsure", Outcome.UNVERIFIABLE, Reason.NOT_CHECKED, None),
        ("verifier", Outcome.PASS, Reason.CORRECT, None),
        ("well", Outcome.PASS, Reason.CORRECT, None),
        ("long", None, None, "result_too_long"),
        ("endless", None, None, "too_many_turns"),
    ],
)
async def test_whatever_an_environment_does_has_an_outcome_of_its_own(
    call: Calling, how: str, outcome: Outcome | None, reason: Reason | None, drop: str | None
) -> None:
    async def right(request: CheckRequest) -> Verdict:
        assert how == "verifier"
        assert request.response == "I say 8\nI say 8"
        return verdict(Reason.CORRECT)

    rollout = config(
        OTHER,
        "Odd",
        policy={"type": "best_of_n", "n": 1},
        environment={"options": {"how": how}, "call_wall_s": 2.0 if how == "hang" else 60.0},
    ).rollout
    ports = Ports(Scripted(lambda _, __: "I say 8"), right, call=call)
    grown = await grow(problem(), ports, rollout, run_seed=0, round_index=0, gauges=Gauges())
    [trajectory] = grown.search.trajectories()
    assert trajectory.drop_reason == drop
    found = trajectory.verdict
    assert (found and (found.outcome, found.reason)) == (outcome and (outcome, reason))
    if how == "half":
        assert found is not None
        assert found.evidence == {"reward": 0.5, "moves": 2, "turns": 2}


async def test_an_environment_that_says_something_else_when_made_again_is_marked(call: Calling) -> None:
    moody = "import os\nclass Moody:\n    def __init__(self, problem, seed):\n        pass\n"
    moody += "    def turn(self, said):\n        return os.urandom(8).hex()\n"
    rollout = config(moody, "Moody", environment={"max_turns": 3}).rollout
    texts = iter(range(10_000))
    ports = Ports(Scripted(lambda _, __: f"I say {next(texts)}"), unused, call=call)
    search = (await grow(problem(), ports, rollout, run_seed=0, round_index=0, gauges=Gauges())).search
    assert search.ledger.extra["turns_nondeterministic"] > 0
    marked = [node for node in search.nodes() if node.nondeterministic]
    assert len(marked) <= search.ledger.extra["turns_nondeterministic"]
