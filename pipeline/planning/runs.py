"""Makes a plan's workload out of a run's configuration, and its factors out of a finished run.

RunConfig ─► workload_of ─► Workload, assumptions          finished run ─► measure ─► calibrate ─►
Calibration
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from math import fsum
from statistics import fmean
from typing import Any

from berry.pipeline.config.plan import Calibration, Dtype, Paced, VerifierTime, Workload
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.cluster import Cluster
from berry.pipeline.config.sections.engine import EngineConfig, VllmEngine
from berry.pipeline.config.sections.problems import SyntheticProblems
from berry.pipeline.config.sections.rollout.rollout import Rollout, TokensStep
from berry.pipeline.config.sections.synthetic import MOST_TAIL, SyntheticEngine
from berry.pipeline.core.placement import place_actors
from berry.pipeline.core.search import sizes
from berry.pipeline.core.search.registry import search_class
from berry.pipeline.core.values.pass_at_k import pass_at_k
from berry.pipeline.errors import ConfigError, StorageError
from berry.pipeline.planning import tool_calls
from berry.pipeline.planning.capacity import CapacityPlan, generation_s, plan, shared_cores
from berry.pipeline.planning.formulas.queueing import lognormal_p99
from berry.pipeline.planning.tool_calls import MeasuredCalls, tool_load
from berry.pipeline.planning.tree_shape import shape_of
from berry.pipeline.stages.dataset.root_chains import root_chains
from berry.pipeline.stages.problems.sources import iter_problems, survey
from berry.pipeline.stages.rollout.admission import searches_at_once
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.duckdb_views import connect

CHARS_PER_TOKEN = 4.0
LOOKED_AT = 200  # problems whose prompts are measured
ASSUMED_STEP_TOKENS = 64  # or an eighth of the longest trajectory, where that is less
# ms of a slot (mean, 99%) by verifier type, where nothing was measured: warm sandboxes, small tests
ASSUMED_MS: Mapping[str, tuple[float, float]] = {"math": (2, 20), "python_function": (10, 100)}
OTHERWISE_MS = (50.0, 500.0)
LEAST_MS = 0.01  # of a slot: kinds that the calling process decides by itself
LEAST_CPU_SHARE = 0.01
_DTYPES: dict[str, Dtype] = {"auto": "bf16", "bfloat16": "bf16", "float16": "bf16", "float32": "fp32"}


@dataclass(frozen=True, slots=True)
class Measured:
    """What a finished run shows. Tokens are means a trajectory, times as named; `new_tokens` leaves out
    what an earlier sibling generated. `wall_s`, `tokens_per_s`, `occupancy` are None where the run has no
    metrics; `steady` is that of metrics/run.json (runtime.monitoring.steady_state), None where it had none.
    `step_tokens` is over the steps of the kept ones, None where none was kept; `output_within` is None where no problem
    has two trajectories. `pass_rate` is the mean over problems of the unbiased pass rates, cut to [0, 1], and
    `pass_rate_alike` as told by the independent chains (see `Workload`); both are None where the run has no unbiased
    rate. `kept_share` is of all trajectories."""

    problems: int
    trajectories: int
    prompt_tokens: float | None
    output_tokens: float
    output_scv: float
    new_tokens: float
    pass_rate: float | None
    kept_share: float
    verify_mean_ms: float | None
    verify_p99_ms: float | None
    wall_s: float | None
    tokens_per_s: float | None
    occupancy: float | None
    steady: Mapping[str, Any] | None = None
    step_tokens: float | None = None
    calls: MeasuredCalls | None = None
    output_within: float | None = None
    pass_rate_alike: float | None = None


def workload_of(config: RunConfig, by_verifier: Mapping[str, int] | None = None) -> tuple[Workload, list[str]]:
    """Makes the workload of a run that has not been made, and says what had to be assumed. Reads all problems unless
    it is told how many there are of each verifier. Raises ConfigError for a run with modes, which has several
    (planning/modes.py)."""
    if config.rollout.modes:
        names = ", ".join(mode.name for mode in config.rollout.modes)
        raise ConfigError(
            f"rollout.modes: lengths and speed are not one workload's, but those of each mode ({names}): `berry plan` "
            "plans them one by one and sums them"
        )
    kinds = survey(config.problems, config.screening).by_verifier if by_verifier is None else by_verifier
    count = sum(kinds.values())
    prompts = [sum(len(m["content"]) for m in p.messages) for p in islice(iter_problems(config.problems), LOOKED_AT)]
    prompt = (sum(prompts) / len(prompts) + len(config.rollout.system_prompt or "")) / CHARS_PER_TOKEN
    longest = config.rollout.sampling.max_tokens
    step = config.rollout.step
    verifiers = stated_checks(config) or tuple(
        VerifierTime(name=kind, share=n / count, mean_ms=mean, p99_ms=p99)
        for kind, n in sorted(kinds.items())
        for mean, p99 in [ASSUMED_MS.get(kind, OTHERWISE_MS)]
    )
    seqs = planned_num_seqs(config)
    workload = Workload(
        problems=count,
        in_flight=max(1.0, min(searches_at_once(config.rollout, seqs) * _under_way(config.rollout) / seqs, 100.0)),
        prompt_tokens=max(1.0, prompt),
        output_tokens=longest / 2,
        policy=config.rollout.policy,
        max_depth=config.rollout.budget.max_depth,
        step_tokens=step.tokens if isinstance(step, TokensStep) else min(ASSUMED_STEP_TOKENS, longest / 8),
        verifiers=verifiers,
        calls=tool_calls.assumed(config),
        **_engine_keys(config.engine, seqs),
    )
    times = ", ".join(f"{v.name} {v.mean_ms:g} ms (1% above {v.p99_ms:g})" for v in verifiers)
    assumed = [
        f"prompts of {workload.prompt_tokens:.0f} tokens: {CHARS_PER_TOKEN:g} characters a token",
        f"trajectories of {workload.output_tokens:.0f} tokens: half of rollout.sampling.max_tokens",
        f"a pass rate of {workload.pass_rate:.0%}",
        f"checks: {times}",
        *_assumed_steps(config.rollout, workload),
        *tool_calls.described(workload),
        "a measured run replaces all of these: --calibrate RUN",
    ]
    return workload, assumed


def _assumed_steps(rollout: Rollout, workload: Workload) -> Iterator[str]:
    """Says how long steps are taken to be where the configuration does not."""
    if search_class(rollout.policy).works_on_steps and not isinstance(rollout.step, TokensStep):
        yield (
            f"steps of {workload.step_tokens:.0f} tokens: {ASSUMED_STEP_TOKENS}, or an eighth of "
            f"rollout.sampling.max_tokens where that is less"
        )


def never_measured(rollout: Rollout) -> Iterator[str]:
    """Lists what a tree's size rests on that no run replaces."""
    search = search_class(rollout.policy)
    if search.gives_up or getattr(rollout.policy, "prior", None) == "scorer":
        yield "scores that know right steps from wrong ones"
    stops = ("max_leaves", "max_tokens", "max_wall_s", "stop_after_correct", "hopeless_after", "pass_rate_band")
    unheeded = [f"rollout.budget.{key}" for key in stops if getattr(rollout.budget, key) is not None]
    unheeded += ["rollout.cut"] if rollout.cut is not None else []
    if unheeded:
        yield f"that {', '.join(unheeded)} save nothing: all that the policy asks for is generated"


