"""The exact commands of each policy on a small scripted tree, event by event."""

from __future__ import annotations

from typing import Any

import pytest

from berry.pipeline.config.sections.rollout.rollout import Budget, SamplingConfig, Thinking, TokensStep
from berry.pipeline.core import events as ev
from berry.pipeline.core import seeds
from berry.pipeline.core.search import Search
from berry.pipeline.core.search.policies.beam import Beam
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.policies.dvts import Dvts
from berry.pipeline.core.search.policies.entropy import Entropy
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.search.policies.mcts import Mcts
from berry.pipeline.core.search.policies.omega import Omega
from berry.pipeline.core.search.policies.shepherd import Shepherd
from berry.pipeline.core.search.policies.value import ValueGuided
from berry.pipeline.records import DropReason, Finish
from berry.verifiers.base import Outcome, Reason, Verdict

END = ev.Until(256)
CUT_LATER = ev.Until(256, token_ends=True)
A, B, C = (11, 12, 1), (13, 14, 1), (15, 16, 1)  # three steps of the scripted world: ";" ends them


def root() -> str:
    return seeds.root_id("p1")


def child(parent: str, index: int) -> str:
    return seeds.framed_id(seeds.frame("node", "p1", parent), index)


def seg(parent: str, index: int, tokens: tuple[int, ...], finish: Finish, entropies: tuple[float, ...] = ()) -> Any:
    text = "".join(";" if t == 1 else "." if t == 2 else chr(87 + t) for t in tokens)
    ends = tuple(range(1, len(tokens) + 1))
    return ev.Segment(parent, index, ev.Completion(tokens, text, finish, (), entropies, token_ends=ends))


def step(parent: str, index: int, tokens: tuple[int, ...] = A) -> Any:
    return seg(parent, index, tokens, Finish.STEP)


def stop(parent: str, index: int, tokens: tuple[int, ...] = (10, 2)) -> Any:
    return seg(parent, index, tokens, Finish.STOP)


def brief(commands: list[ev.Command]) -> list[Any]:
    """Generates as (node, first index, n, until), the rest as they are."""
    return [(c.node, c.first_index, c.n, c.until) if isinstance(c, ev.Generate) else c for c in commands]


def steps_of(used: int, **more: Any) -> ev.Until:
    return ev.Until(256 - used, (";",), **more)


def test_best_of_n_asks_once_verifies_each_and_ends(core: Any) -> None:
    search: Search = core.search(BestOfN(n=2))
    (generate,) = search.start()
    assert generate == ev.Generate(
        root(), 2, END, ev.Sampling(), seeds.generate_seed(7, 0, "p1", root(), 0), priority=0.0, first_index=0
    )
    leaf = [child(root(), i) for i in range(2)]
    assert search.handle(stop(root(), 1)) == [ev.Verify(leaf[1])]
    assert search.handle(stop(root(), 0)) == [ev.Verify(leaf[0])]
    assert search.handle(ev.Verified(leaf[0], core.PASS)) == []
    assert search.handle(ev.Verified(leaf[1], core.FAIL)) == [ev.Finished(ev.FinishReason.DONE)]
    assert [t.leaf for t in search.trajectories()] == leaf
    assert search.nodes()[0].value == 0.5


def test_best_of_n_keeps_a_window_open_and_saves_what_is_not_needed(core: Any) -> None:
    search: Search = core.search(BestOfN(n=10), budget=Budget(max_in_flight=2, stop_after_correct=1))
    assert brief(search.start()) == [(root(), 0, 2, END)]
    first = child(root(), 0)
    assert brief(search.handle(stop(root(), 0))) == [ev.Verify(first), (root(), 2, 1, END)]
    assert search.handle(ev.Verified(first, core.PASS)) == [ev.Cancel(root())]
    assert search.handle(ev.Cancelled(root(), (1, 2), tokens=9)) == [ev.Finished(ev.FinishReason.ENOUGH)]
    ledger = search.ledger.snapshot()
    assert (ledger.generated, ledger.cancelled) == (2, 9)
    assert (ledger.extra["planned_leaves"], ledger.extra["saved_leaves"]) == (10, 9)


