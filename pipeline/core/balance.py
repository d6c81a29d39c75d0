"""Decides how many sandbox slots a run needs, from what its engines and its slots wait for: one decision a tick.

    Waits of a tick ─► decide(State, Waits, Bounds) ─► Decision (grow | shrink | keep, and why) + the next State

Engines wait for verdicts to the extent that sequences of theirs lie idle while checks stand in line: each check in line
is a trajectory whose search could go on. So `starved` = min(idle share, checks in line / sequences).

Hysteresis: growing and shrinking have thresholds of their own, each must hold for some ticks, and a number of slots
that engines were seen to wait at is not gone back to for a while. Degenerate cases: without a check there is nothing to
go by and nothing is shrunk; slots that were asked for and are not up yet are waited for, not asked for again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from berry.pipeline.config.sections.cluster import Autoscaling
from berry.pipeline.core.placement import Placement

MARGIN = 1.25  # over the most slots seen busy, when shrinking
MOST_AT_ONCE = 2.0  # factor of one step, up or down


class Action(StrEnum):
    """What is done about the number of sandbox slots."""

    GROW = "grow"
    SHRINK = "shrink"
    KEEP = "keep"


class ResizeReason(StrEnum):
    """Why slots are added, taken away or left as they are."""

    STARVED = "starved"  # engines wait for verdicts
    SLOTS_IDLE = "slots_idle"
    BOUNDS = "bounds"  # what the cluster holds has changed
    AT_MOST = "at_most"  # engines wait, and there is no room to grow
    AT_LEAST = "at_least"
    COMING = "coming"  # more were asked for and are not up yet
    HOLD = "hold"  # a threshold is passed, not yet for long enough
    NEEDED = "needed"  # slots lie idle on average, and peaks need them
    NO_CHECKS = "no_checks"
    BALANCED = "balanced"


@dataclass(frozen=True, slots=True)
class Waits:
    """What was measured in one tick. Means over it unless the name says otherwise."""

    engines_idle: float  # share of the sequences that engines could have run, in [0, 1]
    sequences: int  # that all engines can run at once
    open_slots: int  # that are up
    busy: float  # slots in use
    most_busy: int
    in_line: float  # checks waiting for a slot
    checks: int  # that ended in this tick
    line_ms: float | None = None  # mean wait of those

    @property
    def starved(self) -> float:
        """Computes the share of engine capacity that lies idle because verdicts are awaited, in [0, 1]."""
        return min(self.engines_idle, self.in_line / self.sequences) if self.sequences else 0.0

    @property
    def slots_idle(self) -> float:
        """Computes the share of open slots without work, in [0, 1]."""
        return max(0.0, 1 - self.busy / self.open_slots) if self.open_slots else 0.0


@dataclass(frozen=True, slots=True)
class SlotBounds:
    """Slots at least and at most, and how many come and go together (those of one actor)."""

    least: int
    most: int
    unit: int = 1


@dataclass(frozen=True, slots=True)
class State:
    """`slots` that were asked for last; ticks that each threshold has held; the peak meanwhile; slots that were too
    few, and for how many ticks that is remembered."""

    slots: int
    starved_ticks: int = 0
    idle_ticks: int = 0
    peak: int = 0
    too_few: int = 0
    remember: int = 0
    checked: bool = False


@dataclass(frozen=True, slots=True)
class ResizeDecision:
    """What a tick decides: slots before and after, why, and the same in words."""

    action: Action
    reason: ResizeReason
    before: int
    after: int
    words: str


def decide(state: State, waits: Waits, bounds: SlotBounds, settings: Autoscaling) -> tuple[State, ResizeDecision]:
    """Decides the next state, and what to do now."""
    state = _seen(state, waits, settings)
    if not bounds.least <= state.slots <= bounds.most:
        after = min(max(state.slots, bounds.least), bounds.most)
        return _change(state, after, ResizeReason.BOUNDS, f"the cluster holds {bounds.least} to {bounds.most} slots")
    if state.starved_ticks:
        return _when_starved(state, waits, bounds, settings)
    if state.idle_ticks:
        return _when_idle(state, waits, bounds, settings)
    if not state.checked:
        return _keep(state, ResizeReason.NO_CHECKS, "no check has ended yet")
    return _keep(
        state,
        ResizeReason.BALANCED,
        f"engines wait for verdicts {waits.starved:.1%} of the time, slots are {waits.slots_idle:.0%} idle",
    )


def _seen(state: State, waits: Waits, settings: Autoscaling) -> State:
    """Returns the state with this tick counted."""
    starved = waits.starved >= settings.grow_at
    idle = not starved and waits.slots_idle >= settings.shrink_at and waits.open_slots >= state.slots
    remember = max(0, state.remember - 1)
    return replace(
        state,
        starved_ticks=state.starved_ticks + 1 if starved else 0,
        idle_ticks=state.idle_ticks + 1 if idle else 0,
        peak=max(state.peak, waits.most_busy) if idle and state.idle_ticks else waits.most_busy,
        remember=remember,
        too_few=state.too_few if remember else 0,
        checked=state.checked or waits.checks > 0,
    )


def _when_starved(
    state: State, waits: Waits, bounds: SlotBounds, settings: Autoscaling
) -> tuple[State, ResizeDecision]:
    why = f"engines wait for verdicts {waits.starved:.0%} of the time, {waits.in_line:.0f} checks in line"
    if state.slots >= bounds.most:
        return _keep(state, ResizeReason.AT_MOST, f"{why}; {bounds.most} slots are the most")
    if waits.open_slots < state.slots:
        return _keep(state, ResizeReason.COMING, f"{why}; {waits.open_slots} of {state.slots} slots are up")
    if state.starved_ticks < settings.grow_ticks:
        return _keep(state, ResizeReason.HOLD, f"{why}, for {state.starved_ticks} of {settings.grow_ticks} ticks")
    wanted = max(state.slots + 1, math.ceil(waits.busy + waits.in_line))
    wanted = min(wanted, max(state.slots + bounds.unit, math.floor(MOST_AT_ONCE * state.slots)))
    known = replace(state, too_few=max(state.slots, state.too_few), remember=settings.remember_ticks)
    return _change(known, min(bounds.most, _up(wanted, bounds.unit)), ResizeReason.STARVED, why)


def _when_idle(state: State, waits: Waits, bounds: SlotBounds, settings: Autoscaling) -> tuple[State, ResizeDecision]:
    why = f"slots are {waits.slots_idle:.0%} idle"
    if not state.checked:
        return _keep(state, ResizeReason.NO_CHECKS, "no check has ended yet")
    if state.slots <= bounds.least:
        return _keep(state, ResizeReason.AT_LEAST, f"{why}; {bounds.least} slots are the least")
    if state.idle_ticks < settings.shrink_ticks:
        return _keep(state, ResizeReason.HOLD, f"{why}, for {state.idle_ticks} of {settings.shrink_ticks} ticks")
    needed = max(MARGIN * state.peak, state.slots / MOST_AT_ONCE, bounds.least)
    wanted = _up(max(math.ceil(needed), state.too_few + 1 if state.too_few else 0), bounds.unit)
    if wanted >= state.slots:
        return _keep(state, ResizeReason.NEEDED, f"{why}, but up to {state.peak} were busy at once")
    return _change(
        state, wanted, ResizeReason.SLOTS_IDLE, f"{why} for {state.idle_ticks} ticks, at most {state.peak} busy"
    )


def _up(slots: int, unit: int) -> int:
    return math.ceil(slots / unit) * unit


def _keep(state: State, reason: ResizeReason, words: str) -> tuple[State, ResizeDecision]:
    return state, ResizeDecision(Action.KEEP, reason, state.slots, state.slots, words)


def _change(state: State, after: int, reason: ResizeReason, words: str) -> tuple[State, ResizeDecision]:
    """Starts counting anew: what was counted at the old number of slots says nothing about the new one."""
    action = Action.GROW if after > state.slots else Action.SHRINK
    fresh = replace(state, slots=after, starved_ticks=0, idle_ticks=0, peak=0)
    return fresh, ResizeDecision(action, reason, state.slots, after, words)


def slot_bounds(placed: Placement, *, fixed: bool) -> SlotBounds:
    """Computes the sandbox slots that the cluster may have beside the other roles: those of its ratio where it is
    fixed."""
    role = placed.sandbox
    if fixed:
        return SlotBounds(role.total_slots, role.total_slots, role.slots)
    return SlotBounds(role.min_actors * role.slots, role.max_actors * role.slots, role.slots)
