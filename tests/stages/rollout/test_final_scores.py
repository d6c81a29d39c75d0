"""A finished search gets the scores it lacks, prefix by prefix, so many at once."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from math import prod

import pytest

from berry.pipeline.config.sections.rollout.rollout import DelimiterStep, TokensStep
from berry.pipeline.core.events import Completion
from berry.pipeline.core.scorers import path_logprob
from berry.pipeline.core.search.outcome import trajectories
from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.errors import EngineError
from berry.pipeline.records import Finish
from berry.pipeline.stages.dataset.reading import read_trees
from berry.pipeline.stages.rollout.final_scores import AT_ONCE, score_ends
from berry.pipeline.stages.rollout.inner_steps import inner_step_ends
from berry.pipeline.storage.run.directory import RunDir
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


LINES = DelimiterStep(delimiters=("\n",))


def letters(ids: Sequence[int]) -> str:
    return "".join(map(chr, ids))


def chain(tree: Tree, parent: TreeNode, index: int, text: str, *, logprobs: bool = True) -> TreeNode:
    told = tuple(-0.5 for _ in text) if logprobs else ()
    node = tree.add(parent, index, Completion(tuple(map(ord, text)), text, Finish.STOP, told))
    node.verdict = Verdict(Outcome.PASS, Reason.CORRECT)
    return node


async def test_each_step_inside_a_node_gets_the_score_of_the_prefix_that_ends_with_it() -> None:
    tree, scorer = Tree("p", [7, 8]), _Summing()
    whole = chain(tree, tree.root, 0, "ab\n\n\ncd\ne")  # white space alone is no step
    short = chain(tree, tree.root, 1, "f\ng\n", logprobs=False)
    one = chain(tree, tree.root, 2, "h")
    inside = await inner_step_ends(tree, LINES, None, letters)
    assert inside == {whole.node_id: [5, 8], short.node_id: [2]}
    assert await score_ends(tree, scorer, ("prm", "orm"), inside) == 0
    assert whole.inner_prm == [sum(whole.tokens[:5]) / 1e6, sum(whole.tokens[:8]) / 1e6]
    assert short.inner_prm == [sum(short.tokens[:2]) / 1e6]
    assert one.inner_prm is None
    told = {ids: logprob for _, ids, logprob in scorer.asked}
    assert told[tuple(whole.tokens[:5])] == pytest.approx(-2.5)
    assert told[tuple(short.tokens[:2])] is None, "the engine gave no log-probabilities"
    rows = {t.leaf: t for t in trajectories(tree, run_seed=0, round_index=0)}
    scores = [score for score in (*(whole.inner_prm or ()), whole.prm) if score is not None]
    assert len(scores) == 3
    row = rows[whole.node_id]
    assert (row.prm_min, row.prm_last, row.prm_prod) == (min(scores), scores[-1], pytest.approx(prod(scores)))
    assert (rows[one.node_id].prm_min, rows[one.node_id].prm_prod) == (one.prm, one.prm)


async def test_a_segment_that_is_cut_after_it_was_scored_is_scored_anew() -> None:
    tree = Tree("p", [7, 8])
    node = chain(tree, tree.root, 0, "ab\ncd\ne")
    await score_ends(tree, _Summing(), ("prm",), await inner_step_ends(tree, LINES, None, letters))
    head = tree.split(node.node_id, 4)
    assert node.inner_prm is None
    head.text, node.text = "ab\nc", "d\ne"
    await score_ends(tree, scorer := _Summing(), ("prm",), await inner_step_ends(tree, LINES, None, letters))
    assert (head.inner_prm, node.inner_prm) == ([sum(map(ord, "ab\n")) / 1e6], [sum(map(ord, "ab\ncd\n")) / 1e6])
    assert [model for model, _, _ in scorer.asked] == ["prm"] * 3, "the end of the segment had its score"


async def test_steps_inside_segments_whose_places_are_not_known_are_not_scored() -> None:
    tree = Tree("p", [7, 8])
    chain(tree, tree.root, 0, "ab\ncd")
    assert await inner_step_ends(tree, TokensStep(tokens=2), None, letters) == {}
    assert await inner_step_ends(tree, LINES, None, lambda ids: letters(ids).upper()) == {}


def test_scores_of_steps_are_stored_and_read_back(stored_run: Callable[..., RunDir]) -> None:
    """Independent chains, of which each is one node: last, smallest and product of their steps' scores differ."""
    run = stored_run(count=6, policy={"type": "best_of_n", "n": 4}, end_scores=("prm",))
    differ = 0
    for stored in read_trees(run):
        leaves = {row["leaf"]: row for row in stored.trajectories}
        for kept in stored.kept:
            scores, row = kept["prm_scores"], leaves[kept["leaf"]]
            node = stored.tree[kept["leaf"]]
            assert len(scores) == len(kept["steps"])
            assert [*(node.inner_prm or ()), node.prm] == scores
            assert (row["prm_min"], row["prm_last"]) == (min(scores), scores[-1])
            assert row["prm_prod"] == pytest.approx(prod(scores))
            differ += len({row["prm_min"], row["prm_last"], row["prm_prod"]}) == 3
    assert differ > 0
