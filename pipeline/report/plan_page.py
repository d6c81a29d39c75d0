"""Writes a plan as rows of figures, for the terminal and for one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from berry.pipeline.planning.advice import Advice
from berry.pipeline.planning.capacity import CapacityPlan
from berry.pipeline.planning.modes import Sum
from berry.pipeline.planning.splits import cost_of
from berry.pipeline.planning.totals import WorkTotals
from berry.pipeline.planning.training import TrainingPlan
from berry.pipeline.report.pages import fill, rounded


@dataclass(frozen=True, slots=True)
class PlanReport:
    """All of one `berry plan`: `refused` are clusters that can't do it, each with the arithmetic. `headings`: of each
    plan, its cluster and its mode; `sums`: of a run with modes, what they come to on each cluster;
    `trainings`: of each plan, what trains beside its rounds, None where nothing does."""

    title: str
    plans: Sequence[CapacityPlan]
    advice: Sequence[Sequence[Advice]]
    refused: Sequence[tuple[str, str]]
    notes: Sequence[str]
    headings: Sequence[str] = ()
    sums: Sequence[tuple[str, Sum]] = ()
    trainings: Sequence[TrainingPlan | None] = ()

    @property
    def columns(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """The heading and the rows of each column, sums last."""
        named = self.headings or [p.cluster.name for p in self.plans]
        beside = self.trainings or [None] * len(self.plans)
        plans = [
            (heading, rows(p) + ([] if training is None else training_rows(training)))
            for heading, p, training in zip(named, self.plans, beside, strict=True)
        ]
        return [*plans, *((f"{cluster}: all {_parts(total)}", sum_rows(total)) for cluster, total in self.sums)]


def rows(p: CapacityPlan) -> list[tuple[str, str]]:
    """Lists label and value of every figure of one plan, units included."""
    group, total = p.fleet.groups[0], p.totals
    each = "a GPU" if p.placement.rollout.gpus else "an engine"
    alone = p.sharing
    split = None if group.engine is None else cost_of(group.engine, group.batch, group.context)
    needed = "no number is enough" if p.slots_needed is None else f"{p.slots_needed:,}"
    figures = [
        ("GPUs : CPUs", f"{p.placement.gpus} : {p.placement.cpu_sockets} ({p.placement.cores:g} usable cores)"),
        ("engines", f"{p.placement.rollout.actors} × {_engine(p)}"),
        *([("split", split)] if split is not None else []),
        ("sequences an engine", f"{group.batch} (limit: {group.limit.value})"),
        (
            "decoding step",
            f"{group.step_s(group.batch) * 1e3:.1f} ms, {1 / group.step_s(group.batch):.0f} tokens/s each",
        ),
        ("tokens/s", f"{si(p.tokens_per_s)} ({p.tokens_per_s / p.units:,.0f} {each})"),
        ("trajectories/s", f"{rounded(p.rate, 4)} of {rounded(p.fastest, 4)} that the engines could do"),
        ("an engine process feeds", _feeds(p)),
        ("kept/hour", si(p.kept_per_hour)),
        ("binding", p.binding.value),
        ("GPU idle share", f"{p.gpu_idle_share:.1%}"),
        ("sandbox slots", f"{p.slots:,} ({p.slots / p.units:.3g} {each})"),
        ("slots on average", f"{rounded(p.slots_average, 4)} ({p.slots_average / p.units:.3g} {each})"),
        ("slots needed", f"{needed} ({(p.slots_needed or 0) / p.units:.3g} {each})"),
    ]
    for use in p.uses:
        wait = "no wait" if use.wait_p99_s < 1e-3 else f"wait {seconds(use.wait_s)} (1% over {seconds(use.wait_p99_s)})"
        figures.append((f"{use.name} busy", f"{use.busy:.1%}; {wait}"))
    if p.workload.calls:
        figures.append(
            ("tool calls", f"{p.tools.made:.3g} made a trajectory, {rounded(p.rate * p.tools.made, 4)} a second")
        )
    if p.workload.rewards:
        figures.append(("GPU share for rewards", f"{p.reward_share:.1%} of GPU time is what they need"))
    saved = 1 - alone.resident / alone.resident_independent
    figures += [
        (
            "KV saved by sharing",
            f"{saved:.0%} of memory; {1 - alone.prefill / alone.prefill_independent:.0%} of prefill",
        ),
        ("network", f"{p.network_gbps:.3g} Gbit/s"),
        *sum_rows(total),
        ("a million kept", "no price" if p.usd_per_million_kept is None else f"${p.usd_per_million_kept:,.0f}"),
    ]
    return figures


def _parts(total: Sum) -> str:
    return "modes" if total.binds is None else "engines"


def sum_rows(total: WorkTotals | Sum) -> list[tuple[str, str]]:
    """Lists label and value of what a whole run, or a mode of it, comes to."""
    gpu_hours = f" ({si(total.gpu_hours)} GPU-hours)" if total.gpu_hours else ""
    binds, solved = (total.binds, total.solved) if isinstance(total, Sum) else (None, None)
    a_dollar = f", {rounded(solved / total.usd, 4)} a dollar" if solved and total.usd else ""
    return [
        *([("binding", binds)] if binds else []),
        *([("run: problems solved", f"{solved:,.0f}{a_dollar}")] if solved is not None else []),
        ("run: trajectories", f"{si(total.trajectories)}, {si(total.tokens)} tokens"),
        ("run: arithmetic", f"{total.flop:.2e} FLOP forward" if total.flop else "none: synthetic"),
        ("run: storage", f"{si(total.storage_bytes)}B"),
        ("run: time", f"{hours(total.hours)}{gpu_hours}"),
        ("run: cost", "no price" if total.usd is None else f"${total.usd:,.0f}"),
    ]


def training_rows(t: TrainingPlan) -> list[tuple[str, str]]:
    """Lists label and value of the training beside a round."""
    on = f"{t.gpus:g} GPUs, {t.cpus:g} cores" if t.gpus else f"{t.cpus:g} cores"
    unknown = f"unknown: {t.why_unknown}"
    learned = "unknown" if t.tokens is None else f"{si(t.tokens)} tokens at most (fewer where packed)"
    more = ", reward models' on top" if t.rewards_too else ""
    return [
        ("training beside a round", f"{t.processes} × a process, {on}; {learned}"),
        (
            "training: time",
            unknown if t.hours is None else f"{hours(t.hours)}{more}; the round takes {hours(t.round_hours)}",
        ),
        ("a round is as long as its", t.binds or "unknown, as the training's time is"),
    ]


def _engine(p: CapacityPlan) -> str:
    engine, w = p.fleet.groups[0].engine, p.workload
    if engine is None:
        return "synthetic, of a set pace: GPU time is simulated"
    nodes = f" on {engine.nodes} nodes" if engine.nodes > 1 else ""
    return f"{engine.devices:g} {engine.device.name}{nodes}, {w.model} in {w.weights}"


def _feeds(p: CapacityPlan) -> str:
    """The tokens/s that one engine process can feed, and the thread's time a token in vLLM and in Berry."""
    t = p.thread
    if not t.measured:
        return f"{t.tokens_per_s:,.0f} tokens/s at most, by orchestration_ms"
    vllm, own = (1e6 * part / t.tokens for part in (t.vllm_s, t.own_s))
    return f"{t.tokens_per_s:,.0f} tokens/s at most (vLLM {vllm:.0f} µs a token, Berry {own:.0f})"