def _under_way(rollout: Rollout) -> float:
    """Computes the trajectories that an open search has under way on average: it begins with its width, and holds its
    place until the last of them is checked."""
    return (sizes.width(rollout) + 1) / 2


def stated_checks(config: RunConfig) -> tuple[VerifierTime, ...]:
    """Takes the checks' times where the configuration itself sets them: synthetic problems with a `check`, and nothing
    else."""
    sources = [s for s in config.problems if isinstance(s, SyntheticProblems) and s.check is not None]
    if len(sources) < len(config.problems):
        return ()
    total = sum(s.count for s in sources)
    times = []
    for source in sources:
        check = source.check
        assert check is not None
        mean = check.cpu_ms + check.mean_wait_ms
        p99 = (check.p99_ms or check.cpu_ms) + check.wait_quantile_ms(0.99)
        times.append(
            VerifierTime(
                name="stated", share=source.count / total, mean_ms=mean, p99_ms=p99, cpu_share=check.cpu_ms / mean
            )
        )
    return tuple(times)


def planned_num_seqs(config: RunConfig) -> int:
    """Sequences that one engine decodes at once."""
    if isinstance(config.engine, VllmEngine):
        return config.engine.planned_num_seqs(on_gpus=config.cluster.roles.rollout.gpus > 0)
    return config.engine.max_num_seqs


