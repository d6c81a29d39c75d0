"""Tool calls in a plan: what they ask of a tree of any policy, what binds, what a run replaces of it."""

from __future__ import annotations

import heapq
import math
import random
import re
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from berry.pipeline.config.plan import Calibration, Workload
from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.cluster import Cluster, named_cluster
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.core.ledger import add
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.errors import ConfigError
from berry.pipeline.planning import runs, tool_calls
from berry.pipeline.planning.advice import advise
from berry.pipeline.planning.capacity import Binding, plan
from berry.pipeline.planning.formulas import queueing
from berry.pipeline.planning.formulas.queueing import Service, Station
from berry.pipeline.planning.tool_calls import MeasuredCalls, tool_load
from berry.pipeline.planning.tree_shape import shape_of
from berry.pipeline.records import TokenLedger
from berry.pipeline.stages.leases.lease import Gauges
from berry.pipeline.stages.problems.synthetic import synthetic_problems
from berry.pipeline.stages.rollout.commands.ports import Ports
from berry.pipeline.stages.rollout.search_loop import grow
from berry.sandboxes.sessions import SessionCall, SessionReply
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.checker import CheckRequest

MakeWorkload = Callable[..., Workload]
MakeCluster = Callable[..., Cluster]
NAMES = ["best_of_n", "fixed", "entropy", "value", "beam", "dvts", "mcts", "shepherd", "omega"]
CALLS = {"per_trajectory": 3, "mean_ms": 500, "p99_ms": 5000, "cpu_share": 0.5, "result_tokens": 50}
PACED: dict[str, Any] = {"model": None, "paced": {"tokens_per_s": 100}, "max_num_seqs": 32}
PROBLEMS = tuple(synthetic_problems(16, steps=(6, 8)))


def test_independent_samples_make_the_calls_that_a_trajectory_has(make_workload: MakeWorkload) -> None:
    w = make_workload(policy={"type": "best_of_n", "n": 4}, calls={**CALLS, "made_share": 0.75})
    load = tool_load(w, shape_of(w), Calibration())
    assert load.issued == pytest.approx(3, rel=0.01)
    assert load.made == pytest.approx(0.75 * 3, rel=0.01)
    assert load.given == pytest.approx(150, rel=0.01)
    assert load.sampled_share == pytest.approx(0.9)
    assert (load.service.mean_s, load.cpu_s) == (0.5, 0.25)


def test_a_tree_shares_the_calls_of_what_it_shares(make_workload: MakeWorkload) -> None:
    w = make_workload(policy={"type": "fixed", "branching": [4, 4, 4]}, step_tokens=500, calls=CALLS)
    tree = shape_of(w)
    load = tool_load(w, tree, Calibration())
    assert load.issued == pytest.approx(3 * tree.generated / tree.leaves / w.output_tokens)
    assert load.issued < 0.9 * 3


@pytest.mark.parametrize("name", NAMES)
def test_calls_slow_every_policy_down_where_slots_are_few(
    name: str, make_workload: MakeWorkload, make_cluster: MakeCluster
) -> None:
    cluster = make_cluster(sandbox={"cpus": 8, "slots": 8, "max": 1})
    quick = {"name": "quick", "mean_ms": 1}
    w = make_workload(policy={"type": name}, verifiers=[quick])
    without = plan(w, cluster, None, Calibration())
    made = plan(w.model_copy(update={"calls": _calls()}), cluster, None, Calibration())
    assert made.rate < 0.5 * without.rate
    assert made.binding is Binding.CALLS
    assert made.rate == pytest.approx(8 / (made.tools.made * 0.5), rel=0.02), "eight slots, half a second a call"
    assert made.slots_needed is not None
    assert made.slots_needed > made.slots_average > 8
    assert made.rate_with(made.slots_needed) > 0.98 * made.fastest
    assert any("rollout.tools[].sessions" in one.change for one in advise(made, None))


def _calls() -> Any:
    return validate(CALLS, tool_calls.CallTime, where="calls")


