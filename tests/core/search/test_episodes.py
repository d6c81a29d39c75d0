"""What holds for every policy where an environment answers the model: one node a turn, arrival, replay, limits."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from berry.pipeline.core import events as ev
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.values.estimate import Scheme, estimate
from berry.pipeline.records import DropReason, Finish
from tests.core.search.policies import every_policy, orderless_policy
from tests.core.search.replaying import check_replay, drawn_limits, outcome


def check_turns(played: Any) -> None:
    """The environment is asked once for each turn that the model ended; what it said is the one child of that node, and
    has its value; a leaf is checked by the environment alone."""
    search = played.search
    asked = [c.node for c in played.commands if isinstance(c, ev.TakeTurn)]
    assert asked
    assert len(set(asked)) == len(asked)
    assert not [c for c in played.commands if isinstance(c, ev.Verify)]
    records = {n.node_id: n for n in search.nodes()}
    given = [node for node in search.tree.walk() if node.given is not None]
    for node in given:
        turn, answer = records[node.parent.node_id], records[node.node_id]
        assert node.parent.node_id in asked
        assert (turn.finish, answer.role, answer.logprobs) == (Finish.STEP, "user", None)
        assert (turn.value, turn.value_n, turn.value_low) == (answer.value, answer.value_n, answer.value_low)
    ends = {e.node: e.verdict for e in played.events if isinstance(e, ev.Verified)}
    assert {leaf.node_id: leaf.verdict for leaf in search.tree.leaves() if leaf.verdict is not None} == ends
    assert set(asked) <= ends.keys() | {node.parent.node_id for node in given} | {
        t.leaf for t in search.trajectories() if t.drop_reason is not None
    }


@orderless_policy
@settings(max_examples=6, deadline=None)
@given(order=st.integers(0, 2**32), steps=st.integers(1, 3))
def test_a_turn_that_arrives_late_changes_no_node_value_or_label(
    core: Any, policy: Any, order: int, steps: int
) -> None:
    world = core.EpisodicWorld(steps)
    in_order = core.play(core.search(policy, **core.EPISODES), world)
    shuffled = core.play(core.search(policy, **core.EPISODES), world, random.Random(order))
    check_turns(in_order)
    assert outcome(shuffled) == outcome(in_order)
    assert shuffled.search.finished == in_order.search.finished


@every_policy
@settings(max_examples=6, deadline=None)
@given(order=st.integers(0, 2**32))
def test_the_same_events_in_the_same_order_give_the_same_tree(core: Any, policy: Any, order: int) -> None:
    chance = random.Random(order)
    rollout = {**core.EPISODES, **drawn_limits(chance)}
    first = core.play(core.search(policy, **rollout), core.EpisodicWorld(2), chance)
    check_turns(first)
    again = core.search(policy, **rollout)
    check_replay(first, again)
    assert outcome(core.Played(again)) == outcome(first)


@every_policy
def test_turns_of_the_model_are_counted_and_one_more_is_dropped_as_such(core: Any, policy: Any) -> None:
    limit = core.EPISODES["environment"].model_copy(update={"max_turns": 1})
    search = core.play(core.search(policy, environment=limit), core.EpisodicWorld(2)).search
    reasons = {t.leaf: t.drop_reason for t in search.trajectories()}
    assert DropReason.TOO_MANY_TURNS in reasons.values()
    assert not search.ledger.extra["given"]
    for leaf, reason in reasons.items():
        if reason is DropReason.TOO_MANY_TURNS:
            assert (search.tree[leaf].finish, search.tree[leaf].verdict) == (Finish.STOP, None)


@every_policy
def test_a_turn_that_has_no_room_or_can_not_follow_is_dropped_as_such(core: Any, policy: Any) -> None:
    class Verbose(core.EpisodicWorld):
        def turn(self, prefix: list[int], node: str) -> ev.Event:
            return ev.Called(node, (20,) * 2000, "x" * 2000, "x" * 2000, role="user", turn=True)

    class Mute(core.EpisodicWorld):
        def turn(self, prefix: list[int], node: str) -> ev.Event:
            return ev.Failed(node, "ended with another token", what="turn")

    for world, reason in ((Verbose, DropReason.RESULT_TOO_LONG), (Mute, DropReason.TURN_FAILED)):
        search = core.play(core.search(policy, **core.EPISODES), world(2)).search
        found = {t.drop_reason for t in search.trajectories()}
        assert reason in found
        assert found <= {reason, DropReason.CANCELLED, DropReason.CUT_IN_LOOP}
    assert search.ledger.extra["turns_failed"] > 0


def test_values_are_those_of_the_process_over_several_turns(core: Any) -> None:
    """The mean of many trees' root values is the pass rate of as many independent episodes."""
    world = core.EpisodicWorld(2)

    def mean(policy: Any) -> float:
        found = []
        for seed in range(300):
            search = core.play(core.search(policy, run_seed=seed, **core.EPISODES), world, check=False).search
            value = estimate(search.tree, Scheme())[search.tree.root.node_id].value
            found.append(value)
        known = [value for value in found if value is not None]
        return sum(known) / len(known)

    assert abs(mean(Fixed(branching=(2, 2, 2))) - mean(BestOfN(n=8))) < 0.05