def _engine_keys(engine: EngineConfig, seqs: int) -> dict[str, Any]:
    """Takes what a workload needs from the engine's section. Raises ConfigError for an engine without a speed."""
    keys: dict[str, Any] = {"max_num_seqs": seqs, "block_size": engine.block_size or 32}
    match engine:
        case VllmEngine():
            dtype = _DTYPES[engine.dtype]
            keys |= {"weights": dtype, "kv": dtype, "prefix_caching": engine.prefix_caching}
        case SyntheticEngine(tokens_per_s=None):
            raise ConfigError(
                "engine.tokens_per_s is not set: a synthetic engine of unlimited speed leaves nothing to plan; "
                "give it the pace of an accelerator"
            )
        case SyntheticEngine(tokens_per_s=pace, prefill_tokens_per_s=prefill):
            return keys | {"paced": Paced(tokens_per_s=pace or 1.0, prefill_tokens_per_s=prefill)}
    return keys | {"model": engine.model}


def measure(run: RunDir) -> Measured:
    """Counts what a finished run shows. Raises StorageError where the run has committed nothing yet."""
    db = connect(run)
    row = db.execute(
        """select count(distinct problem_id), count(*), avg(n_tokens), var_pop(n_tokens), avg(n_new_tokens),
                  count(*) filter (kept), avg(verify_ms), quantile_cont(verify_ms, 0.99)
           from trajectories"""
    ).fetchone()
    assert row is not None
    problems, trajectories, tokens, variance, new, kept, verify, p99 = row
    if not trajectories or not tokens:
        raise StorageError(f"{run.location.url}: no committed trajectories to calibrate from; let the run finish")
    kept_row = db.execute(
        "select avg(len(prompt_token_ids)), sum(len(token_ids)) / nullif(sum(len(steps)), 0) from kept"
    ).fetchone()
    prompt, step = kept_row if kept_row else (None, None)
    own = db.execute(
        """select avg(spread) from (select var_samp(n_tokens) as spread from trajectories
                                    group by problem_id having count(*) > 1)"""
    ).fetchone()
    chains = root_chains(run, db) or []
    rates = [rate for values, ends in chains if (rate := pass_at_k(values, 1, ends)) is not None]
    figures = run.metrics("run") or {}
    return Measured(
        problems=problems,
        trajectories=trajectories,
        prompt_tokens=prompt,
        output_tokens=tokens,
        output_scv=variance / tokens**2,
        output_within=min(1.0, own[0] / variance) if own and own[0] is not None and variance else None,
        new_tokens=new,
        step_tokens=step,
        calls=tool_calls.measured(db),
        pass_rate=min(1.0, max(0.0, fmean(rates))) if rates else None,
        pass_rate_alike=intraclass_correlation([values for values, ends in chains if ends is None]),
        kept_share=kept / trajectories,
        verify_mean_ms=verify,
        verify_p99_ms=p99,
        wall_s=figures.get("wall_s"),
        tokens_per_s=figures.get("tokens_per_s"),
        occupancy=figures.get("occupancy"),
        steady=figures.get("steady"),
    )


