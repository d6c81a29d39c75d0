"""Tells what tool calls ask of engines and sandboxes: as assumed before a run, as a finished one shows, a trajectory.

RunConfig ─► assumed ─► Workload.calls ◄─ as_seen ◄─ measured ◄─ finished run
Workload.calls, TreeShape ─► tool_load ─► ToolLoad: calls made, tokens generated and given ─► engines, capacity

Calls are taken to be spread evenly over the answers, so that a tree that shares its beginnings shares their calls: of
any policy's tree, a token brings `per_trajectory` / `output_tokens` calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from berry.pipeline.config.plan import Calibration, CallTime, Workload
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.synthetic import MOST_TAIL, SyntheticEngine
from berry.pipeline.core.search.trial import TreeShape
from berry.pipeline.planning.formulas import queueing
from berry.pipeline.planning.formulas.queueing import Service

if TYPE_CHECKING:
    import duckdb

# calls a trajectory, ms of one (mean, 99%) and tokens of its result, where nothing was measured: short sums
ASSUMED_CALLS, ASSUMED_CALL_MS, ASSUMED_RESULT_TOKENS = 3, (20.0, 200.0), 32
CALL_CPU_MS = 5.0  # of a synthetic engine's call that sleeps: forking and ending its session
_CHARS_PER_TOKEN = 4.0


NO_TIME = Service(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class MeasuredCalls:
    """What a finished run shows of its tool calls: results in all trees and their mean tokens; all tokens of the trees;
    ms of a call (mean, 99%) as the nodes tell, without sessions rebuilt for it."""

    results: int
    result_tokens: float
    tokens: int
    mean_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class ToolLoad:
    """Means for one trajectory. `issued`: calls of the tree, its share of those that several run through; `made`: those
    that a sandbox makes, each for `service`, of which cores compute for `cpu_s`; `given`: tokens of results, and
    `sampled_share` the part of the tree's tokens that is generated."""

    issued: float = 0.0
    made: float = 0.0
    service: Service = NO_TIME
    cpu_s: float = 0.0
    given: float = 0.0
    sampled_share: float = 1.0


def assumed(config: RunConfig) -> CallTime | None:
    """Assumes the tool calls of a run that has not been made; None where it has no tools."""
    rollout, engine = config.rollout, config.engine
    if not rollout.tools:
        return None
    longest = rollout.sampling.max_tokens / 2  # of a trajectory, on average
    times: dict[str, Any] = {"mean_ms": ASSUMED_CALL_MS[0], "p99_ms": ASSUMED_CALL_MS[1]}
    if isinstance(engine, SyntheticEngine) and engine.call_mean_ms is not None:
        mean = engine.call_mean_ms + CALL_CPU_MS
        tail = engine.call_p99_ms and engine.call_p99_ms + CALL_CPU_MS
        times = {"mean_ms": mean, "p99_ms": tail, "cpu_share": CALL_CPU_MS / mean}
    return CallTime(
        per_trajectory=min(ASSUMED_CALLS, rollout.calls.max_calls),
        result_tokens=min(ASSUMED_RESULT_TOKENS, rollout.calls.max_result_chars / _CHARS_PER_TOKEN, longest / 8),
        **times,
    )


def described(workload: Workload) -> Iterator[str]:
    """Says what was assumed of tool calls."""
    calls = workload.calls
    if calls is not None:
        tail = "" if calls.p99_ms is None else f" (1% above {calls.p99_ms:g})"
        yield (
            f"{calls.per_trajectory:g} tool calls a trajectory of {calls.mean_ms:g} ms{tail}, results of "
            f"{calls.result_tokens:.0f} tokens"
        )


def measured(db: duckdb.DuckDBPyConnection) -> MeasuredCalls | None:
    """Counts the results in a run's trees; None where there are none."""
    row = db.execute(
        """select count(*) filter (role = 'tool'), avg(len(token_ids)) filter (role = 'tool'), sum(len(token_ids)),
                  avg(call_ms), quantile_cont(call_ms, 0.99)
           from nodes where parent is not null"""
    ).fetchone()
    if row is None or not row[0] or row[3] is None:
        return None
    results, result_tokens, tokens, mean, p99 = row
    return MeasuredCalls(results, float(result_tokens), int(tokens), float(mean), float(p99))


def as_seen(
    assumed: CallTime | None,
    calls: MeasuredCalls,
    *,
    output_tokens: float,
    trajectories: int,
    steady: Mapping[str, Any],
) -> CallTime:
    """The calls that a run made: how many by the tokens of its trees; which of them were made, and how long they held a
    slot, by its steady state where it had one. What they compute is taken as assumed, in ms."""
    mean, p99, made_share = calls.mean_ms, calls.p99_ms, 1.0
    if steady.get("call_mean_ms") and steady["calls"]:
        mean, p99 = steady["call_mean_ms"], steady["call_p99_ms"]
        made_share = min(1.0, steady["calls"] * trajectories / calls.results)
    computing = assumed.mean_ms * assumed.cpu_share if assumed else mean
    return CallTime(
        per_trajectory=calls.results / calls.tokens * output_tokens,
        made_share=made_share,
        mean_ms=mean,
        p99_ms=max(mean, min(p99, MOST_TAIL * mean)),
        cpu_share=min(1.0, computing / mean),
        result_tokens=calls.result_tokens,
    )


def tool_load(w: Workload, tree: TreeShape, calibration: Calibration) -> ToolLoad:
    """Computes the load of a workload's calls; none where it has no tools."""
    calls = w.calls
    if calls is None:
        return ToolLoad()
    issued = calls.per_trajectory / w.output_tokens * tree.generated / tree.leaves
    scale = calibration.verify_scale / 1e3
    scv = 1.0 if calls.p99_ms is None else queueing.lognormal_scv(calls.mean_ms, calls.p99_ms)
    return ToolLoad(
        issued=issued,
        made=issued * calls.made_share,
        service=Service(calls.mean_ms * scale, scv),
        cpu_s=calls.mean_ms * calls.cpu_share * scale,
        given=issued * calls.result_tokens,
        sampled_share=1 - calls.per_trajectory * calls.result_tokens / w.output_tokens,
    )
