"""Chains of forked trees are single draws, so that rates over them are those of independent samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.stages.dataset.reading import StoredTree, read_trees, stored_config
from berry.pipeline.stages.evaluation.chains import ProblemAnswers, answer_of, is_independent, read_answers
from berry.pipeline.storage.run.directory import open_run


@pytest.fixture
def made(make_run: Any) -> Callable[..., list[StoredTree]]:
    def make(folder: Path, policy: dict[str, Any], **rollout: Any) -> list[StoredTree]:
        raw = {
            "problems": [{"type": "synthetic", "count": 60, "seed": 4}],
            "engine": {"type": "synthetic"},
            "rollout": {"policy": policy, "step": {"type": "delimiter", "delimiters": ["\n"]}, **rollout},
        }
        make_run(folder, raw)
        return list(read_trees(open_run(str(folder / "run"))))

    return make


def independent(folder: Path) -> bool:
    return is_independent(stored_config(open_run(str(folder / "run"))))


def rate(answers: list[ProblemAnswers]) -> float:
    rates = [p.pass_rate for p in answers if p.pass_rate is not None]
    return sum(rates) / len(rates)


@pytest.mark.slow
@pytest.mark.parametrize(
    "policy",
    [
        {"type": "fixed", "branching": [4, 3]},
        {"type": "entropy", "chains": 6, "forks": 3},
        {"type": "best_of_n", "n": 6},
    ],
    ids=lambda policy: policy["type"],
)
def test_chains_of_a_tree_pass_as_often_as_the_model_does(made: Any, tmp_path: Path, policy: dict[str, Any]):
    trees = made(tmp_path, policy)
    assert independent(tmp_path)
    chains = list(read_answers(trees, independent=True))
    assert len({p.problem_id for p in chains}) == 60
    assert all(len(p.answers) == len(t.tree.root.children) for p, t in zip(chains, trees, strict=True))
    values = [t.values[t.tree.root.node_id].value for t in trees]
    truth = [v for v in values if v is not None]
    assert rate(chains) == pytest.approx(sum(truth) / len(truth), abs=0.08)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "rollout"),
    [
        ({"type": "mcts", "simulations": 6}, {}),
        ({"type": "best_of_n", "n": 6}, {"budget": {"stop_after_correct": 1}}),
        ({"type": "best_of_n", "n": 6}, {"budget": {"stop_after_correct": 2}}),
    ],
    ids=["mcts", "stopped early", "stopped in the order of the draws"],
)
def test_searches_that_look_at_verdicts_are_no_independent_chains(
    made: Any, tmp_path: Path, policy: dict[str, Any], rollout: dict[str, Any]
):
    trees = made(tmp_path, policy, **rollout)
    assert not independent(tmp_path)
    leaves = list(read_answers(trees[:3], independent=False))
    assert all(len(p.answers) == len(t.trajectories) for p, t in zip(leaves, trees, strict=False))


def test_leaf_weights_of_a_whole_tree_sum_to_one(made: Any, tmp_path: Path):
    trees = made(tmp_path, {"type": "fixed", "branching": [4, 3]})
    for answers in read_answers(trees[:10], independent=False):
        assert answers.weights is not None
        assert sum(answers.weights) == pytest.approx(1.0)
    generated = [p.generated for p in read_answers(trees[:10], independent=False)]
    assert generated == [sum(len(n.tokens) for n in t.tree.walk()) for t in trees[:10]]


def test_branches_that_a_search_gave_up_are_no_answers_that_could_not_be_checked(made: Any, tmp_path: Path):
    trees = made(tmp_path, {"type": "beam", "beams": 2, "width": 4, "scorer": "logprob", "spare": 0})
    for answers, stored in zip(read_answers(trees, independent=False), trees, strict=True):
        assert 0 < len(answers.answers) < len(stored.trajectories)
        assert all(answer.passed is not None for answer in answers.answers)
        assert answers.generated == sum(len(node.tokens) for node in stored.tree.walk())


def test_problems_of_other_benchmarks_are_passed_over(made: Any, tmp_path: Path):
    trees = made(tmp_path, {"type": "best_of_n", "n": 2})
    wanted = {trees[0].problem_id: "mine"}
    (found,) = read_answers(trees, wanted, independent=True)
    assert (found.benchmark, found.problem_id) == ("mine", trees[0].problem_id)


@pytest.mark.parametrize(
    ("verdict", "reason", "finish", "passed"),
    [
        ("pass", "correct", "stop", True),
        ("fail", "wrong_answer", "stop", False),
        ("fail", "no_answer", "stop", False),
        (None, None, "length", False),
        ("unverifiable", "sandbox_fault", "stop", None),
        (None, None, "cancelled", None),
    ],
)
def test_no_answer_and_no_tokens_left_are_not_right_and_unchecked_is_unknown(
    verdict: str | None, reason: str | None, finish: str, passed: bool | None
):
    row = {"verdict": verdict, "verdict_reason": reason, "finish": finish, "answer": None, "n_tokens": 3}
    assert answer_of(row, {}).passed is passed