def intraclass_correlation(by_problem: Sequence[Sequence[float]]) -> float | None:
    """Estimates how alike the chains of a problem are in passing, in [0, 1], from the values of each problem's
    independent chains (1 and 0 where a chain is one answer).

        rho = (E[v²] - p²) / (p - p²)        v: the pass rate of a problem, p: its mean over problems

    E[v²] is the mean product of two chains of one problem, p² that of chains of two problems: products of independent
    draws, and so unbiased also where chains are weighted for cuts, or fork. Of problems with two chains at least; None
    where there are fewer than two such problems, or all came out alike.
    """
    several = [chains for chains in by_problem if len(chains) > 1]
    if len(several) < 2:
        return None
    rates = [fmean(chains) for chains in several]
    within = fmean(_mean_product(chains) for chains in several)
    across, mean = _mean_product(rates), fmean(rates)
    return min(1.0, max(0.0, (within - across) / (mean - across))) if mean - across > 1e-12 else None


def _mean_product(values: Sequence[float]) -> float:
    """The mean product of two different ones of them."""
    total, n = fsum(values), len(values)
    return (total * total - fsum(v * v for v in values)) / (n * (n - 1))


def measured_workload(assumed: Workload, seen: Measured) -> Workload:
    """Puts what the run showed into the workload instead of what was assumed."""
    update: dict[str, Any] = {
        "problems": seen.problems,
        "output_tokens": seen.output_tokens,
        "output_scv": seen.output_scv,
        "kept_share": seen.kept_share,
    }
    for key in ("prompt_tokens", "step_tokens", "output_within", "pass_rate", "pass_rate_alike"):
        if getattr(seen, key) is not None:
            update[key] = getattr(seen, key)
    steady = seen.steady or {}
    update["calls"] = seen.calls and tool_calls.as_seen(
        assumed.calls, seen.calls, output_tokens=seen.output_tokens, trajectories=seen.trajectories, steady=steady
    )
    if assumed.verifiers[0].name == "stated":
        return assumed.model_copy(update=update)
    kinds = steady.get("check_kinds") or {}
    if any(v.name in kinds for v in assumed.verifiers):  # each by its own figures; shares are those of the problems
        update["verifiers"] = tuple(_as_seen(v, kinds[v.name]) if v.name in kinds else v for v in assumed.verifiers)
    elif steady.get("slot_ms"):  # without the wait for a slot
        mean, p99 = (
            steady["slot_ms"],
            max(steady["slot_ms"], min(steady["check_p99_ms"], MOST_TAIL * steady["slot_ms"])),
        )
        update["verifiers"] = (VerifierTime(name="measured", mean_ms=mean, p99_ms=p99),)
    elif seen.verify_mean_ms:
        mean = seen.verify_mean_ms
        p99 = min(max(seen.verify_p99_ms or mean, mean), MOST_TAIL * mean)
        update["verifiers"] = (VerifierTime(name="measured", mean_ms=mean, p99_ms=p99),)
    return assumed.model_copy(update=update)


def _as_seen(assumed: VerifierTime, seen: Mapping[str, float]) -> VerifierTime:
    """A kind of check with the time that the run shows of it: waits for a slot are not in it."""
    mean = max(seen["slot_ms"], LEAST_MS)
    p99 = min(lognormal_p99(mean, seen["scv"]), MOST_TAIL * mean)
    share = min(1.0, max(LEAST_CPU_SHARE, seen["slot_cpu_ms"] / mean))
    return assumed.model_copy(update={"mean_ms": mean, "p99_ms": p99, "cpu_share": share})


