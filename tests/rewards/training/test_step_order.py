"""The order of a training: every tree once an epoch, whole, the same for the same seed, within a buffer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from berry.pipeline.rewards.training.step_order import StepOrder, shares, shuffled

FILES = st.lists(st.lists(st.integers(0, 9), max_size=12), max_size=8)


def _places(sizes: list[list[int]]) -> list[tuple[int, int]]:
    return [(file, tree) for file, trees in enumerate(sizes) for tree, size in enumerate(trees) if size]


@given(FILES, st.integers(1, 60), st.integers(0, 5))
def test_every_tree_that_holds_something_comes_once(sizes: list[list[int]], buffer: int, seed: int) -> None:
    found = list(shuffled(sizes, buffer=buffer, seed=str(seed)))
    assert sorted(found) == _places(sizes)
    assert found == list(shuffled(sizes, buffer=buffer, seed=str(seed)))


@given(FILES, st.integers(1, 60))
def test_what_is_open_fits_the_buffer_and_one_file(sizes: list[list[int]], buffer: int) -> None:
    """Of a file all trees are in memory from when its first is used."""
    left = {file: [t for t in range(len(trees)) if trees[t]] for file, trees in enumerate(sizes)}
    begun: set[int] = set()
    for file, tree in shuffled(sizes, buffer=buffer, seed="s"):
        begun.add(file)
        held = sum(sizes[f][t] for f in begun for t in left[f])
        assert held <= buffer + max(map(sum, sizes)) + 9
        left[file].remove(tree)


@given(FILES, st.integers(1, 20), st.sampled_from([0.5, 1.0, 1.5, 2.0]))
def test_steps_are_whole_trees_until_there_are_enough(sizes: list[list[int]], step: int, epochs: float) -> None:
    order = StepOrder(sizes, step_size=step, buffer=30, seed=1, epochs=epochs)
    made = list(order.steps())
    assert len(made) == order.total
    held = [sum(sizes[f][t] for f, t in one) for one in made]
    if epochs == 1.0:
        assert all(one >= step for one in held[:-1])
        assert sorted(place for one in made for place in one) == _places(sizes)
        assert len(held) < 2 or held[-1] * 2 >= step, "a small rest joins the step before"
    if epochs == 2.0 and made:
        assert sorted(place for one in made for place in one) == sorted(_places(sizes) * 2)


def test_epochs_and_seeds_have_orders_of_their_own_and_files_are_mixed() -> None:
    sizes = [[1] * 50 for _ in range(4)]
    first, second = list(shuffled(sizes, buffer=100, seed="0/0")), list(shuffled(sizes, buffer=100, seed="0/1"))
    assert first != second
    assert len({file for file, _ in first[:40]}) >= 2, "neighbours of a file do not stay together"


def test_a_step_is_divided_evenly_and_the_same_everywhere() -> None:
    places = [(0, n) for n in range(5)]
    sizes = [[8, 1, 4, 4, 1]]
    assert [sum(sizes[f][t] for f, t in mine) for mine in shares(places, sizes, 2)] == [9, 9]
    assert sorted(p for mine in shares(places, sizes, 3) for p in mine) == places
    assert shares(places, sizes, 7)[5:] == [[], []]
