"""Leases of a model that calls tools: real sessions, what is stored of them, and what a crash leaves of them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.config.sections.rollout.tools import (
    Calls,
    FencedCalls,
    LlamaCalls,
    PythonTool,
    TagCalls,
    TemplateCalls,
)
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.engines.scripted import Scripted
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.records import Message, Problem
from berry.pipeline.stages.dataset.maintenance.revise import read_lease
from berry.pipeline.stages.leases.lease import Gauges, Lease
from berry.pipeline.stages.problems.synthetic import synthetic_problems
from berry.pipeline.stages.rollout.commands.ports import Calling, Ports
from berry.pipeline.stages.rollout.journal import LeaseJournal
from berry.pipeline.stages.rollout.search_loop import grow
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.parquet import lease_rows
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.sessions import SessionCall, SessionKeeper, SessionReply
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.checker import CheckRequest

pytestmark = pytest.mark.asyncio(loop_scope="module")
PROBLEMS = synthetic_problems(4, steps=(4, 4))


def config(**rollout: Any) -> RunConfig:
    raw = {
        "name": "tools",
        "problems": [{"type": "synthetic", "count": 4}],
        "engine": {"type": "synthetic", "call_share": 0.5, "filler_tokens": [0, 1]},
        "rollout": {
            "policy": {"type": "fixed", "branching": [2, 2]},
            "step": {"type": "delimiter", "delimiters": ["\n\n"]},
            "tools": [{"type": "python"}],
            **rollout,
        },
        "pruning": [{"type": "verdict"}],
    }
    return validate(raw, RunConfig, where="test")


async def check(request: CheckRequest) -> Verdict:
    assert "```output" not in request.response, "what a tool said is no answer"
    said = request.response.rpartition("\\boxed{")[2].partition("}")[0]
    return verdict(
        Reason.CORRECT if said == getattr(request.spec, "answer", None) else Reason.WRONG_ANSWER, answer=said
    )


@pytest.fixture(scope="module")
async def call() -> AsyncIterator[Calling]:
    """Sessions without numpy, which take no time to start."""
    keeper = SessionKeeper(PoolConfig(), slots=2, sessions=8, profile="bare")
    await keeper.start()

    async def bare(request: SessionCall) -> SessionReply:
        return await keeper.call(replace(request, profile="bare"))

    yield bare
    await keeper.close()


async def test_what_a_lease_stores_says_who_wrote_what(tmp_path: Path, call: Calling) -> None:
    run = config(policy={"type": "best_of_n", "n": 6})
    location = locate(tmp_path)
    engine = Synthetic(run.engine)  # type: ignore[arg-type]
    worker = LeaseWorker(run, location, engine, check, "w", call=call)
    lease = Lease(0, tuple(PROBLEMS))
    report = await worker.run(lease)
    stored = lease_rows.read_lease(location, 0, 0)
    results = [row for row in stored.nodes if row["role"] == "tool"]
    assert report.ledger.extra["given"] == sum(len(row["token_ids"]) for row in results) > 0
    assert report.ledger.extra["calls"] == len(results) == worker.gauges.called
    assert report.ledger.kept <= report.ledger.generated
    for row in results:
        assert row["call_outcome"] == "ok"
        assert row["call_ms"] > 0
        assert row["logprobs"] is None
    nodes = {(row["problem_id"], row["node_id"]): row for row in stored.nodes}
    assert stored.kept
    for row in stored.kept:
        segments = row["segments"]
        assert [s["start"] for s in segments] == [sum(s["tokens"] for s in segments[:i]) for i in range(len(segments))]
        assert sum(s["tokens"] for s in segments) == len(row["token_ids"]) == len(row["logprobs"])
        assert all(s["trainable"] is (s["role"] == "assistant") for s in segments)
        at = {s["start"]: s for s in segments if s["role"] == "tool"}
        for start, segment in at.items():
            end = start + segment["tokens"]
            said = engine.decode(row["token_ids"][start:end])
            assert said.startswith("```output\n")
            assert said.endswith("\n```\n")
            assert set(row["logprobs"][start:end]) == {0.0}
        path = lease_rows.path_of(row["problem_id"], row["leaf"], nodes)
        assert row["response"] == "".join(node["text"] for node in path) == engine.decode(row["token_ids"])
    again = next(read_lease(location, lease, 0))
    assert any(node.role == "tool" for node in again.nodes)
    await worker.close()


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("policy", [{"type": "fixed", "branching": [2, 2]}, {"type": "entropy", "chains": 3}])
async def test_a_search_killed_at_any_call_goes_on_to_the_same_tree(
    tmp_path: Path, call: Calling, policy: dict[str, Any]
) -> None:
    rollout = config(policy=policy).rollout
    problem = PROBLEMS[0]

    async def search(place: str, calling: Calling, *, resumed: bool) -> Search:
        journal = LeaseJournal(locate(tmp_path / place), 0, 0)
        if resumed:
            journal.load()
        engine = Synthetic(config().engine)  # type: ignore[arg-type]
        try:
            ports = Ports(engine, check, call=calling)
            grown = await grow(problem, ports, rollout, run_seed=3, round_index=0, gauges=Gauges(), journal=journal)
            return grown.search
        finally:
            await journal.flush()

    asked: Counter[str] = Counter()

    def killed_at(number: int) -> Callable[[SessionCall], Awaitable[SessionReply]]:
        async def calling(request: SessionCall) -> SessionReply:
            nonlocal number
            number -= 1
            if number < 0:
                raise Interrupted
            reply = await call(request)
            asked[request.next_key] += 1
            return reply

        return calling

    whole = await search("whole", call, resumed=False)
    made = whole.ledger.extra["calls"]
    assert made > 2
    tree = [(n.node_id, n.role, tuple(n.token_ids), n.value) for n in whole.nodes()]
    resumed: Search | None = None
    for attempt in range(made + 1):  # one more call is made each time before it is killed
        try:
            resumed = await search("killed", killed_at(1), resumed=attempt > 0)
            break
        except Interrupted:
            await asyncio.sleep(0)
    assert resumed is not None
    assert [(n.node_id, n.role, tuple(n.token_ids), n.value) for n in resumed.nodes()] == tree
    assert set(asked.values()) == {1}, "a call whose result is in the journal was made again"


async def test_equal_calls_of_one_tree_are_made_once(call: Calling) -> None:
    asked: Counter[str] = Counter()

    async def counted(request: SessionCall) -> SessionReply:
        asked[request.next_key] += 1
        return await call(request)

    async def tree(problem: Problem) -> Search:
        run = config(policy={"type": "best_of_n", "n": 16})
        ports = Ports(Synthetic(run.engine), check, call=counted)  # type: ignore[arg-type]
        return (await grow(problem, ports, run.rollout, run_seed=3, round_index=0, gauges=Gauges())).search

    search = await tree(PROBLEMS[1])
    assert search.ledger.extra["calls"] > len(asked)
    assert set(asked.values()) == {1}
    results: dict[tuple[str, ...], set[str]] = {}
    for node in search.tree.walk():
        if node.given is not None:
            path = tuple(at.text or "" for at in search.tree.path(node)[:-1])
            results.setdefault(path, set()).add(node.given.result)
    assert all(len(said) == 1 for said in results.values())


class Chatty(Scripted):
    """A synthetic engine that says a result as its text."""

    def encode_result(self, result: str, *, ended_by: int | None = None) -> list[int]:
        return list(f"\n{result}\n".encode())


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        ('{"name": "python", "parameters": {"code": "6 * 7"}}', "42"),
        ("<|python_tag|>6 * 7", "42"),
        ('{"name": "python", "parameters": ', "Error: the call is no JSON: "),
        ('{"name": "shell", "parameters": {}}', "Error: no tool is named 'shell'; there are python"),
    ],
)
async def test_a_turn_that_is_a_call_is_made_though_the_model_has_ended_it(call: Calling, turn: str, said: str) -> None:
    rollout = Rollout(policy=BestOfN(n=2), tools=(PythonTool(),), calls=LlamaCalls(max_calls=1))
    ports = Ports(Chatty(lambda *_: turn), check, call=call)
    search = (await grow(PROBLEMS[0], ports, rollout, run_seed=3, round_index=0, gauges=Gauges())).search
    given = [node.given for node in search.tree.walk() if node.given is not None]
    assert len(given) == 2
    assert all(one.result.startswith(said) for one in given)
    leaves = [node for node in search.tree.walk() if not node.children]
    assert [node.drop for node in leaves] == ["too_many_calls"] * 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"name": "python", "arguments": {"code": "6 * 7"}}', "42"),
        ("{name: python}", "Error: the call is no JSON: "),
        ('{"name": "shell", "arguments": {}}', "Error: no tool is named 'shell'; there are python"),
        ('{"name": "python", "arguments": {"source": "1"}}', 'Error: python takes {"code": "…"} as its arguments'),
        ("[1]", "Error: no tool is named None; there are python"),
    ],
)
async def test_a_call_in_json_is_made_or_answered_by_what_is_wrong_with_it(call: Calling, body: str, said: str) -> None:
    def script(messages: list[Message], seed: int) -> str:
        del messages, seed
        return f"So <tool_call>{body}</tool_call>"

    rollout = Rollout(policy=BestOfN(n=1), tools=(PythonTool(),), calls=TemplateCalls(max_calls=1))
    ports = Ports(Chatty(script), check, call=call)
    grown = await grow(PROBLEMS[0], ports, rollout, run_seed=3, round_index=0, gauges=Gauges())
    [given] = [node.given for node in grown.search.tree.walk() if node.given is not None]
    assert given.result.startswith(said)
    assert given.outcome == ("ok" if said == "42" else "malformed")


@pytest.mark.parametrize(
    ("calls", "turn", "said", "outcome"),
    [
        (FencedCalls(max_calls=1), "So\n```python\n6 * 7\n```\n", "42", "ok"),
        (FencedCalls(max_calls=1), "So\n```python\n6 *\n```\n", "SyntaxError: ", "compile_error"),
        (FencedCalls(max_calls=1), "So\n```python\n1 / 0\n```\n", "ZeroDivisionError: ", "runtime_error"),
        (FencedCalls(max_calls=1), "So\n```shell\nls\n```\nno more", None, ""),
        (TagCalls(max_calls=1), "So <code>6 * 7</code>", "42", "ok"),
        (TagCalls(max_calls=1), "So 6 * 7</code>", "Error: this ends a call that was not begun", "malformed"),
        (TagCalls(max_calls=1), "So <code></code>", "", "ok"),
        (TagCalls(max_calls=1), "So <code>6 * 7", None, ""),
        (TemplateCalls(max_calls=1), "6 * 7</tool_call>", "Error: this ends a call that was not begun", "malformed"),
        (TemplateCalls(max_calls=1), '<tool_call>{"name": "python"', None, ""),
        (LlamaCalls(max_calls=1), '{"answer": 42}', None, ""),
    ],
)
async def test_every_format_answers_a_call_or_says_what_is_wrong_and_leaves_the_rest(
    call: Calling, calls: Calls, turn: str, said: str | None, outcome: str
) -> None:
    """Segments end where calls do, so that `turn`, written again behind the result, is one call too many."""
    rollout = Rollout(policy=BestOfN(n=1), tools=(PythonTool(),), calls=calls)
    ports = Ports(Chatty(lambda *_: turn), check, call=call)
    gauges = Gauges()
    search = (await grow(PROBLEMS[0], ports, rollout, run_seed=3, round_index=0, gauges=gauges)).search
    given = [node.given for node in search.tree.walk() if node.given is not None]
    assert (gauges.called, gauges.called_badly) == (len(given), sum(one.outcome != "ok" for one in given))
    if said is None:
        assert not given
        [leaf] = [node for node in search.tree.walk() if not node.children]
        assert leaf.verdict is not None, "what is no call is part of the answer"
        return
    [result] = given
    assert result.result.startswith(said)
    assert result.outcome == outcome
    written = result.node
    assert search.tree[written].text == turn


async def test_what_the_cache_loses_while_a_call_is_waited_for_is_in_the_ledger(call: Calling) -> None:
    lost = []
    for cache_tokens in (1 << 18, 0):
        run = config(policy={"type": "best_of_n", "n": 2})
        engine = Synthetic(run.engine.model_copy(update={"cache_tokens": cache_tokens, "block_size": 1}))  # type: ignore
        ports = Ports(engine, check, call=call)
        search = (await grow(PROBLEMS[1], ports, run.rollout, run_seed=3, round_index=0, gauges=Gauges())).search
        results = [node for node in search.tree.walk() if node.given is not None]
        assert results
        lost.append(search.ledger.extra["recomputed_after_calls"])
        if not cache_tokens:
            behind = [len(search.tree.prompt_ids) + node.end - len(node.tokens) for node in results]
            assert lost[-1] == sum(behind), "all that was there before the result is read again"
    assert lost[0] == 0