def test_large_requests_are_asked_for_in_parts_with_seeds_apart(core: Any) -> None:
    first, second, third = core.search(BestOfN(n=600)).start()
    assert [(c.first_index, c.n) for c in (first, second, third)] == [(0, 256), (256, 256), (512, 88)]
    assert len({c.seed + i for c in (first, second, third) for i in range(c.n)}) == 600


def test_fixed_branches_by_depth_then_goes_to_the_end(core: Any) -> None:
    search: Search = core.search(Fixed(branching=(2, 3)))
    assert brief(search.start()) == [(root(), 0, 2, steps_of(0))]
    one = child(root(), 0)
    (grown,) = search.handle(step(root(), 0))
    assert brief([grown]) == [(one, 0, 3, ev.Until(253))]
    assert isinstance(grown, ev.Generate)
    assert grown.priority == -2.0
    assert search.handle(stop(one, 0)) == [ev.Verify(child(one, 0))]
    assert search.handle(stop(root(), 1)) == [ev.Verify(child(root(), 1))]


def test_a_step_of_tokens_is_a_step_until_the_budget_is_spent(core: Any) -> None:
    search: Search = core.search(
        Fixed(branching=(1, 2, 1)), step=TokensStep(tokens=3), sampling=SamplingConfig(max_tokens=5)
    )
    assert brief(search.start()) == [(root(), 0, 1, ev.Until(3))]
    one = child(root(), 0)
    assert brief(search.handle(seg(root(), 0, (5, 6, 7), Finish.LENGTH))) == [(one, 0, 2, ev.Until(2))]
    assert search.handle(seg(one, 0, (8, 9), Finish.LENGTH)) == []
    assert search.handle(stop(one, 1)) == [ev.Verify(child(one, 1))]
    cut, _ = search.trajectories()
    assert (cut.finish, cut.drop_reason) == (Finish.LENGTH, DropReason.TRUNCATED)


def test_thinking_comes_as_one_step(core: Any) -> None:
    search: Search = core.search(Fixed(branching=(2, 2, 2)), thinking=Thinking())
    assert brief(search.start()) == [(root(), 0, 2, ev.Until(256, ("</think>",)))]
    assert brief(search.handle(step(root(), 0))) == [(child(root(), 0), 0, 2, steps_of(3))]
    everywhere: Search = core.search(Fixed(branching=(2, 2, 2)), thinking=Thinking(steps="everywhere"))
    assert brief(everywhere.start()) == [(root(), 0, 2, steps_of(0))]


def test_entropy_forks_before_the_least_certain_tokens(core: Any) -> None:
    search: Search = core.search(Entropy(chains=2, forks=2, rounds=1, branches=3))
    (asked,) = search.start()
    assert brief([asked]) == [(root(), 0, 2, CUT_LATER)]
    assert isinstance(asked, ev.Generate)
    assert asked.sampling.top_logprobs == 5
    leaf = child(root(), 1)
    tokens, entropies = (11, 12, 13, 1, 14, 2), (9.0, 0.1, 0.5, 0.2, 0.7, 0.0)
    early, late = seeds.split_id("p1", leaf, 2), seeds.split_id("p1", leaf, 4)
    commands = search.handle(seg(root(), 1, tokens, Finish.STOP, entropies))
    assert brief(commands) == [
        ev.Verify(leaf),
        (early, 0, 3, ev.Until(254, token_ends=True)),
        (late, 0, 3, ev.Until(252, token_ends=True)),
    ]
    tree = search.tree
    assert tree.response_ids(early) == [11, 12]
    assert tree.response_ids(late) == [11, 12, 13, 1]
    assert tree.response_ids(leaf) == list(tokens)
    assert [tree[n].text for n in (early, late, leaf)] == ["bc", "d;", "e."]
    assert search.handle(stop(early, 0)) == [ev.Verify(child(early, 0))]


