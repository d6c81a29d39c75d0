"""The tree: prefixes, cutting inside segments, memory."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berry.pipeline.core.events import Completion
from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.records import Finish


def children_ids(tree: Tree, node_id: str) -> list[str]:
    """In the tree's own order."""
    return [node.node_id for node in tree.walk(tree[node_id]) if node.parent is tree[node_id]]


def segment(n: int, first: int = 0, finish: Finish = Finish.STEP, *, detail: bool = True) -> Completion:
    ids = tuple(range(first, first + n))
    return Completion(
        token_ids=ids,
        text="".join(f"<{i}>" for i in ids),
        finish=finish,
        logprobs=tuple(-0.5 for _ in ids),
        entropies=tuple(float(i) for i in ids) if detail else (),
        token_ends=tuple(sum(len(f"<{j}>") for j in ids[: i + 1]) for i in range(n)) if detail else (),
    )


def small() -> Tree:
    tree = Tree("p", [7, 8])
    a = tree.add(tree.root, 0, segment(3))
    tree.add(tree.root, 1, segment(2, 10, Finish.STOP))
    tree.add(a, 1, segment(2, 20, Finish.STOP))
    tree.add(a, 0, segment(2, 30, Finish.STOP))
    return tree


def test_prefixes_are_prompt_and_path() -> None:
    tree = small()
    a, b = children_ids(tree, tree.root.node_id)
    first, second = children_ids(tree, a)
    assert tree.prefix_ids(tree.root.node_id) == [7, 8]
    assert tree.prefix_ids(first) == [7, 8, 0, 1, 2, 30, 31]
    assert tree.response_ids(second) == [0, 1, 2, 20, 21]
    assert [leaf.node_id for leaf in tree.leaves()] == [first, second, b]
    assert tree.parent_id(first) == a
    assert tree.parent_id(tree.root.node_id) is None
    assert [node.node_id for node in tree.walk(tree[a])] == [a, first, second]
    assert a in tree
    assert len(tree) == 5


def test_a_child_comes_once() -> None:
    tree = small()
    with pytest.raises(ValueError, match="child 0 of node"):
        tree.add(tree.root, 0, segment(1))


@given(st.lists(st.integers(1, 11), min_size=1, max_size=5, unique=True), st.randoms(use_true_random=False))
def test_cuts_give_the_same_pieces_in_any_order(cuts: list[int], chance: object) -> None:
    def cut(order: list[int]) -> list[tuple[object, ...]]:
        tree = Tree("p", [7])
        whole = tree.add(tree.root, 0, segment(12, finish=Finish.STOP), detail=True)
        for at in order:
            piece = next(n for n in tree.path(whole) if n.end >= at)
            if piece.end != at:
                tree.split(piece.node_id, at - (piece.end - len(piece.tokens)))
        tree.check_invariants()
        assert tree.response_ids(whole.node_id) == list(range(12))
        path = tree.path(whole)
        assert "".join(n.text or "" for n in path) == "".join(f"<{i}>" for i in range(12))
        assert sum(n.logprob_sum or 0 for n in path) == pytest.approx(-6)
        assert [n.end for n in path] == [*sorted(cuts), 12]
        return [(n.node_id, tuple(n.tokens), n.text, n.depth, n.finish, n.mean_entropy) for n in path]

    shuffled = list(cuts)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert cut(sorted(cuts)) == cut(shuffled) == cut(sorted(cuts, reverse=True))


def test_the_tail_keeps_id_children_and_verdict_and_sorts_first() -> None:
    tree = small()
    a = children_ids(tree, tree.root.node_id)[0]
    below = children_ids(tree, a)
    head = tree.split(a, 2)
    assert head.node_id != a
    assert tree.parent_id(a) == head.node_id
    assert children_ids(tree, a) == below
    assert [tree[n].depth for n in (head.node_id, a, below[0])] == [1, 2, 3]
    fork = tree.add(head, 0, segment(1, 99, Finish.STOP))
    assert children_ids(tree, head.node_id) == [a, fork.node_id]
    assert tree.response_ids(fork.node_id) == [0, 1, 99]
    tree.check_invariants()


def test_without_detail_text_and_entropy_of_pieces_are_unknown_and_log_probabilities_known() -> None:
    tree = Tree("p", [7])
    node = tree.add(tree.root, 0, segment(4, finish=Finish.STOP))
    assert node.logprob_sum == -2
    head = tree.split(node.node_id, 1)
    assert [(n.text, n.mean_entropy) for n in (head, node)] == [(None, None)] * 2
    assert [(list(n.logprobs or ()), n.logprob_sum) for n in (head, node)] == [([-0.5], -0.5), ([-0.5] * 3, -1.5)]
    assert tree.response_ids(node.node_id) == [0, 1, 2, 3]


@pytest.mark.parametrize("at", [0, 4, 5, -1])
def test_cuts_outside_a_segment_are_refused(at: int) -> None:
    tree = Tree("p", [7])
    node = tree.add(tree.root, 0, segment(4))
    with pytest.raises(ValueError, match="has 4 tokens"):
        tree.split(node.node_id, at)
    with pytest.raises(ValueError, match="can't be split"):
        tree.split(tree.root.node_id, 1)


@pytest.mark.parametrize("damage", ["depth", "end", "parent", "finish", "id"])
def test_the_invariants_notice_damage(damage: str) -> None:
    tree = small()
    node = tree[children_ids(tree, tree.root.node_id)[0]]
    match damage:
        case "depth":
            node.depth += 1
        case "end":
            node.end -= 1
        case "parent":
            node.children[0].parent = tree.root
        case "finish":
            node.finish = Finish.STOP
        case _:
            node.node_id = "other"
    with pytest.raises(AssertionError):
        tree.check_invariants()


def test_fifty_thousand_trajectories_stay_far_below_two_gigabytes() -> None:
    """Measured on 500 of 512 tokens (text of 4 bytes a token), in steps of 64 tokens, and scaled."""
    texts = "word" * 64
    completion = Completion(tuple(range(64)), texts, Finish.STEP, logprobs=(-0.1,) * 64)
    tracemalloc.start()
    tree = Tree("p", range(500))
    for i in range(500):
        node = tree.root
        for depth in range(8):
            piece = Completion(completion.token_ids, texts + str(i)[:1], completion.finish, completion.logprobs)
            node = tree.add(node, i if depth == 0 else 0, piece)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used * 100 < 1e9


def test_taken_apart_it_is_freed_without_the_garbage_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        before = sum(type(thing) is TreeNode for thing in gc.get_objects())
        tree = small()
        tree.dispose()
        del tree
        assert sum(type(thing) is TreeNode for thing in gc.get_objects()) == before
    finally:
        gc.enable()


def test_cutting_into_many_pieces_copies_each_token_once() -> None:
    """2,000 steps of 16 tokens: one slice a piece and one for the rest, each no longer than the piece."""

    class Counting(list):  # type: ignore[type-arg]
        copied = 0

        def __getitem__(self, key: Any) -> Any:
            found = super().__getitem__(key)
            if isinstance(key, slice):
                Counting.copied += len(found)
            return found

    tree = Tree("p", [1])
    node = tree.add(tree.root, 0, Completion(tuple(range(32000)), "", Finish.STOP))
    node.tokens = Counting(node.tokens)  # type: ignore[assignment]
    pieces = tree.split_at(node, range(16, 32000, 16))
    assert len(pieces) == 2000
    assert Counting.copied == 32000
    assert [piece.depth for piece in pieces] == list(range(1, 2001))
    assert node.end == 32000
    tree.check_invariants()
