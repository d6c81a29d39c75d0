"""What holds for every policy where the model calls tools: one node a result, order of arrival, replay, failures."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from berry.pipeline.config.sections.rollout.rollout import Budget
from berry.pipeline.config.sections.rollout.tools import FencedCalls, PythonTool
from berry.pipeline.core import events as ev
from berry.pipeline.core.calls import find
from berry.pipeline.core.search.conflicts import explain_missing_calls
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.values.estimate import Scheme, estimate
from berry.pipeline.records import DropReason, Finish
from tests.core.search.policies import POLICIES, every_policy, orderless_policy
from tests.core.search.replaying import check_replay, drawn_limits, outcome


def check_results(played: Any) -> None:
    """Every call is made once, and its result is the one child of the node that ends with it, and has its value."""
    search = played.search
    calls = [c.node for c in played.commands if isinstance(c, ev.CallTool)]
    assert len(set(calls)) == len(calls)
    records = {n.node_id: n for n in search.nodes()}
    given = [node for node in search.tree.walk() if node.given is not None]
    assert {node.parent.node_id for node in given} <= set(calls)
    assert search.ledger.extra["given"] == sum(len(node.tokens) for node in given)
    for node in given:
        call, result = records[node.parent.node_id], records[node.node_id]
        assert (result.role, result.logprobs, result.logprob_sum) == ("tool", None, 0.0)
        assert (call.value, call.value_n, call.value_low) == (result.value, result.value_n, result.value_low)
    for t in search.trajectories():
        path = [search.tree[n] for n in t.path]
        if t.verdict is not None:
            ends = [node for node in path if node.text.endswith("\n```\n")]
            called = [node for node in ends if find(search.rollout, node.turn_text) is not None]
            assert [node.children[0] for node in called] == [node for node in path if node.given is not None]
            assert len(called) <= search.rollout.calls.max_calls


@orderless_policy
@settings(max_examples=6, deadline=None)
@given(order=st.integers(0, 2**32), steps=st.integers(1, 6))
def test_a_result_that_arrives_late_changes_no_node_value_or_label(
    core: Any, policy: Any, order: int, steps: int
) -> None:
    world = core.CallingWorld(steps)
    in_order = core.play(core.search(policy, **core.CALLS), world)
    shuffled = core.play(core.search(policy, **core.CALLS), world, random.Random(order))
    check_results(in_order)
    assert outcome(shuffled) == outcome(in_order)
    assert shuffled.search.finished == in_order.search.finished


@every_policy
@settings(max_examples=6, deadline=None)
@given(order=st.integers(0, 2**32))
def test_the_same_events_in_the_same_order_give_the_same_tree(core: Any, policy: Any, order: int) -> None:
    chance = random.Random(order)
    rollout = {**core.CALLS, **drawn_limits(chance)}
    first = core.play(core.search(policy, **rollout), core.CallingWorld(5), chance)
    check_results(first)
    again = core.search(policy, **rollout)
    check_replay(first, again)
    assert outcome(core.Played(again)) == outcome(first)


@every_policy
@settings(max_examples=6, deadline=None)
@given(order=st.integers(0, 2**32))
def test_calls_that_are_turns_end_no_answer_whatever_the_policy(core: Any, policy: Any, order: int) -> None:
    played = core.play(core.search(policy, **core.TURN_CALLS), core.TurnWorld(4), random.Random(order))
    search = played.search
    made = [command.node for command in played.commands if isinstance(command, ev.CallTool)]
    assert len(set(made)) == len(made) > 0
    given = [node for node in search.tree.walk() if node.given is not None]
    assert {node.parent.node_id for node in given} == set(made)
    for t in search.trajectories():
        texts = [search.tree[node].text or "" for node in t.path if search.tree[node].given is None]
        if t.verdict is not None:
            assert texts[-1].endswith("."), "a call is no end of an answer"
    check_replay(played, core.search(policy, **core.TURN_CALLS))
    if not any(isinstance(c, ev.Cancel) for c in played.commands):
        assert search.ledger.extra["calls"] == len(given)


@every_policy
@settings(max_examples=6, deadline=None)
@given(order=st.integers(0, 2**32), share=st.sampled_from([0.3, 1.0]))
def test_any_call_or_sample_may_fail(core: Any, policy: Any, order: int, share: float) -> None:
    chance = random.Random(order)

    def fail(event: ev.Event) -> ev.Event:
        if chance.random() >= share:
            return event
        match event:
            case ev.Called(node):
                return ev.Failed(node, "no sandbox", what="call")
            case ev.Segment(parent, index, _) if share < 1:
                dead = ev.Failed(parent, "engine died", indices=(index,))
                return chance.choice([dead, ev.Cancelled(parent, (index,))])
        return event

    played = core.play(core.search(policy, **core.CALLS), core.CallingWorld(5), chance, intercept=fail)
    failed = [e.node for e in played.events if isinstance(e, ev.Failed) and e.what == "call"]
    assert played.search.ledger.extra["calls_failed"] == len(failed)
    reasons = {t.leaf: t.drop_reason for t in played.search.trajectories()}
    assert all(reasons[node] is DropReason.TOOL_FAILED for node in failed)


@every_policy
def test_no_more_leaves_than_allowed(core: Any, policy: Any) -> None:
    for limit in (1, 4, 9):
        search = core.search(policy, budget=Budget(max_leaves=limit), **core.CALLS)
        played = core.play(search, core.CallingWorld(5), random.Random(limit))
        assert played.search.leaves == len(played.search.trajectories()) <= limit


@every_policy
def test_a_call_too_many_and_a_result_too_long_are_dropped_as_such(core: Any, policy: Any) -> None:
    few = {**core.CALLS, "calls": FencedCalls(max_calls=1)}
    search = core.play(core.search(policy, **few), core.CallingWorld(6)).search
    leaves = {t.leaf: t.drop_reason for t in search.trajectories()}
    ended = [node for node, reason in leaves.items() if reason is DropReason.TOO_MANY_CALLS]
    assert ended
    assert all(search.tree[node].finish is Finish.CALL for node in ended)

    class Verbose(core.CallingWorld):
        def call(self, prefix: list[int], node: str) -> ev.Event:
            return ev.Called(node, (20,) * 2000, "x" * 2000, "x" * 2000)

    search = core.play(core.search(policy, **core.CALLS), Verbose(6)).search
    assert {t.drop_reason for t in search.trajectories()} & {DropReason.RESULT_TOO_LONG}
    assert not search.ledger.extra["given"]


def test_a_model_that_calls_nothing_grows_the_same_tree_as_without_tools_and_is_told_of(core: Any) -> None:
    for policy in POLICIES:
        plain = core.play(core.search(policy), core.World(4))
        tools = core.play(core.search(policy, tools=(PythonTool(),)), core.World(4))
        assert outcome(tools) == outcome(plain)
    search = core.play(core.search(BestOfN(n=40), tools=(PythonTool(),)), core.World(4)).search
    note = explain_missing_calls(search.rollout, search.ledger.snapshot())
    assert note is not None
    assert "calls of type fenced" in note
    called = core.play(core.search(BestOfN(n=40), **core.CALLS), core.CallingWorld(4)).search
    assert explain_missing_calls(called.rollout, called.ledger.snapshot()) is None


def test_values_are_those_of_the_process_whatever_is_called(core: Any) -> None:
    """The mean of many trees' root values is the pass rate of as many independent samples."""
    world = core.CallingWorld(4)

    def mean(policy: Any) -> float:
        found = []
        for seed in range(300):
            search = core.play(core.search(policy, run_seed=seed, **core.CALLS), world, check=False).search
            value = estimate(search.tree, Scheme())[search.tree.root.node_id].value
            found.append(value)
        known = [value for value in found if value is not None]
        return sum(known) / len(known)

    assert abs(mean(Fixed(branching=(2, 2, 2))) - mean(BestOfN(n=8))) < 0.05