def test_value_shares_leaves_among_siblings_and_cuts_the_hopeless(core: Any) -> None:
    search: Search = core.search(ValueGuided(leaves=6, chains=3, max_branch=3, cut_below=0.2, waves=1))
    assert brief(search.start()) == [(root(), 0, 3, steps_of(0))]
    a, b, c = (child(root(), i) for i in range(3))
    assert search.handle(step(root(), 0)) == [ev.Score(a, "prm")]
    assert search.handle(step(root(), 1, B)) == [ev.Score(b, "prm")]
    assert search.handle(ev.Scored(b, 0.1)) == []
    assert search.handle(ev.Scored(a, 0.5)) == []
    assert search.handle(step(root(), 2, C)) == [ev.Score(c, "prm")]
    # shares of 6 leaves: a 0.5 ─► 2, c 1.0 ─► 4; b is below the cut; a is least certain: 1 + round(1 · 2) children
    assert brief(search.handle(ev.Scored(c, 1.0))) == [(a, 0, 3, steps_of(3)), (c, 0, 1, steps_of(3))]
    assert search.tree[b].drop is DropReason.CUT_IN_LOOP


def test_beam_ranks_a_whole_depth_and_a_finished_answer_keeps_its_place(core: Any) -> None:
    search: Search = core.search(Beam(beams=2, width=2))
    assert brief(search.start()) == [(root(), 0, 4, steps_of(0))]
    names = [child(root(), i) for i in range(4)]
    for i in range(3):
        assert search.handle(step(root(), i, (20 + i, 1))) == [ev.Score(names[i], "prm")]
    assert search.handle(stop(root(), 3)) == [ev.Verify(names[3]), ev.Score(names[3], "prm")]
    for i, value in ((0, 0.3), (1, 0.9), (2, 0.2)):
        assert search.handle(ev.Scored(names[i], value)) == []
    assert brief(search.handle(ev.Scored(names[3], 0.8))) == [(names[1], 0, 2, steps_of(2))]
    assert [search.tree[n].drop for n in names] == [DropReason.CUT_IN_LOOP, None, DropReason.CUT_IN_LOOP, None]
    below = [child(names[1], i) for i in range(2)]
    last: list[ev.Command] = []
    for i in range(2):
        search.handle(step(names[1], i, (30 + i, 1)))
        last = search.handle(ev.Scored(below[i], 0.1 * i))
    assert brief(last) == [(below[1], 0, 2, steps_of(4))], "one of the two places is taken for good"


def test_dvts_lets_each_subtree_go_on_by_itself(core: Any) -> None:
    search: Search = core.search(Dvts(subtrees=2, width=2))
    assert brief(search.start()) == [(root(), 0, 4, steps_of(0))]
    names = [child(root(), i) for i in range(4)]
    for i in (0, 2):  # the two candidates of subtree 0
        search.handle(step(root(), i, (20 + i, 1)))
    assert search.handle(ev.Scored(names[0], 0.1)) == []
    assert brief(search.handle(ev.Scored(names[2], 0.2))) == [(names[2], 0, 2, steps_of(2))]
    assert search.tree[names[0]].drop is DropReason.CUT_IN_LOOP


def test_mcts_forks_inside_what_passed(core: Any) -> None:
    search: Search = core.search(Mcts(simulations=4, parallel=1, width=2, c_puct=0.1))
    assert brief(search.start()) == [(root(), 0, 1, CUT_LATER)]
    first = child(root(), 0)
    assert search.handle(stop(root(), 0, (*A, *B, 10, 2))) == [ev.Verify(first)]
    pieces = [seeds.split_id("p1", first, at) for at in (3, 6)]
    # Q is 1 all along the only path: the new arm, not yet tried, is as good and has the larger U
    assert brief(search.handle(ev.Verified(first, core.PASS))) == [(root(), 1, 1, CUT_LATER)]
    second = child(root(), 1)
    assert search.handle(stop(root(), 1)) == [ev.Verify(second)]
    commands = search.handle(ev.Verified(second, core.FAIL))
    assert brief(commands) == [(pieces[0], 0, 1, ev.Until(253, token_ends=True))]
    assert search.tree.response_ids(pieces[0]) == list(A)
    third = child(pieces[0], 0)
    search.handle(stop(pieces[0], 0))
    assert brief(search.handle(ev.Verified(third, core.FAIL))) == [(pieces[1], 0, 1, ev.Until(250, token_ends=True))]