def test_results_are_read_and_not_generated(make_workload: MakeWorkload, make_cluster: MakeCluster) -> None:
    """Calls that take no time spare what they give: a tenth of the tokens of a trajectory."""
    roomy = make_cluster()
    w = make_workload(verifiers=[{"name": "quick", "mean_ms": 1}], **PACED)
    quick = _calls().model_copy(update={"mean_ms": 0.001, "p99_ms": 0.001})
    without = plan(w, roomy, None, Calibration())
    made = plan(w.model_copy(update={"calls": quick}), roomy, None, Calibration())
    assert made.tools.sampled_share == pytest.approx(0.9)
    assert made.fastest == pytest.approx(without.fastest / 0.9, rel=0.01)
    assert made.tokens_per_s == pytest.approx(without.tokens_per_s, rel=0.01)
    assert made.totals.tokens == pytest.approx(0.9 * without.totals.tokens)
    assert made.totals.prefill_tokens > without.totals.prefill_tokens


def test_more_results_than_tokens_are_refused(make_workload: MakeWorkload) -> None:
    with pytest.raises(ConfigError, match="150 tokens of results a trajectory are as many as output_tokens 100"):
        make_workload(output_tokens=100, calls=CALLS)


@pytest.mark.parametrize(("slots", "scv"), [(4, 1.0), (8, 1.0), (8, 7.0), (12, 7.0), (20, 7.0)])
def test_a_circle_with_calls_runs_as_fast_as_its_simulation(slots: int, scv: float) -> None:
    """3 calls of 0.3 s a trajectory, between 4 parts of 1 s in one of 40 places; 60 go round."""
    service = Service(0.3, scv)
    station = Station("calls", slots, service, visits=3)
    predicted = queueing.closed_network_rate(60, lambda n: n.clip(max=40) / 4.0, [station])
    assert predicted == pytest.approx(_simulated(60, 40, 1.0, slots, service, calls=3), rel=0.06)


def _simulated(population: int, places: int, part_s: float, slots: int, service: Service, *, calls: int) -> float:
    """Trajectories/s: each has `calls` + 1 exponential parts at an engine, and a lognormal call between two of them."""
    draw = random.Random(5)
    spread = math.sqrt(math.log(1 + service.scv))
    middle = math.log(service.mean_s) - spread**2 / 2
    waiting = {"engine": deque((who, 0) for who in range(population)), "calls": deque[tuple[int, int]]()}
    free = {"engine": places, "calls": slots}
    ends: list[tuple[float, int, int, str]] = []
    now, done, started = 0.0, 0, 0.0
    most, warm = 10_000, 2_000
    while done < most:
        for place in ("engine", "calls"):
            while free[place] and waiting[place]:
                who, part = waiting[place].popleft()
                free[place] -= 1
                time = draw.expovariate(1 / part_s) if place == "engine" else draw.lognormvariate(middle, spread)
                heapq.heappush(ends, (now + time, who, part, place))
        now, who, part, place = heapq.heappop(ends)
        free[place] += 1
        if place == "calls":
            waiting["engine"].append((who, part + 1))
        elif part < calls:
            waiting["calls"].append((who, part))
        else:
            waiting["engine"].append((who, 0))
            done += 1
            started = now if done == warm else started
    return (most - warm) / (now - started)


# ---- calls are spread evenly over the answers ------------------------------------------------------------------------


async def _said(request: SessionCall) -> SessionReply:
    """A session that can add and subtract."""
    a, sign, b = re.split(r" ([+-]) ", request.snippet.splitlines()[-1])
    return SessionReply(str(int(a) + int(b) * (1 if sign == "+" else -1)), ms=1.0)


async def _checked(request: CheckRequest) -> Verdict:
    said = request.response.rpartition("\\boxed{")[2].partition("}")[0]
    right = said == getattr(request.spec, "answer", None)
    return verdict(Reason.CORRECT if right else Reason.WRONG_ANSWER, answer=said)


