"""Computes the figures of the progress display and the summary from snapshots of all workers. Pure arithmetic.

snapshots, checkers' counters ─► Monitor.add ─► view (now), counters and occupancy (over the run), steady
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

from berry.pipeline.engines.base import Counters
from berry.pipeline.runtime.display import View
from berry.pipeline.runtime.monitoring.running_totals import RunningTotals
from berry.pipeline.runtime.monitoring.steady_state import CheckerMetrics, Steady
from berry.pipeline.stages.leases.lease import Snapshot

ENOUGH_VERDICTS = 50  # before their share of unverifiable ones means something
UNVERIFIABLE_SHARE = 0.2  # of the verdicts, from which on it is told


@dataclass(slots=True)
class Monitor:
    """Keeps the counters of a run. An engine's steady state runs from the first moment that it is full until
    every lease is handed out and none of its problems waits for its search to begin."""

    started_at: float
    total_problems: int
    done_before: int = 0
    told_unverifiable: bool = False
    _recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=12))
    _last: dict[str, Counters] = field(default_factory=dict)
    _base: Counters = field(default_factory=Counters)
    _steady_from: dict[str, Counters] = field(default_factory=dict)
    _steady_to: dict[str, Counters] = field(default_factory=dict)
    _slots: dict[str, int] = field(default_factory=dict)
    _scored: RunningTotals = field(default_factory=RunningTotals)
    _scored_before: dict[str, int] = field(default_factory=dict)
    steady: Steady = field(init=False)

    def __post_init__(self) -> None:
        self.steady = Steady(self.started_at)

    def begin(self, snapshots: Sequence[Snapshot], *, scored: Mapping[str, int]) -> None:
        """Leaves out what was counted before, in an earlier round: by workers, and by reward actors (`scored`)."""
        self._scored_before = dict(scored)
        for snapshot in snapshots:
            self._last[snapshot.worker] = snapshot.counters
            self._base = _plus(self._base, _negative(snapshot.counters))
            self._scored.begin(snapshot.worker, snapshot.scored_tokens)

    def add(
        self, now: float, snapshots: Sequence[Snapshot], checks: Sequence[CheckerMetrics] = (), *, all_handed_out: bool
    ) -> None:
        self.steady.add(now, snapshots, checks, all_handed_out=all_handed_out)
        for snapshot in snapshots:
            name, counters = snapshot.worker, snapshot.counters
            before = self._last.get(name)
            if before is not None and counters.generated_tokens < before.generated_tokens:  # restarted
                self._base = _plus(self._base, replace(before, running=0, waiting=0, kv_usage=0.0))
                self._steady_from.pop(name, None)
            self._last[name] = counters
            self._scored.add(name, snapshot.scored_tokens)
            self._slots[name] = snapshot.max_num_seqs
            draining = all_handed_out and not snapshot.gauges.queued
            full = counters.waiting > 0 or counters.running >= 0.95 * snapshot.max_num_seqs
            if name not in self._steady_from:
                if full and not draining:
                    self._steady_from[name] = counters
            elif not draining:
                self._steady_to[name] = counters
        self._recent.append((now, self.counters().generated_tokens))

    def counters(self) -> Counters:
        """Totals over all workers, those of engines that died included; gauges as last seen of each."""
        total = self._base
        for counters in self._last.values():
            total = _plus(total, counters)
        return total

    def forward_tokens(self, scored: Mapping[str, int]) -> dict[str, int]:
        """Tokens that models have computed: `engines`, prompts that no cache held and what was generated, for rollouts,
        judges and rechecks; and by name the reward models. `scored`: what those of reward actors have read so far."""
        counters, found = self.counters(), Counter(self._scored.total())
        found.update({name: count - self._scored_before.get(name, 0) for name, count in scored.items()})
        engines = counters.prompt_tokens - counters.cached_tokens + counters.generated_tokens
        return {"engines": engines, **dict(sorted(found.items()))}

    def tokens_per_s(self) -> float:
        if len(self._recent) < 2:
            return 0.0
        (t0, n0), (t1, n1) = self._recent[0], self._recent[-1]
        return (n1 - n0) / (t1 - t0) if t1 > t0 else 0.0

    def occupancy(self) -> float | None:
        """Mean running sequences over the configured maximum in steady state, by each engine's own clock: a moment in
        which an engine has nothing to do counts as empty. None if there was no steady state (too few problems)."""
        area = capacity = 0.0
        for name, end in self._steady_to.items():
            if name not in self._steady_from:
                continue
            start = self._steady_from[name]
            area += end.running_integral - start.running_integral
            capacity += (end.settled_s - start.settled_s) * self._slots[name]
        return area / capacity if capacity > 0 else None

    def view(self, now: float, snapshots: Sequence[Snapshot], *, problems: int, trajectories: int, kept: int) -> View:
        counters = self.counters()
        elapsed = now - self.started_at
        fresh = problems - self.done_before
        left = self.total_problems - problems
        calls = sum(s.gauges.called for s in snapshots)
        return View(
            elapsed_s=elapsed,
            problems=problems,
            total_problems=self.total_problems,
            trajectories=trajectories,
            kept=kept,
            verified=sum(s.gauges.verified for s in snapshots),
            passed=sum(s.gauges.passed for s in snapshots),
            tokens_per_s=self.tokens_per_s(),
            cache_hit=cache_hit(counters),
            running=sum(s.counters.running for s in snapshots),
            waiting=sum(s.counters.waiting for s in snapshots),
            sandbox_queue=sum(s.gauges.verifying for s in snapshots),
            eta_s=elapsed / fresh * left if fresh > 0 else None,
            calling=sum(s.gauges.calling for s in snapshots),
            calls=calls,
            bad_calls=sum(s.gauges.called_badly for s in snapshots),
            nondeterministic=sum(s.gauges.nondeterministic for s in snapshots),
            call_ms=1e3 * sum(s.gauges.call_s for s in snapshots) / calls if calls else None,
        )


def explain_unverifiable(snapshots: Sequence[Snapshot]) -> str | None:
    """What to tell where many checks could not be made; None where few could not, or too few verdicts are there."""
    verified = sum(s.gauges.verified for s in snapshots)
    unverifiable = sum(s.gauges.unverifiable for s in snapshots)
    if verified < ENOUGH_VERDICTS or unverifiable < UNVERIFIABLE_SHARE * verified:
        return None
    return (
        f"{unverifiable:,} of {verified:,} responses could not be checked (unverifiable, not wrong): a "
        "tool may be missing where sandboxes run, or they have too little of something; the column verdict_reason of "
        "the table trajectories says what"
    )


def cache_hit(counters: Counters) -> float | None:
    """Share of prompt tokens read from the prefix cache, in [0, 1]; None before the first prompt."""
    return counters.cached_tokens / counters.prompt_tokens if counters.prompt_tokens else None


_GAUGES = ("running", "waiting", "kv_usage", "settled_s")  # the other counters are totals, and can be added up
_TOTALS = tuple(f.name for f in fields(Counters) if f.name not in _GAUGES)


def _negative(a: Counters) -> Counters:
    return Counters(**{name: -getattr(a, name) for name in _TOTALS})


def _plus(a: Counters, b: Counters) -> Counters:
    return Counters(
        running=a.running + b.running,
        waiting=a.waiting + b.waiting,
        kv_usage=max(a.kv_usage, b.kv_usage),
        **{name: getattr(a, name) + getattr(b, name) for name in _TOTALS},
    )