def test_mcts_takes_nothing_for_wrong_that_is_not(core: Any) -> None:
    search: Any = core.search(Mcts(simulations=5, parallel=1, width=9))
    search.start()
    unanswered = Verdict(Outcome.FAIL, Reason.NO_ANSWER)
    for index, verdict in enumerate((core.PASS, unanswered, core.UNSURE, core.FAIL)):
        search.handle(stop(root(), index))
        search.handle(ev.Verified(child(root(), index), verdict))
    search.handle(seg(root(), 4, (10,) * 256, Finish.LENGTH))
    [(_, visits, known, won, flying)] = [stat for stat in search.policy_state()[0] if stat[0] == root()]
    assert (visits, known, won, flying) == (5, 2, 1, 0)


def test_mcts_asks_for_priors_of_new_steps_alone(core: Any) -> None:
    search: Search = core.search(Mcts(simulations=2, parallel=1, prior="scorer", scorer="small"))
    search.start()
    first = child(root(), 0)
    pieces = [seeds.split_id("p1", first, at) for at in (3, 6)]
    commands = search.handle(stop(root(), 0, (*A, *B, 10, 2)))
    assert commands == [ev.Verify(first), *(ev.Score(piece, "small") for piece in pieces)]


def test_mcts_ends_when_every_branch_is_exhausted(core: Any) -> None:
    search: Search = core.search(Mcts(simulations=100, parallel=2, width=2))
    played = core.play(search, core.World(steps=0))
    assert len(search.trajectories()) == 2
    assert played.commands[-1] == ev.Finished(ev.FinishReason.DONE)


def test_shepherd_completes_every_step_but_the_last(core: Any) -> None:
    search: Search = core.search(Shepherd(chains=1, completions=4))
    assert brief(search.start()) == [(root(), 0, 1, CUT_LATER)]
    leaf = child(root(), 0)
    pieces = [seeds.split_id("p1", leaf, at) for at in (3, 6)]
    assert brief(search.handle(stop(root(), 0, (*A, *B, 10, 2)))) == [
        ev.Verify(leaf),
        (pieces[0], 0, 4, ev.Until(253, token_ends=True)),
        (pieces[1], 0, 4, ev.Until(250, token_ends=True)),
    ]
    assert search.handle(stop(pieces[0], 2, (*C, 10, 2))) == [ev.Verify(child(pieces[0], 2))]


def test_omega_halves_until_the_first_wrong_step(core: Any) -> None:
    search: Search = core.search(Omega(chains=2, completions=2, searches=1))
    search.start()
    leaf = child(root(), 0)
    search.handle(stop(root(), 0, (*A, *B, *C, *A, 10, 2)))
    search.handle(stop(root(), 1, (*A, 11, 2)))
    assert search.handle(ev.Verified(child(root(), 1), core.PASS)) == []
    pieces = [seeds.split_id("p1", leaf, at) for at in (3, 6, 9, 12)]
    # five steps, the last one wrong with the answer: the middle of (-1, 4) is step 1
    assert brief(search.handle(ev.Verified(leaf, core.FAIL))) == [(pieces[1], 0, 2, ev.Until(250, token_ends=True))]
    for i in range(2):
        search.handle(stop(pieces[1], i))
    search.handle(ev.Verified(child(pieces[1], 0), core.FAIL))
    commands = search.handle(ev.Verified(child(pieces[1], 1), core.PASS))
    assert brief(commands) == [(pieces[2], 0, 2, ev.Until(247, token_ends=True))], "MC > 0: later"
    for i in range(2):
        search.handle(stop(pieces[2], i))
    search.handle(ev.Verified(child(pieces[2], 0), core.FAIL))
    done = search.handle(ev.Verified(child(pieces[2], 1), core.FAIL))
    assert done == [ev.Finished(ev.FinishReason.DONE)], "MC = 0 right after MC > 0: found"
    assert getattr(search, "first_errors") == {leaf: pieces[2]}  # noqa: B009


@pytest.mark.parametrize("verdict", ["PASS", "FAIL"])
def test_omega_searches_no_problem_whose_solutions_all_pass_or_all_fail(core: Any, verdict: str) -> None:
    search: Search = core.search(Omega(chains=2))
    search.start()
    for i in range(2):
        search.handle(stop(root(), i, (*A, *B, 10 + i, 2)))
    search.handle(ev.Verified(child(root(), 0), getattr(core, verdict)))
    last = search.handle(ev.Verified(child(root(), 1), getattr(core, verdict)))
    assert last == [ev.Finished(ev.FinishReason.DONE)]
