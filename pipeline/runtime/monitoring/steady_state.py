"""Finds the steady state of a run and what was done in it: the figures to hold a plan against. Pure arithmetic.

    snapshots, checkers' counters ─► Steady.add ─► window [full … no problem waits any more] ─► figures

A run fills up, runs, and drains. Filling is over when as many checks have ended as trajectories were ever under way at
once: each of the first ones has been generated and checked. Draining begins when no problem waits for its search.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from berry.pipeline.stages.leases.lease import Snapshot
from berry.sandboxes.metrics import BUCKETS_PER_DOUBLING

CheckerMetrics = Mapping[str, float]  # a checker's metrics
_CHECKS, _CALLS = "pool_", "call_"


@dataclass(frozen=True, slots=True)
class Mark:
    """All counters at one moment, summed over workers and checkers."""

    at_s: float
    sequences: int  # that all engines can run at once
    tokens: int
    verified: int
    running_integral: float
    cpu_s: float
    own_cpu_s: float
    host_cpu_s: float
    kinds: Counter[str]  # verified, by type of verifier
    checks: dict[str, float]


@dataclass(slots=True)
class Steady:
    """The stretch of a run without its start and its end, and the figures over it."""

    started_at: float
    most_under_way: int = 0
    first: Mark | None = None
    last: Mark | None = None
    _before: Mark | None = field(default=None)

    def add(
        self, now: float, snapshots: Sequence[Snapshot], checks: Sequence[CheckerMetrics], *, all_handed_out: bool
    ) -> None:
        if not snapshots:
            return
        mark = _mark(now, snapshots, checks)
        if self._before is not None and _lost(self._before, mark):
            self.first = self.last = None
        self._before = mark
        under_way = sum(
            s.counters.running + s.counters.waiting + s.gauges.verifying + s.gauges.calling for s in snapshots
        )
        self.most_under_way = max(self.most_under_way, under_way)
        if all_handed_out and not any(s.gauges.queued for s in snapshots):
            return
        if self.first is not None:
            self.last = mark
        elif mark.verified >= self.most_under_way > 0:
            self.first = mark

    @property
    def lasted_s(self) -> float:
        return 0.0 if self.first is None or self.last is None else self.last.at_s - self.first.at_s

    def figures(self) -> dict[str, Any] | None:
        """What was done in the window; None if there was none. Rates a second, times as named.

        `sequence_tokens_per_s` is the pace of one running sequence since the run began; `slot_ms` and `slot_cpu_ms`
        are what one trajectory takes of a slot, without its wait; `check_*` are of one job of the sandboxes; `cpu_ms`
        is everything's CPU time a trajectory, `worker_cpu_ms` that of the workers' own processes;
        `elsewhere_cores` are those that others took meanwhile, where one process of the run has its host to itself.
        `check_kinds`: for each type of verifier its trajectories, and what one of them takes of a slot: `slot_ms`, its
        squared coefficient of variation `scv`, and the CPU in it, `slot_cpu_ms`; 0 where it was checked on the spot.
        Where tools were called: `calls` a trajectory, each once however many share it; `call_*` of one call, its
        `call_mean_ms` and `call_p99_ms` with the rebuilding of its session and without the wait for a slot
        (`call_wait_ms`), `call_rebuild_ms` the part of rebuilding, `call_slots_busy` a share.
        """
        if self.first is None or self.last is None or self.last.at_s <= self.first.at_s:
            return None
        start, end = self.first, self.last
        wall = end.at_s - start.at_s
        tokens, verified = end.tokens - start.tokens, end.verified - start.verified
        sequence_s = end.running_integral - start.running_integral
        spent = {name: value - start.checks.get(name, 0.0) for name, value in end.checks.items()}
        jobs, service = spent.get("pool_jobs", 0.0), spent.get("pool_service_s", 0.0)
        slots = end.checks.get("pool_slots", 0.0)
        cpu_s = end.cpu_s - start.cpu_s + spent.get("cpu_s", 0.0)
        host_s = end.host_cpu_s - start.host_cpu_s
        return {
            "start_s": start.at_s - self.started_at,
            "end_s": end.at_s - self.started_at,
            "tokens": tokens,
            "trajectories": verified,
            "tokens_per_s": tokens / wall,
            "trajectories_per_s": verified / wall,
            "sequence_tokens_per_s": end.tokens / end.running_integral if end.running_integral > 0 else None,
            "engine_idle_share": max(0.0, 1 - sequence_s / (wall * end.sequences)),
            "most_under_way": self.most_under_way,
            "slots": int(slots),
            "slots_busy": service / (wall * slots) if slots else None,
            "check_wait_ms": 1e3 * spent["pool_queue_s"] / jobs if jobs else None,
            "check_mean_ms": 1e3 * service / jobs if jobs else None,
            "check_p99_ms": 1e3 * _quantile_s(spent, _CHECKS, 0.99) if jobs else None,
            "check_scv": max(0.0, spent["pool_service_s2"] * jobs / service**2 - 1) if service > 0 else None,
            "slot_ms": 1e3 * service / verified if verified else None,
            "slot_cpu_ms": 1e3 * spent.get("pool_cpu_s", 0.0) / verified if verified else None,
            "cpu_ms": 1e3 * cpu_s / verified if verified else None,
            "elsewhere_cores": max(0.0, host_s - cpu_s) / wall if host_s else None,
            "worker_cpu_ms": 1e3 * (end.own_cpu_s - start.own_cpu_s) / verified if verified else None,
            "check_kinds": _of_kinds(end.kinds - start.kinds, spent),
            **_of_calls(spent, end.checks.get("call_slots", 0.0), wall, verified),
        }


def _mark(now: float, snapshots: Sequence[Snapshot], checks: Sequence[CheckerMetrics]) -> Mark:
    summed: dict[str, float] = {}
    for one in checks:
        for name, value in one.items():
            summed[name] = summed.get(name, 0.0) + value
    kinds: Counter[str] = Counter()
    for snapshot in snapshots:
        kinds.update(snapshot.gauges.kinds)
    return Mark(
        at_s=now,
        sequences=sum(s.max_num_seqs for s in snapshots),
        tokens=sum(s.counters.generated_tokens for s in snapshots),
        verified=sum(s.gauges.verified for s in snapshots),
        running_integral=sum(s.counters.running_integral for s in snapshots),
        cpu_s=sum(s.cpu_s for s in snapshots),
        own_cpu_s=sum(s.own_cpu_s for s in snapshots),
        host_cpu_s=sum(s.host_cpu_s for s in snapshots),
        kinds=kinds,
        checks=summed,
    )


def _lost(before: Mark, now: Mark) -> bool:
    """Whether an actor was lost in between: what it had counted is gone."""
    jobs, then = now.checks.get("pool_jobs", 0.0), before.checks.get("pool_jobs", 0.0)
    return now.verified < before.verified or now.tokens < before.tokens or jobs < then


def _of_kinds(verified: Mapping[str, int], spent: Mapping[str, float]) -> dict[str, dict[str, float]]:
    kinds = {}
    for kind, count in verified.items():
        held, squares, cpu = (spent.get(f"kind:{kind}:{name}", 0.0) / count for name in ("held_s", "held_s2", "cpu_s"))
        scv = max(0.0, squares / held**2 - 1) if held > 0 else 0.0
        kinds[kind] = {"trajectories": count, "slot_ms": 1e3 * held, "scv": scv, "slot_cpu_ms": 1e3 * cpu}
    return kinds


def _of_calls(spent: Mapping[str, float], slots: float, wall: float, verified: int) -> dict[str, Any]:
    calls, service = spent.get("call_jobs", 0.0), spent.get("call_service_s", 0.0)
    if not calls:
        return {}
    return {
        "calls": calls / verified if verified else None,
        "calls_per_s": calls / wall,
        "call_slots": int(slots),
        "call_slots_busy": service / (wall * slots) if slots else None,
        "call_wait_ms": 1e3 * spent["call_queue_s"] / calls,
        "call_mean_ms": 1e3 * service / calls,
        "call_p99_ms": 1e3 * _quantile_s(spent, _CALLS, 0.99),
        "call_rebuild_ms": 1e3 * spent.get("call_replay_s", 0.0) / calls,
    }


def _quantile_s(spent: Mapping[str, float], kind: str, share: float) -> float:
    """The service time in s that a share of 1 - `share` exceeds, from `berry.sandboxes.metrics` buckets."""
    prefix = f"{kind}service:"
    counts = {int(k.removeprefix(prefix)): n for k, n in spent.items() if k.startswith(prefix)}
    left = share * sum(counts.values())
    for bucket in sorted(counts):
        left -= counts[bucket]
        if left <= 0:
            return 2 ** (bucket / BUCKETS_PER_DOUBLING)
    return 0.0