def advice_line(a: Advice) -> str:
    """One change that the plan suggests, with what it gains and what binds then."""
    saving = "" if a.saving is None else f", a kept trajectory costs {1 / a.saving:.2f} ×"
    return f"{a.change}: {a.gain:.2f} × the speed{saving}; then {a.plan.binding.value} binds  [{a.key}]"


def write_page(report: PlanReport, svg: str, path: Path) -> None:
    """Writes one HTML file without references to others."""
    columns = report.columns
    tables = [dict(figures) for _, figures in columns]
    labels = list(dict.fromkeys(label for table in tables for label in table))
    page = fill(
        "plan.html.j2",
        report=report,
        svg=svg,
        tables=tables,
        labels=labels,
        headings=[h for h, _ in columns],
        advice_line=advice_line,
        si=si,
    )
    path.write_text(page, encoding="utf-8")


def si(value: float) -> str:
    """Writes a large number with k, M, G, T, P, E."""
    for limit, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e3 if unit == 'k' else limit):,.3g} {unit}"
    return f"{value:,.3g}" if value < 1e3 else f"{value:,.0f}"


def hours(value: float) -> str:
    """A duration given in hours, for people."""
    return f"{rounded(value)} h" if value >= 1 else f"{value * 60:.3g} min"


def seconds(value: float) -> str:
    """A duration given in seconds, for people."""
    if value < 1e-3:
        return "under 1 ms"
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{rounded(value)} s"
