"""Defines the metrics of a run in one table, and makes readings of them from the figures of each kind of actor.

    Snapshot, LeaseReport, checker and reward counters, Totals ─► readings ─► prometheus ─► Ray ─► Prometheus

Counters are given as totals since the pool started; the exporter turns them into increments. On the wire a name gets
the prefix `ray_`, and a counter the suffix `_total`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # sandbox actors have their metrics from here and hold no lease
    from berry.pipeline.stages.leases.lease import LeaseReport, Snapshot

MetricKind = Literal["gauge", "counter", "histogram"]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric; `tags` come beside those that Ray adds (node, worker process)."""

    kind: MetricKind
    description: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MetricReading:
    """The value of a metric at one moment; of a counter, its total so far."""

    name: str
    value: float
    tags: Mapping[str, str] | None = None


ENGINE = ("run", "engine", "model", "worker", "version")  # `engine`: its name among several, else empty
RUN = ("run",)
METRICS: dict[str, Metric] = {
    "berry_engine_prompt_tokens": Metric("counter", "prompt tokens read, cached ones included", ENGINE),
    "berry_engine_cached_tokens": Metric("counter", "prompt tokens taken from the prefix cache", ENGINE),
    "berry_engine_generated_tokens": Metric("counter", "tokens generated", ENGINE),
    "berry_engine_reasoning_tokens": Metric("counter", "part of the tokens generated, as a hosted API says", ENGINE),
    "berry_engine_drafted_tokens": Metric("counter", "tokens drafted by speculative decoding", ENGINE),
    "berry_engine_accepted_tokens": Metric("counter", "drafted tokens that the model accepted", ENGINE),
    "berry_engine_preemptions": Metric("counter", "sequences that lost their place in the KV cache", ENGINE),
    "berry_engine_preempted_tokens": Metric("counter", "tokens computed again after preemptions", ENGINE),
    "berry_engine_late_tokens": Metric("counter", "tokens sampled after their sequence had ended", ENGINE),
    "berry_engine_requests": Metric("counter", "requests sent to servers", ENGINE),
    "berry_engine_retries": Metric("counter", "requests sent again after a failure", ENGINE),
    "berry_engine_cost_usd": Metric("counter", "cost of a hosted API's tokens, by the configured prices", ENGINE),
    "berry_engine_busy_seconds": Metric("counter", "time with work queued or running", ENGINE),
    "berry_engine_sequence_seconds": Metric("counter", "time integral of running sequences", ENGINE),
    "berry_engine_running": Metric("gauge", "sequences running", ENGINE),
    "berry_engine_waiting": Metric("gauge", "sequences waiting at the engine", ENGINE),
    "berry_engine_max_sequences": Metric("gauge", "sequences that can run at once", ENGINE),
    "berry_engine_kv_usage": Metric("gauge", "share of the KV cache in use", ENGINE),
    "berry_problems_queued": Metric("gauge", "problems waiting for their search to begin", ENGINE),
    "berry_searches": Metric("gauge", "searches open", ENGINE),
    "berry_verifying": Metric("gauge", "leaves waiting for their verdict", ENGINE),
    "berry_calling": Metric("gauge", "tool calls waited for", ENGINE),
    "berry_calls": Metric("counter", "tool calls answered", ENGINE),
    "berry_call_seconds": Metric("counter", "seconds that tool calls were waited for, summed over calls", ENGINE),
    "berry_verdicts": Metric("counter", "verdicts that searches got", (*ENGINE, "outcome")),
    "berry_replayed_events": Metric("counter", "events taken from journals instead of done again", ENGINE),
    "berry_loop_delay_seconds": Metric("gauge", "how late the event loop wakes, 99th percentile of a minute", ENGINE),
    "berry_leases": Metric("counter", "leases committed", ENGINE),
    "berry_problems": Metric("counter", "problems committed", ENGINE),
    "berry_solved": Metric("counter", "problems committed with a passing trajectory", ENGINE),
    "berry_trajectories": Metric("counter", "trajectories committed", ENGINE),
    "berry_kept": Metric("counter", "trajectories kept", ENGINE),
    "berry_dropped": Metric("counter", "trajectories dropped", (*ENGINE, "reason")),
    "berry_lease_seconds": Metric("histogram", "from hand-out to the writing of its shards", ENGINE),
    "berry_sandbox_slots": Metric("gauge", "sandboxes of an actor"),
    "berry_sandbox_waiting": Metric("gauge", "jobs waiting for a sandbox"),
    "berry_sandbox_running": Metric("gauge", "jobs in a sandbox"),
    "berry_sandbox_jobs": Metric("counter", "jobs done"),
    "berry_sandbox_queue_seconds": Metric("counter", "time that jobs waited for a sandbox"),
    "berry_sandbox_service_seconds": Metric("counter", "time that jobs held a sandbox"),
    "berry_sandbox_cpu_seconds": Metric("counter", "CPU time of jobs"),
    "berry_sandbox_recycled": Metric("counter", "sandboxes replaced after their share of jobs"),
    "berry_sandbox_failed": Metric("counter", "sandboxes that failed and were started again"),
    "berry_tool_slots": Metric("gauge", "tool calls that an actor makes at once"),
    "berry_tool_waiting": Metric("gauge", "tool calls waiting for a slot"),
    "berry_tool_running": Metric("gauge", "tool calls being made"),
    "berry_tool_sessions": Metric("gauge", "sessions waiting for their path's next call"),
    "berry_tool_calls": Metric("counter", "tool calls made"),
    "berry_tool_queue_seconds": Metric("counter", "time that tool calls waited for a slot"),
    "berry_tool_service_seconds": Metric("counter", "time that tool calls held a slot, rebuilt sessions included"),
    "berry_tool_replay_seconds": Metric("counter", "part of that in which sessions were rebuilt"),
    "berry_tool_replayed": Metric("counter", "tool calls made again to rebuild a session"),
    "berry_tool_evicted": Metric("counter", "sessions ended to make room for others"),
    "berry_checks_in_service": Metric("gauge", "checks a checker is working on"),
    "berry_check_seconds": Metric("counter", "time that checks took, queues included"),
    "berry_checks": Metric("counter", "checks made", ("outcome",)),
    "berry_reward_requests": Metric("counter", "prefixes scored", ("model",)),
    "berry_reward_waiting": Metric("gauge", "prefixes waiting to be scored", ("model",)),
    "berry_reward_computed_tokens": Metric("counter", "tokens that reward models read", ("model",)),
    "berry_reward_naive_tokens": Metric("counter", "tokens of whole requests, without shared prefixes", ("model",)),
    "berry_run_problems": Metric("gauge", "problems committed in this round, earlier drivers included", RUN),
    "berry_run_kept": Metric("gauge", "trajectories kept in this round, earlier drivers included", RUN),
    "berry_run_lost_workers": Metric("counter", "engines lost and started again", RUN),
    "berry_run_retried_leases": Metric("counter", "leases handed out again", RUN),
    "berry_run_mode_trajectories": Metric("gauge", "trajectories committed in this round, by mode", (*RUN, "mode")),
    "berry_run_mode_kept": Metric("gauge", "trajectories kept in this round, by mode", (*RUN, "mode")),
    "berry_run_mode_generated": Metric("gauge", "tokens generated in this round, by mode", (*RUN, "mode")),
}


