"""Ids and seeds come from content alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from berry.pipeline.core import seeds


def test_ids_are_sixteen_hex_and_never_change() -> None:
    assert seeds.root_id("p1") == seeds.root_id("p1")
    first, others = seeds.frame("node", "p1", "a"), seeds.frame("node", "p2", "a")
    assert seeds.framed_id(first, 0) == "39ad9bb24b9fbce8" == seeds.digest("node", "p1", "a", 0).hex()
    assert len({seeds.framed_id(first, 0), seeds.framed_id(first, 1), seeds.framed_id(others, 0)}) == 3
    assert seeds.split_id("p1", "a", 0) != seeds.framed_id(first, 0)
    assert seeds.trajectory_ids(1, 0, "p", [3]) != seeds.trajectory_ids(1, 1, "p", [3])


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_parts_do_not_run_together(a: list[str], b: list[str]) -> None:
    assert (seeds.digest(*a) == seeds.digest(*b)) == (a == b)


@given(st.integers(0, 2**31), st.integers(0, 9), st.text(max_size=5), st.integers(0, 2**16))
def test_seeds_leave_room_for_the_children(run_seed: int, round_index: int, node: str, first: int) -> None:
    seed = seeds.generate_seed(run_seed, round_index, "p", node, first)
    assert 0 <= seed < 2**63
    assert seed % seeds.MAX_CHILDREN == 0
    assert seed != seeds.generate_seed(run_seed + 1, round_index, "p", node, first)