class _Truth:
    """Scores prefixes by their true values."""

    def __init__(self, engine: Synthetic) -> None:
        self.engine = engine

    async def score(
        self, *, model: str, prompt_ids: list[int], response_ids: list[int], logprob: float | None = None
    ) -> float:
        return self.engine.true_value([*prompt_ids, *response_ids])

    def versions(self) -> dict[str, str]:
        return {}


async def _grown(policy: dict[str, Any]) -> TokenLedger:
    engine = Synthetic(SyntheticEngine(call_share=0.5))
    rollout = validate(
        {"policy": policy, "sampling": {"max_tokens": 2000}, "tools": [{"type": "python"}]}, Rollout, where="rollout"
    )
    ports = Ports(engine, _checked, scorer=_Truth(engine), call=_said)
    made = [
        (await grow(one, ports, rollout, run_seed=3, round_index=0, gauges=Gauges())).search.ledger.snapshot()
        for one in PROBLEMS
    ]
    return add(made)


async def test_a_tree_of_any_policy_has_calls_by_its_tokens() -> None:
    """The one thing that a plan assumes of calls beside its trees: a token brings as many calls in a tree as in
    independent samples."""
    density = {}
    for name in NAMES:
        ledger = await _grown({"type": name})
        density[name] = ledger.extra["calls"] / (ledger.generated + ledger.extra["given"])
    for name, found in density.items():
        assert found == pytest.approx(density["best_of_n"], rel=0.15), name


# ---- what is assumed, and what a run shows ---------------------------------------------------------------------------


def config(**engine: Any) -> RunConfig:
    raw = {
        "name": "test",
        "problems": [{"type": "synthetic", "count": 40, "check": {"cpu_ms": 1}}],
        "engine": {"type": "synthetic", "tokens_per_s": 200, "max_num_seqs": 16, "call_share": 0.5, **engine},
        "rollout": {"policy": {"type": "best_of_n", "n": 4}, "tools": [{"type": "python"}]},
        "cluster": "local",
    }
    return validate(raw, RunConfig, where="test")


def test_calls_are_assumed_and_listed() -> None:
    w, assumed = runs.workload_of(config())
    assert w.calls is not None
    assert (w.calls.per_trajectory, w.calls.mean_ms, w.calls.result_tokens) == (3, 20, 16)
    assert "3 tool calls a trajectory of 20 ms (1% above 200), results of 16 tokens" in assumed
    stated, _ = runs.workload_of(config(call_mean_ms=45.0, call_p99_ms=400.0))
    assert stated.calls is not None
    assert (stated.calls.mean_ms, stated.calls.p99_ms, stated.calls.cpu_share) == (50, 405, 0.1)
    _, assumed = runs.workload_of(config(call_mean_ms=45.0))
    assert "3 tool calls a trajectory of 50 ms, results of 16 tokens" in assumed


def test_a_run_replaces_what_was_assumed_of_calls() -> None:
    seen = MeasuredCalls(results=600, result_tokens=20.0, tokens=60_000, mean_ms=30.0, p99_ms=300.0)
    assumed = _calls()
    found = tool_calls.as_seen(assumed, seen, output_tokens=250.0, trajectories=200, steady={})
    assert (found.per_trajectory, found.made_share, found.mean_ms, found.p99_ms) == (2.5, 1.0, 30, 300)
    assert found.cpu_share == 1.0
    steady = {"call_mean_ms": 1000.0, "call_p99_ms": 2000.0, "calls": 1.5}
    found = tool_calls.as_seen(assumed, seen, output_tokens=250.0, trajectories=200, steady=steady)
    assert (found.made_share, found.mean_ms, found.p99_ms) == (0.5, 1000, 2000)
    assert found.cpu_share == 0.25, "a call computes for the 250 ms that were assumed"


@pytest.mark.parametrize("name", ["h100-cpu", "hgx-h100"])
def test_calls_of_a_shipped_cluster_are_planned(name: str, make_workload: MakeWorkload) -> None:
    made = plan(make_workload(calls=CALLS), named_cluster(name), None, Calibration())
    assert [use.name for use in made.uses].count("tool calls") == 1
    assert 0 < made.rate <= made.fastest
