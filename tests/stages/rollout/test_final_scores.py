"""A finished search gets the scores it lacks, prefix by prefix, so many at once."""

from __future__ import annotations

import asyncio
import random

import pytest

from berry.pipeline.core.events import Completion
from berry.pipeline.core.scorers import path_logprob
from berry.pipeline.core.tree import Tree
from berry.pipeline.errors import EngineError
from berry.pipeline.records import Finish
from berry.pipeline.stages.rollout.final_scores import AT_ONCE, score_ends
from berry.verifiers.base import Outcome, Reason, Verdict


def grown(nodes: int, *, seed: int = 1) -> Tree:
    """A tree of random shape, whose leaves passed, some segments without log-probabilities."""
    chance = random.Random(seed)
    tree = Tree("p", [7, 8])
    made = [tree.root]
    for index in range(nodes):
        ids = tuple(chance.choices(range(50), k=chance.randint(0, 4)))
        logprobs = tuple(-chance.random() for _ in ids) if chance.random() < 0.8 else ()
        parent = chance.choice(made)
        made.append(tree.add(parent, index, Completion(ids, "x" * len(ids), Finish.STEP, logprobs)))
    for leaf in tree.leaves():
        leaf.verdict = Verdict(Outcome.PASS, Reason.CORRECT)
    return tree


class _Summing:
    """Scores a prefix by its tokens, and remembers what it was asked."""

    def __init__(self, *, refuses: int | None = None) -> None:
        self.asked: list[tuple[str, tuple[int, ...], float | None]] = []
        self.open = self.most = 0
        self.refuses = refuses

    async def score(
        self, *, model: str, prompt_ids: list[int], response_ids: list[int], logprob: float | None = None
    ) -> float:
        assert prompt_ids == [7, 8]
        self.asked.append((model, tuple(response_ids), logprob))
        self.open += 1
        self.most = max(self.most, self.open)
        await asyncio.sleep(0.001)
        self.open -= 1
        if len(response_ids) == self.refuses:
            raise EngineError("too long")
        return sum(response_ids) / 1e6

    def versions(self) -> dict[str, str]:
        return {}


async def test_every_node_gets_the_score_of_its_own_prefix() -> None:
    tree, scorer = grown(300), _Summing()
    assert await score_ends(tree, scorer, ("prm", "orm")) == 0
    for node in tree.walk():
        wanted = sum(tree.response_ids(node.node_id)) / 1e6 if node.tokens else None
        assert node.prm == wanted
        assert node.orm == (None if node.children else wanted)
    assert scorer.most <= AT_ONCE


async def test_a_prefix_comes_with_the_log_probability_of_its_path() -> None:
    tree, scorer = grown(100, seed=2), _Summing()
    await score_ends(tree, scorer, ("prm",))
    expected = {tuple(tree.response_ids(n.node_id)): path_logprob(tree, n.node_id) for n in tree.walk() if n.tokens}
    assert any(value is None for value in expected.values())
    for _, ids, logprob in scorer.asked:
        if expected[ids] is None:
            assert logprob is None
        else:
            assert logprob == pytest.approx(expected[ids])


async def test_scores_that_are_there_are_not_asked_for_and_those_that_fail_are_counted() -> None:
    tree = grown(60, seed=3)
    for node in tree.walk():
        node.prm = 0.5 if node.depth == 1 else None
    refused = max(len(tree.response_ids(n.node_id)) for n in tree.walk() if n.tokens)
    scorer = _Summing(refuses=refused)
    failed = await score_ends(tree, scorer, ("prm",))
    assert failed == sum(node.prm is None for node in tree.walk() if node.tokens) > 0
    assert all(node.prm == 0.5 for node in tree.walk() if node.depth == 1)


async def test_what_is_no_refusal_ends_the_search_as_itself() -> None:
    class _Broken(_Summing):
        async def score(
            self, *, model: str, prompt_ids: list[int], response_ids: list[int], logprob: float | None = None
        ) -> float:
            raise ZeroDivisionError(model)

    with pytest.raises(ZeroDivisionError):
        await score_ends(grown(20), _Broken(), ("prm",))