def of_snapshot(snapshot: Snapshot) -> Iterator[MetricReading]:
    """Readings of an engine and the searches on it."""
    counters, gauges = snapshot.counters, snapshot.gauges
    yield MetricReading("berry_engine_prompt_tokens", counters.prompt_tokens)
    yield MetricReading("berry_engine_cached_tokens", counters.cached_tokens)
    yield MetricReading("berry_engine_generated_tokens", counters.generated_tokens)
    yield MetricReading("berry_engine_reasoning_tokens", counters.reasoning_tokens)
    yield MetricReading("berry_engine_drafted_tokens", counters.drafted_tokens)
    yield MetricReading("berry_engine_accepted_tokens", counters.accepted_tokens)
    yield MetricReading("berry_engine_preemptions", counters.preemptions)
    yield MetricReading("berry_engine_preempted_tokens", counters.preempted_tokens)
    yield MetricReading("berry_engine_late_tokens", counters.late_tokens)
    yield MetricReading("berry_engine_requests", counters.requests)
    yield MetricReading("berry_engine_retries", counters.retries)
    yield MetricReading("berry_engine_cost_usd", counters.cost_usd)
    yield MetricReading("berry_engine_busy_seconds", counters.busy_s)
    yield MetricReading("berry_engine_sequence_seconds", counters.running_integral)
    yield MetricReading("berry_engine_running", counters.running)
    yield MetricReading("berry_engine_waiting", counters.waiting)
    yield MetricReading("berry_engine_max_sequences", snapshot.max_num_seqs)
    yield MetricReading("berry_engine_kv_usage", counters.kv_usage)
    yield MetricReading("berry_problems_queued", gauges.queued)
    yield MetricReading("berry_searches", gauges.searching)
    yield MetricReading("berry_verifying", gauges.verifying)
    yield MetricReading("berry_calling", gauges.calling)
    yield MetricReading("berry_calls", gauges.called)
    yield MetricReading("berry_call_seconds", gauges.call_s)
    outcomes = {"pass": gauges.passed, "no_answer": gauges.unanswered, "unverifiable": gauges.unverifiable}
    outcomes["wrong"] = gauges.verified - sum(outcomes.values())
    for outcome, count in outcomes.items():
        yield MetricReading("berry_verdicts", count, {"outcome": outcome})
    yield MetricReading("berry_replayed_events", gauges.replayed)
    yield MetricReading("berry_loop_delay_seconds", snapshot.loop_delay_p99_s)


