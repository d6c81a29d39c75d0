"""When sandbox slots are added and taken away: scripted waits in, decisions out."""

from __future__ import annotations

import math
import random

from hypothesis import given
from hypothesis import strategies as st

from berry.pipeline.config.sections.cluster import Autoscaling
from berry.pipeline.core.balance import Action, ResizeDecision, ResizeReason, SlotBounds, State, Waits, decide

BOUNDS = SlotBounds(least=2, most=64, unit=2)
SETTINGS = Autoscaling(grow_ticks=2, shrink_ticks=5, remember_ticks=40)


def busy(slots: int, *, idle: float = 0.0, line: float = 0.0, used: float | None = None, peak: int = 0) -> Waits:
    used = float(slots) if used is None else used
    return Waits(idle, 32, slots, used, peak or math.ceil(used), line, checks=10)


def follow(state: State, trace: list[Waits], bounds: SlotBounds = BOUNDS) -> tuple[State, list[ResizeDecision]]:
    made = []
    for waits in trace:
        state, decision = decide(state, waits, bounds, SETTINGS)
        made.append(decision)
    return state, made


def test_it_grows_when_engines_wait_for_verdicts_and_says_why() -> None:
    state, made = follow(State(8), [busy(8, idle=0.5, line=6)] * 2)
    assert [d.action for d in made] == [Action.KEEP, Action.GROW]
    assert made[0].reason is ResizeReason.HOLD
    assert made[1].reason is ResizeReason.STARVED
    assert (made[1].before, made[1].after, state.slots) == (8, 14, 14)
    assert "engines wait for verdicts 19% of the time" in made[1].words


def test_idle_engines_without_a_line_are_no_reason_to_grow() -> None:
    """More slots would not give them work."""
    _, made = follow(State(8), [busy(8, idle=0.9, line=0, used=7)] * 10)
    assert {d.action for d in made} == {Action.KEEP}


def test_a_line_before_busy_engines_is_no_reason_to_grow() -> None:
    """They have other work while verdicts are awaited."""
    _, made = follow(State(8), [busy(8, idle=0.0, line=50)] * 10)
    assert {d.reason for d in made} == {ResizeReason.BALANCED}


def test_one_step_at_most_doubles() -> None:
    state, _ = follow(State(4), [busy(4, idle=0.9, line=500)] * 2)
    assert state.slots == 8


def test_it_shrinks_to_the_peak_with_a_margin_when_slots_lie_idle() -> None:
    state, made = follow(State(40), [busy(40, used=12, peak=20)] * 5)
    assert [d.reason for d in made] == [ResizeReason.HOLD] * 4 + [ResizeReason.SLOTS_IDLE]
    assert state.slots == 26  # 1.25 × 20, in units of 2


def test_slots_that_peaks_need_are_kept() -> None:
    _, made = follow(State(24), [busy(24, used=8, peak=20)] * 6)
    assert made[-1].reason is ResizeReason.NEEDED
    assert made[-1].action is Action.KEEP


def test_bounds_are_kept() -> None:
    state, made = follow(State(64), [busy(64, idle=0.5, line=90)] * 3)
    assert (state.slots, made[-1].reason) == (64, ResizeReason.AT_MOST)
    state, made = follow(State(2), [busy(2, used=0.1, peak=1)] * 9)
    assert (state.slots, made[-1].reason) == (2, ResizeReason.AT_LEAST)


def test_a_node_that_leaves_takes_its_slots_along() -> None:
    state, made = follow(State(64), [busy(64)], SlotBounds(2, 32, 2))
    assert (state.slots, made[0].action, made[0].reason) == (32, Action.SHRINK, ResizeReason.BOUNDS)


def test_slots_on_their_way_are_not_asked_for_again() -> None:
    state, made = follow(State(16), [busy(8, idle=0.5, line=6)] * 4)
    assert state.slots == 16
    assert made[-1].reason is ResizeReason.COMING


def test_without_a_check_nothing_is_taken_away() -> None:
    state, made = follow(State(40), [Waits(0.0, 32, 40, 0.0, 0, 0.0, checks=0)] * 20)
    assert (state.slots, made[-1].reason) == (40, ResizeReason.NO_CHECKS)


def test_it_does_not_oscillate_around_a_steady_load() -> None:
    """20 slots' worth of work with a noise of 15%: found from either side, then held."""
    chance = random.Random(5)
    for start in (2, 64):
        state, changes = State(start), []
        for tick in range(600):
            load = max(0.0, chance.gauss(20, 3))
            open_slots = state.slots
            line = max(0.0, load - open_slots)
            waits = Waits(line / 32, 32, open_slots, min(load, open_slots), math.ceil(min(load, open_slots)), line, 10)
            state, decision = decide(state, waits, BOUNDS, SETTINGS)
            if decision.action is not Action.KEEP:
                changes.append(tick)
        assert 20 <= state.slots <= 40
        assert len(changes) <= 8
        assert sum(tick > 300 for tick in changes) <= 1


def test_what_was_too_few_is_not_gone_back_to() -> None:
    state, _ = follow(State(8), [busy(8, idle=0.5, line=6)] * 2)
    assert state.slots == 14
    state, made = follow(state, [busy(14, used=3, peak=4)] * 6)
    assert state.slots == 10  # above the 8 at which engines waited
    state, made = follow(state, [busy(10, used=3, peak=4)] * 60)
    assert state.slots < 10  # in time it is forgotten
    assert any(d.reason is ResizeReason.SLOTS_IDLE for d in made)


@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 200), st.floats(0, 1), st.integers(1, 8), st.integers(8, 64)),
        max_size=60,
    ),
    st.integers(1, 64),
)
def test_whatever_is_measured_bounds_and_units_hold(
    trace: list[tuple[float, int, float, int, int]], start: int
) -> None:
    state = State(start)
    for idle, line, share, low, high in trace:
        bounds = SlotBounds(low * 2, high * 2, 2)
        waits = Waits(idle, 32, state.slots, share * state.slots, math.ceil(share * state.slots), line, 1)
        before = state.slots
        state, decision = decide(state, waits, bounds, SETTINGS)
        assert bounds.least <= state.slots <= bounds.most
        assert (decision.before, decision.after) == (before, state.slots)
        assert (decision.action is Action.KEEP) == (before == state.slots)
        assert decision.words
