"""What ends a search early, wholly or a branch of it: cuts, cancellation, bands, time."""

from __future__ import annotations

from typing import Any

import pytest

from berry.pipeline.config.sections.rollout.rollout import Budget, Cut
from berry.pipeline.core import events as ev
from berry.pipeline.core import seeds
from berry.pipeline.core.search import Search
from berry.pipeline.core.search.policies.beam import Beam
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.records import DropReason, Finish

A, B = (11, 12, 1), (13, 14, 1)  # two steps of the scripted world
ROOT = seeds.root_id("p1")


def child(parent: str, index: int) -> str:
    return seeds.framed_id(seeds.frame("node", "p1", parent), index)


def step(parent: str, index: int, tokens: tuple[int, ...] = A) -> Any:
    return ev.Segment(parent, index, ev.Completion(tokens, "wx;", Finish.STEP))


def stop(parent: str, index: int, tokens: tuple[int, ...] = (10, 2)) -> Any:
    return ev.Segment(parent, index, ev.Completion(tokens, "a." if tokens else "", Finish.STOP))


def asked(commands: list[ev.Command]) -> list[Any]:
    """Generates as (node, first index, n, tokens they may have), the rest as they are."""
    return [(c.node, c.first_index, c.n, c.until.max_tokens) if isinstance(c, ev.Generate) else c for c in commands]


@pytest.mark.parametrize("speculative", [True, False])
def test_a_low_score_cuts_and_cancels_what_runs_below(core: Any, speculative: bool) -> None:
    search: Search = core.search(BestOfN(n=2), cut=Cut(below=0.5, speculative=speculative))
    assert asked(search.start()) == [(ROOT, 0, 2, 256)]
    one, two = child(ROOT, 0), child(ROOT, 1)
    go_on = [(one, 0, 1, 253)]
    assert asked(search.handle(step(ROOT, 0))) == [ev.Score(one, "prm"), *(go_on if speculative else [])]
    assert search.handle(ev.Scored(one, 0.4)) == ([ev.Cancel(one)] if speculative else [])
    if speculative:
        assert search.handle(ev.Cancelled(one, (0,), tokens=5)) == []
    search.handle(step(ROOT, 1))
    last = search.handle(ev.Scored(two, 0.6))
    assert asked(last) == ([] if speculative else [(two, 0, 1, 253)])
    assert search.handle(stop(two, 0)) == [ev.Verify(child(two, 0))]
    search.handle(ev.Verified(child(two, 0), core.PASS))
    assert [t.drop_reason for t in search.trajectories()] == [DropReason.CUT_IN_LOOP, None]
    assert search.ledger.cancelled == (5 if speculative else 0)


def test_what_was_quicker_than_its_cancellation_is_kept_but_not_grown(core: Any) -> None:
    search: Search = core.search(BestOfN(n=1), cut=Cut(below=0.5))
    search.start()
    one = child(ROOT, 0)
    search.handle(step(ROOT, 0))
    assert search.handle(ev.Scored(one, 0.1)) == [ev.Cancel(one)]
    assert search.handle(step(one, 0, B)) == [ev.Finished(ev.FinishReason.DONE)]
    assert search.tree.response_ids(child(one, 0)) == [*A, *B]
    assert search.handle(ev.Cancelled(one)) == []


def test_from_step_spares_the_first_steps(core: Any) -> None:
    search: Search = core.search(BestOfN(n=1), cut=Cut(below=0.5, from_step=2, speculative=False))
    search.start()
    search.handle(step(ROOT, 0))
    assert asked(search.handle(ev.Scored(child(ROOT, 0), 0.1))) == [(child(ROOT, 0), 0, 1, 253)]


def test_an_empty_end_after_a_step_is_the_answer_so_far(core: Any) -> None:
    search: Search = core.search(Fixed(branching=(1, 1, 1)))
    search.start()
    search.handle(step(ROOT, 0))
    leaf = child(child(ROOT, 0), 0)
    assert search.handle(stop(child(ROOT, 0), 0, ())) == [ev.Verify(leaf)]
    search.handle(ev.Verified(leaf, core.PASS))
    (trajectory,) = search.trajectories()
    assert (trajectory.drop_reason, trajectory.n_tokens) == (None, 3)


def test_the_band_stops_what_is_beyond_doubt_too_easy(core: Any) -> None:
    search: Search = core.search(BestOfN(n=100), budget=Budget(pass_rate_band=(0.1, 0.6), band_after=4))
    search.start()
    for i in range(20):
        search.handle(stop(ROOT, i))
        search.handle(ev.Verified(child(ROOT, i), core.PASS))
        if search.stopping is not None:
            break
    assert search.stopping is ev.FinishReason.OUT_OF_BAND
    assert 4 <= search.checked < 12


def test_time_that_has_run_out_cancels_what_runs(core: Any) -> None:
    search: Search = core.search(BestOfN(n=2))
    search.start()
    search.handle(stop(ROOT, 0))
    assert search.handle(ev.Expired()) == [ev.Cancel(ROOT)]
    assert search.handle(ev.Cancelled(ROOT, tokens=3)) == []
    assert search.handle(ev.Verified(child(ROOT, 0), core.PASS)) == [ev.Finished(ev.FinishReason.BUDGET)]
    assert search.handle(ev.Expired()) == []


def test_in_flight_figures(core: Any) -> None:
    search: Search = core.search(Beam(beams=1, width=3))
    search.start()
    search.handle(step(ROOT, 0))
    search.handle(stop(ROOT, 1))
    assert (search.in_flight.sequences, search.in_flight.scores, search.in_flight.verifies) == (1, 2, 1)