def of_report(report: LeaseReport, before: LeaseReport | None) -> tuple[list[MetricReading], LeaseReport]:
    """Readings of all committed leases so far, and their sum as the next `before`."""
    drops = dict(before.drops) if before else {}
    for reason, count in report.drops.items():
        drops[reason] = drops.get(reason, 0) + count
    total = replace(
        report,
        lease=(before.lease if before else 0) + 1,
        problems=report.problems + (before.problems if before else 0),
        solved=report.solved + (before.solved if before else 0),
        trajectories=report.trajectories + (before.trajectories if before else 0),
        kept=report.kept + (before.kept if before else 0),
        drops=drops,
    )
    readings = [
        MetricReading("berry_leases", total.lease),
        MetricReading("berry_problems", total.problems),
        MetricReading("berry_solved", total.solved),
        MetricReading("berry_trajectories", total.trajectories),
        MetricReading("berry_kept", total.kept),
        MetricReading("berry_lease_seconds", report.wall_s),
        *(MetricReading("berry_dropped", count, {"reason": reason}) for reason, count in drops.items()),
    ]
    return readings, total


_SANDBOXES = {
    "in_service": "berry_checks_in_service",
    "check_s": "berry_check_seconds",
    "pool_slots": "berry_sandbox_slots",
    "pool_waiting": "berry_sandbox_waiting",
    "pool_running": "berry_sandbox_running",
    "pool_jobs": "berry_sandbox_jobs",
    "pool_queue_s": "berry_sandbox_queue_seconds",
    "pool_service_s": "berry_sandbox_service_seconds",
    "pool_cpu_s": "berry_sandbox_cpu_seconds",
    "pool_slots_recycled": "berry_sandbox_recycled",
    "pool_slots_failed": "berry_sandbox_failed",
    "call_slots": "berry_tool_slots",
    "call_waiting": "berry_tool_waiting",
    "call_running": "berry_tool_running",
    "call_sessions": "berry_tool_sessions",
    "call_jobs": "berry_tool_calls",
    "call_queue_s": "berry_tool_queue_seconds",
    "call_service_s": "berry_tool_service_seconds",
    "call_replay_s": "berry_tool_replay_seconds",
    "call_replayed": "berry_tool_replayed",
    "call_evicted": "berry_tool_evicted",
}


def of_sandboxes(figures: Mapping[str, float]) -> Iterator[MetricReading]:
    """Readings of a sandbox actor, from the figures of its checker and of its sessions of tools."""
    for key, name in _SANDBOXES.items():
        if key in figures:
            yield MetricReading(name, figures[key])
    for key, value in figures.items():
        if key.startswith("outcome_"):
            yield MetricReading("berry_checks", value, {"outcome": key.removeprefix("outcome_")})


def of_rewards(counters: Mapping[str, Mapping[str, float]]) -> Iterator[MetricReading]:
    """Readings of a reward actor, from the counters of its models."""
    for model, counts in counters.items():
        for key in ("requests", "waiting", "computed_tokens", "naive_tokens"):
            if key in counts:
                yield MetricReading(f"berry_reward_{key}", counts[key], {"model": model})


def of_totals(totals: object) -> Iterator[MetricReading]:
    """Readings of a driver, from the coordinator's totals."""
    values = asdict(totals)  # type: ignore[call-overload]
    for key in ("problems", "kept", "lost_workers", "retried_leases"):
        yield MetricReading(f"berry_run_{key}", values[key])
    for mode, counts in values["modes"].items():
        for key in ("trajectories", "kept", "generated"):
            yield MetricReading(f"berry_run_mode_{key}", counts[key], {"mode": mode})
