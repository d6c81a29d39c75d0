"""What the generator learns from: whose trajectories, how many, and what each objective is told of them."""

from __future__ import annotations

import ast
from math import fsum
from typing import Any

import numpy as np
import pytest

from berry.pipeline.config.sections.rounds import DpoTraining, GrpoTraining, SftTraining, TreeTraining
from berry.pipeline.core.assignment.splits import Split
from berry.pipeline.rewards.policy.examples import PolicyTree, every_tree
from berry.pipeline.stages.dataset.reading import read_trees
from berry.pipeline.stages.dataset.text_views import connect
from berry.pipeline.stages.training.policy_trees import _of_tree, collect_trees
from berry.sandboxes.sessions import SessionCall, SessionReply

SPLIT = Split(heldout_share=0.4, validation_share=0.1)


def _texts(trees: list[PolicyTree]) -> list[tuple[str, bytes]]:
    return [(tree.problem_id, s.ids.tobytes()) for tree in trees for s in tree.sequences]


def test_the_generator_learns_from_training_problems_alone(stored_run) -> None:
    learned = {
        tree.problem_id
        for tree in list(every_tree(collect_trees(stored_run(count=30), SftTraining(), SPLIT, rounds=[0])))
    }
    assert len(learned) > 5
    assert all(SPLIT.part(problem) == "train" for problem in learned)


@pytest.mark.parametrize(("learn_from", "where"), [("kept", "kept"), ("all", "finish = 'stop'")])
def test_examples_are_distinct_answers_of_the_wanted_kind(stored_run, learn_from: Any, where) -> None:
    run = stored_run(count=12)
    found = _texts(
        list(every_tree(collect_trees(run, SftTraining(learn_from=learn_from, per_problem=100), SPLIT, rounds=[0])))
    )
    rows = connect(run).execute(f"select distinct problem_id, response from trajectories where {where}").fetchall()
    expected = sum(SPLIT.part(row[0]) == "train" for row in rows)
    assert len(found) == len(set(found)) == expected > 0


def test_most_and_per_problem_draw_the_same_for_the_same_seed(stored_run) -> None:
    run = stored_run(count=12)
    settings = SftTraining(learn_from="all", per_problem=3, most=10, seed=4)
    found = _texts(list(every_tree(collect_trees(run, settings, SPLIT, rounds=[0]))))
    assert 8 <= len(found) <= 10, "whole problems of three"
    assert found == _texts(list(every_tree(collect_trees(run, settings, SPLIT, rounds=[0]))))
    assert found != _texts(
        list(every_tree(collect_trees(run, settings.model_copy(update={"seed": 5}), SPLIT, rounds=[0])))
    )
    everything = list(every_tree(collect_trees(run, settings.model_copy(update={"most": None}), SPLIT, rounds=[0])))
    assert set(found) < set(_texts(everything))
    assert max(len(tree.sequences) for tree in everything) == 3


def test_advantages_of_a_problem_have_mean_zero_and_come_with_what_was_sampled(stored_run) -> None:
    run = stored_run(count=12)
    trees = list(every_tree(collect_trees(run, GrpoTraining(scale="none"), SPLIT, rounds=[0])))
    assert len(trees) > 2
    for tree in trees:
        assert fsum(s.weight for s in tree.sequences) == pytest.approx(1)
        mean = fsum(s.weight * float(s.advantages[-1]) for s in tree.sequences if s.advantages is not None)
        assert mean == pytest.approx(0, abs=1e-6)
    stored = {t.problem_id: t for t in read_trees(run)}
    for tree in trees:
        leaves = {
            tuple(stored[tree.problem_id].tree.response_ids(r["leaf"])): r["leaf"]
            for r in stored[tree.problem_id].trajectories
        }
        for s in tree.sequences:
            assert s.logprobs is not None
            n = s.trained_tokens
            wanted = stored[tree.problem_id].logprobs(leaves[tuple(s.ids[-n:].tolist())])
            assert s.logprobs[-n:].tolist() == pytest.approx(wanted)


async def _add(request: SessionCall) -> SessionReply:
    match ast.parse(request.snippet, mode="eval").body:
        case ast.BinOp(ast.Constant(int(a)), operator, ast.Constant(int(b))):
            return SessionReply(str(a + b if isinstance(operator, ast.Add) else a - b), ms=1.0)
    raise AssertionError(request.snippet)


def test_what_a_tool_said_teaches_nothing(stored_run) -> None:
    rollout = {"tools": [{"type": "python"}], "sampling": {"max_tokens": 600}}
    run = stored_run(count=12, rollout=rollout, call=_add, call_share=0.5)
    seen = 0
    for stored in read_trees(run):
        given = {
            tuple(stored.tree.response_ids(row["leaf"])): [
                node.given is not None for node in stored.tree.path(stored.tree[row["leaf"]]) for _ in node.tokens
            ]
            for row in stored.trajectories
        }
        for settings in (SftTraining(per_problem=100), GrpoTraining(), TreeTraining()):
            for made in _of_tree(stored, settings):
                for s in made.sequences:
                    is_given = given[tuple(s.ids[len(stored.tree.prompt_ids) :].tolist())]
                    trained = s.trained[len(stored.tree.prompt_ids) :].tolist()
                    assert [bool(one) for one in trained] == [not one for one in is_given]
                    seen += any(is_given)
    assert seen


def test_segments_are_rewarded_by_what_they_changed(stored_run) -> None:
    run = stored_run(count=12)
    trees = list(every_tree(collect_trees(run, TreeTraining(), SPLIT, rounds=[0])))
    stored = {t.problem_id: t for t in read_trees(run)}
    checked = 0
    for made in trees:
        of = stored[made.problem_id]
        by_ids = {tuple(of.tree.response_ids(r["leaf"])): r for r in of.trajectories}
        root = of.values[of.tree.root.node_id].label
        for s in made.sequences:
            row = by_ids[tuple(s.ids[len(of.tree.prompt_ids) :].tolist())]
            path = of.tree.path(of.tree[row["leaf"]])
            known = [of.values[n.node_id].label for n in path[:-1]]
            if root is None or None in known:
                continue
            assert s.advantages is not None
            at, total = len(of.tree.prompt_ids), 0.0
            for node in path:
                segment = s.advantages[at : at + len(node.tokens)]
                assert len(np.unique(segment)) == 1
                total, at = total + float(segment[0]), at + len(node.tokens)
            assert total == pytest.approx((row["verdict"] == "pass") - root, abs=1e-5), "what segments change adds up"
            checked += 1
    assert checked > 5


def test_pairs_share_what_they_say_and_differ_behind_it(stored_run) -> None:
    trees = list(every_tree(collect_trees(stored_run(count=12), DpoTraining(), SPLIT, rounds=[0])))
    pairs = [
        (tree.sequences[p.chosen].ids, tree.sequences[p.rejected].ids, p.shared) for tree in trees for p in tree.pairs
    ]
    assert len(pairs) > 3
    for chosen, rejected, shared in pairs:
        assert chosen[:shared].tolist() == rejected[:shared].tolist()
        assert chosen.tolist() != rejected.tolist()