def not_seen(workload: Workload, seen: Measured) -> list[str]:
    """Names the kinds of checks that a calibrating run tells apart and has not had, so that their time stays
    assumed."""
    kinds = (seen.steady or {}).get("check_kinds") or {}
    return [v.name for v in workload.verifiers if kinds and v.name not in kinds and v.name != "stated"]


def calibrate(
    workload: Workload, cluster: Cluster, seen: Measured, start: Calibration, *, location: str
) -> Calibration:
    """Finds the factors with which the plan does what the run did. Raises StorageError without metrics.

    A paced engine with a steady state shows its pace, its checks and its cores one by one. Of any other run the
    duration is known, which can set one factor: the engine scale stands for compute, memory, overhead and
    orchestration together, and holds for the same model, engine and kind of machine.
    """
    if not seen.wall_s or not seen.tokens_per_s:
        raise StorageError(
            f"{location}: metrics/run.json has no wall_s and tokens_per_s; let `berry run` end by itself"
        )

    if workload.paced is not None and seen.steady is not None:
        return _one_by_one(workload, cluster, seen.steady, start).model_copy(
            update={"source": f"run {location}: {seen.steady['trajectories_per_s']:.1f} trajectories/s in steady state"}
        )

    def wall_s(scale: float) -> float:
        made = plan(workload, cluster, None, start.model_copy(update={"engine_scale": scale}))
        return seen.trajectories / made.rate + fill_s(made)

    low, high = 1e-4, 1e4
    for _ in range(60):
        middle = (low * high) ** 0.5
        if wall_s(middle) > seen.wall_s:
            low = middle
        else:
            high = middle
    return start.model_copy(
        update={
            "engine_scale": high,
            "device": _device(workload, cluster),
            "source": f"run {location}: {seen.tokens_per_s:,.0f} tokens/s over {seen.wall_s:,.0f} s",
        }
    )


def _one_by_one(w: Workload, cluster: Cluster, steady: Mapping[str, Any], start: Calibration) -> Calibration:
    """Takes each factor from its own figure of the steady state."""
    assert w.paced is not None
    update: dict[str, Any] = {}
    if steady.get("sequence_tokens_per_s") and w.paced.prefill_tokens_per_s is None:
        update["engine_scale"] = steady["sequence_tokens_per_s"] / w.paced.tokens_per_s
    if steady.get("worker_cpu_ms"):
        update["orchestration_ms"] = steady["worker_cpu_ms"]
    if steady.get("cpu_ms") and steady.get("slot_ms"):
        tools = tool_load(w, shape_of(w), start)
        computing = sum(v.share * v.mean_ms * v.cpu_share for v in w.verifiers) + 1e3 * tools.made * tools.cpu_s
        overhead = max(0.0, steady["cpu_ms"] - steady["worker_cpu_ms"] - computing)
        update["cpu_overhead_ms"] = overhead / (1 + tools.made)  # a check and the calls alike
        cores = shared_cores(w, place_actors(cluster).cores, start.model_copy(update=update), tools)
        # all slots, even where engines bind: siblings end together and fill them
        turn_s = cores.turn_from(steady["trajectories_per_s"], steady["slots"], steady["slot_ms"] / 1e3)
        update["verify_overhead_ms"] = 1e3 * turn_s
    return start.model_copy(update=update)


def _device(workload: Workload, cluster: Cluster) -> str | None:
    """Names the accelerator sheet that a measured speed belongs to; None for a set pace."""
    if workload.paced is not None:
        return None
    sheets = [node.accelerator for node in cluster.nodes.values() if node.accelerator]
    return sheets[0] if sheets else None


def fill_s(made: CapacityPlan) -> float:
    """Computes the time that filling and draining the network adds to a run: one trajectory from start to verdict, in
    s."""
    waits = sum(u.wait_s for u in made.uses if u.busy < 1)
    return generation_s(made.fleet) + waits + made.service.mean_s
