"""What holds for every policy: order of arrival, replay, failures, cancellation, budgets, odd models."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berry.pipeline.config.sections.rollout.rollout import Budget, Cut, SamplingConfig, TokensStep
from berry.pipeline.core import events as ev
from berry.pipeline.core.search import make_search
from berry.pipeline.core.search.policies.entropy import Entropy
from berry.pipeline.core.search.policies.mcts import Mcts
from berry.pipeline.core.search.policies.omega import Omega
from berry.pipeline.core.search.policies.shepherd import Shepherd
from berry.pipeline.records import DropReason, Finish
from tests.core.search.policies import every_policy, orderless_policy


def outcome(played: Any) -> tuple[object, object]:
    search = played.search
    values = [
        (n.node_id, n.parent_id, tuple(n.token_ids), n.value, n.value_n, n.value_kind, n.weight) for n in search.nodes()
    ]
    return values, [(t.trajectory_id, t.leaf, t.path, t.n_new_tokens, t.drop_reason) for t in search.trajectories()]


@orderless_policy
@settings(max_examples=8, deadline=None)
@given(order=st.integers(0, 2**32), steps=st.integers(0, 6), tokens=st.booleans())
def test_a_result_that_arrives_late_changes_no_node_value_or_label(
    core: Any, policy: Any, order: int, steps: int, tokens: bool
) -> None:
    rollout = {"step": TokensStep(tokens=2)} if tokens else {}
    world = core.World(steps)
    in_order = core.play(core.search(policy, **rollout), world)
    shuffled = core.play(core.search(policy, **rollout), world, random.Random(order))
    assert outcome(shuffled) == outcome(in_order)
    assert shuffled.search.ledger == in_order.search.ledger
    assert shuffled.search.finished == in_order.search.finished


@every_policy
@settings(max_examples=8, deadline=None)
@given(order=st.integers(0, 2**32))
def test_the_same_events_in_the_same_order_give_the_same_commands(core: Any, policy: Any, order: int) -> None:
    chance = random.Random(order)
    budget = Budget(stop_after_correct=chance.choice([None, 2]), max_leaves=chance.choice([None, 9]))
    first = core.play(core.search(policy, budget=budget), core.World(4), chance)
    again = core.search(policy, budget=budget)
    half = core.search(policy, budget=budget)
    commands, seen = list(again.start()), list(half.start())
    cut = len(first.events) // 2
    for i, event in enumerate(first.events):
        commands += again.handle(event)
        if i < cut:
            seen += half.handle(event)
            assert i < cut - 1 or half.digest() == again.digest()
    assert commands == first.commands
    assert again.digest() == first.search.digest()
    assert cut == len(first.events) or half.digest() != again.digest()


@every_policy
def test_seeds_differ_between_problems_rounds_and_runs(core: Any, policy: Any) -> None:
    def seed(problem: str, run_seed: int, round_index: int) -> int:
        config = core.search(policy).rollout
        search = make_search(problem, core.PROMPT, config, run_seed=run_seed, round_index=round_index, context_len=1000)
        (command,) = [c for c in search.start() if isinstance(c, ev.Generate)][:1]
        assert command.seed % 65536 == 0
        return command.seed

    seeds = [seed("p1", 1, 0), seed("p2", 1, 0), seed("p1", 2, 0), seed("p1", 1, 1)]
    assert len(set(seeds)) == 4
    assert seed("p1", 1, 0) == seeds[0]


@every_policy
@settings(max_examples=8, deadline=None)
@given(order=st.integers(0, 2**32), share=st.sampled_from([0.2, 0.5, 1.0]))
def test_any_answer_may_be_a_failure(core: Any, policy: Any, order: int, share: float) -> None:
    chance = random.Random(order)

    def fail(event: ev.Event) -> ev.Event:
        if chance.random() >= share:
            return event
        match event:
            case ev.Segment(parent, index, _):
                dead = ev.Failed(parent, "engine died", indices=(index,))
                return chance.choice([dead, ev.Cancelled(parent, (index,))])
            case ev.Verified(node, _):
                return ev.Failed(node, "sandbox_fault", what="verify")
            case ev.Scored(node, _, _):
                return ev.Failed(node, "no scorer", what="score")
        return event

    played = core.play(core.search(policy), core.World(4), chance, intercept=fail)
    search = played.search
    if share == 1.0:
        assert search.finished is ev.FinishReason.FAILED
        (nothing,) = search.trajectories()
        assert nothing.path == ()
        assert nothing.drop_reason in (DropReason.ENGINE_FAILED, DropReason.CANCELLED)
    assert (
        sum(isinstance(e, ev.Failed) and e.what == "generate" for e in played.events) == search.ledger.extra["failed"]
    )


@every_policy
def test_answers_nobody_waits_for_change_nothing_but_a_count(core: Any, policy: Any) -> None:
    played = core.play(core.search(policy), core.World(4))
    search = played.search
    before = outcome(played)
    for event in played.events:
        assert search.handle(event) == []
    assert outcome(played) == before
    asked_twice = [e for e in played.events if not isinstance(e, ev.Cancelled | ev.BudgetGrant)]
    assert search.ledger.extra["ignored"] >= len(asked_twice)


@every_policy
def test_enough_correct_cancels_the_rest_and_lets_checks_come_in(core: Any, policy: Any) -> None:
    budget = Budget(stop_after_correct=2)
    played = core.play(core.search(policy, budget=budget), core.World(6), random.Random(3))
    search = played.search
    assert search.finished is ev.FinishReason.ENOUGH
    assert search.passed >= 2
    stopped = (
        next(i for i, c in enumerate(played.commands) if isinstance(c, ev.Cancel))
        if any(isinstance(c, ev.Cancel) for c in played.commands)
        else len(played.commands)
    )
    assert not any(isinstance(c, ev.Generate) for c in played.commands[stopped:])
    for t in search.trajectories():
        assert t.verdict is not None or t.drop_reason is not None


@every_policy
def test_hopeless_problems_are_given_up(core: Any, policy: Any) -> None:
    class Wrong(core.World):
        def verdict(self, response: list[int]) -> Any:
            return core.FAIL

    played = core.play(core.search(policy, budget=Budget(hopeless_after=2)), Wrong(4))
    assert played.search.finished is ev.FinishReason.HOPELESS


@every_policy
def test_what_could_not_be_checked_counts_in_neither(core: Any, policy: Any) -> None:
    class Broken(core.World):
        def verdict(self, response: list[int]) -> Any:
            return core.UNSURE

    played = core.play(core.search(policy, budget=Budget(hopeless_after=1)), Broken(4))
    search = played.search
    assert search.finished is not ev.FinishReason.HOPELESS
    assert all((n.value_n, n.value, n.reached) == (0, None, None) for n in search.nodes())


@every_policy
@settings(max_examples=6, deadline=None)
@given(order=st.integers(0, 2**32), limit=st.integers(1, 10))
def test_no_more_leaves_than_allowed(core: Any, policy: Any, order: int, limit: int) -> None:
    search = core.search(policy, budget=Budget(max_leaves=limit))
    played = core.play(search, core.World(4), random.Random(order))
    assert len(played.search.trajectories()) <= limit
    assert played.search.leaves == len(played.search.trajectories())


@every_policy
def test_the_token_limit_stops_soon_after_it_is_reached(core: Any, policy: Any) -> None:
    free = core.play(core.search(policy), core.World(6)).search.ledger.generated
    search = core.search(policy, budget=Budget(max_tokens=free // 2))
    played = core.play(search, core.World(6), random.Random(1))
    assert played.search.finished is ev.FinishReason.BUDGET
    assert free // 2 <= played.search.ledger.generated + played.search.ledger.cancelled
    longest = max(t.n_tokens for t in played.search.trajectories())
    assert played.search.ledger.generated <= free // 2 + longest


@every_policy
def test_a_prompt_that_fills_the_context_is_recorded(core: Any, policy: Any) -> None:
    search = core.search(policy, context_len=len(core.PROMPT))
    assert search.start() == [ev.Finished(ev.FinishReason.FAILED)]
    (trajectory,) = search.trajectories()
    assert trajectory.drop_reason is DropReason.PROMPT_TOO_LONG
    assert trajectory.n_tokens == 0


def says(tokens: tuple[int, ...], finish: Finish) -> Callable[[Any], Any]:
    def make(core: Any) -> Any:
        class Odd(core.World):
            def segment(self, prefix: list[int], until: ev.Until, seed: int) -> ev.Completion:
                return ev.Completion(tokens[: until.max_tokens], "x" * len(tokens[: until.max_tokens]), finish)

        return Odd()

    return make


@every_policy
@pytest.mark.parametrize("tokens", [False, True])
@pytest.mark.parametrize("finish", [Finish.STOP, Finish.STEP, Finish.LENGTH])
def test_an_engine_that_returns_nothing_is_recorded(core: Any, policy: Any, finish: Finish, tokens: bool) -> None:
    rollout = {"step": TokensStep(tokens=4)} if tokens else {}
    played = core.play(core.search(policy, **rollout), says((), finish)(core))
    assert {t.drop_reason for t in played.search.trajectories()} == {DropReason.EMPTY}


@every_policy
@pytest.mark.parametrize("tokens", [False, True])
def test_a_model_that_never_stops_is_truncated(core: Any, policy: Any, tokens: bool) -> None:
    class Endless(core.World):
        def segment(self, prefix: list[int], until: ev.Until, seed: int) -> ev.Completion:
            return ev.Completion((5,) * until.max_tokens, "y" * until.max_tokens, Finish.LENGTH)

    rollout: dict[str, Any] = {"step": TokensStep(tokens=7)} if tokens else {}
    search = core.search(policy, sampling=SamplingConfig(max_tokens=40), **rollout)
    played = core.play(search, Endless())
    ended = [t for t in played.search.trajectories() if t.drop_reason is not DropReason.CUT_IN_LOOP]
    assert {t.drop_reason for t in ended} == {DropReason.TRUNCATED}
    assert {t.n_tokens for t in ended} == {40}
    assert not any(isinstance(c, ev.Verify) for c in played.commands)
    checked = core.play(
        core.search(policy, sampling=SamplingConfig(max_tokens=40), verify_truncated=True, **rollout), Endless()
    )
    assert any(isinstance(c, ev.Verify) for c in checked.commands)


@every_policy
def test_the_depth_limit_bounds_the_tree_and_loses_no_answer(core: Any, policy: Any) -> None:
    played = core.play(core.search(policy, budget=Budget(max_depth=2)), core.World(6))
    if not isinstance(policy, Entropy | Shepherd | Omega):  # which branch inside whole solutions, wherever a step ends
        assert max(n.depth for n in played.search.nodes()) <= 2
    ended = [t for t in played.search.trajectories() if t.drop_reason is not DropReason.CUT_IN_LOOP]
    assert all(t.finish is Finish.STOP for t in ended)


@every_policy
@pytest.mark.parametrize("speculative", [True, False])
@settings(max_examples=6, deadline=None)
@given(order=st.integers(0, 2**32))
def test_a_cut_branch_grows_no_further(core: Any, policy: Any, speculative: bool, order: int) -> None:
    cut = Cut(below=0.3, model="prm", speculative=speculative)
    played = core.play(core.search(policy, cut=cut), core.World(5), random.Random(order))
    tree = played.search.tree
    for node in tree.walk():
        if node.drop is DropReason.CUT_IN_LOOP and node.prm is not None and node.prm < 0.3 and not speculative:
            assert not node.children
    asked = {c.node for c in played.commands if isinstance(c, ev.Score)}
    if not isinstance(policy, Mcts | Shepherd | Omega):
        steps = [n for n in tree.walk() if n.parent is not None and n.finish is Finish.STEP and n.offset == 0]
        assert any(n.node_id in asked for n in steps)


@every_policy
@pytest.mark.parametrize("leaves", [0, 5])
def test_a_settled_search_uses_what_it_is_granted_and_ends_once(core: Any, policy: Any, leaves: int) -> None:
    search = core.search(policy, budget=Budget(reallocate=True, stop_after_correct=1000))

    def grant(event: ev.Event) -> ev.Event:
        return ev.BudgetGrant(leaves) if isinstance(event, ev.BudgetGrant) else event

    played = core.play(search, core.World(4), intercept=grant)
    settled = [c for c in played.commands if isinstance(c, ev.BudgetRequest)]
    assert len(settled) == 1
    plain = core.play(core.search(policy), core.World(4)).search
    more = len(played.search.trajectories()) - len(plain.trajectories())
    if settled[0].wanted and leaves:
        assert more > 0
    else:
        assert more == 0 or leaves
