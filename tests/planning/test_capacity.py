"""The plan as a whole: what binds, what changes would give, and impossible work explained."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from berry.pipeline.config.plan import Calibration, PlanConfig, Workload
from berry.pipeline.config.reading.shipped import names
from berry.pipeline.config.sections.cluster import Cluster, named_cluster
from berry.pipeline.errors import ConfigError
from berry.pipeline.planning import totals
from berry.pipeline.planning.advice import advise
from berry.pipeline.planning.capacity import Binding, CapacityPlan, plan
from berry.pipeline.planning.sheets import prices
from berry.pipeline.planning.tree_shape import shape_of
from berry.pipeline.storage.parquet import shards

MakeWorkload = Callable[..., Workload]
MakeCluster = Callable[..., Cluster]
ShippedPlan = Callable[[str], PlanConfig]


def on(w: Workload, cluster: Cluster) -> CapacityPlan:
    return plan(w, cluster, prices("list"), Calibration())


@pytest.mark.parametrize("name", names("plans"))
def test_every_shipped_plan_runs_on_its_clusters(name: str, shipped_plan: ShippedPlan) -> None:
    config = shipped_plan(name)
    for cluster in config.clusters:
        made = on(config.workload, named_cluster(cluster))
        assert 0 < made.rate <= made.fastest
        assert made.totals.usd is not None
        assert made.totals.usd > 0


def test_the_slots_needed_are_enough_and_one_actor_less_is_not(make_workload: MakeWorkload) -> None:
    w = make_workload(verifiers=[{"name": "code", "mean_ms": 2000, "p99_ms": 20_000}])
    made = on(w, named_cluster("h100-cpu"))
    needed = made.slots_needed
    assert needed is not None
    assert needed > made.slots_average
    assert made.rate_with(needed) >= 0.985 * made.fastest
    assert made.rate_with(0.9 * needed) < 0.985 * made.fastest


def test_a_heavier_tail_needs_more_slots_at_the_same_average(make_workload: MakeWorkload) -> None:
    cluster = named_cluster("h100-cpu")
    light = on(make_workload(verifiers=[{"name": "code", "mean_ms": 2000, "p99_ms": 3000}]), cluster)
    heavy = on(make_workload(verifiers=[{"name": "code", "mean_ms": 2000, "p99_ms": 29_000}]), cluster)
    assert light.slots_average == pytest.approx(heavy.slots_average, rel=0.01)
    assert (heavy.slots_needed or 0) > (light.slots_needed or 0)


def test_slow_checks_beside_many_gpus_leave_them_idle(shipped_plan: ShippedPlan) -> None:
    made = on(shipped_plan("code-only").workload, named_cluster("trainium2"))
    assert made.binding is Binding.SANDBOX
    assert made.gpu_idle_share > 0.5
    assert made.rate == pytest.approx(made.slots / 2.0, rel=0.02)


def test_maths_alone_is_bound_by_the_gpus_everywhere(shipped_plan: ShippedPlan) -> None:
    for name in ("hgx-h100", "gb200-nvl72", "trainium2"):
        made = on(shipped_plan("math-only").workload, named_cluster(name))
        assert made.binding in (Binding.GPU_BANDWIDTH, Binding.GPU_COMPUTE, Binding.GPU_MEMORY)
        assert made.gpu_idle_share < 0.02


def test_advice_for_missing_sandboxes_is_cpu_nodes_and_it_is_planned(shipped_plan: ShippedPlan) -> None:
    made = on(shipped_plan("code-only").workload, named_cluster("trainium2"))
    found = advise(made, prices("list"))
    nodes = next(a for a in found if "CPU node" in a.change)
    assert nodes.gain > 3
    assert nodes.plan.gpu_idle_share < 0.02
    assert nodes.saving is not None
    assert nodes.saving > 2


def test_sandbox_nodes_beyond_need_are_advised_away(shipped_plan: ShippedPlan) -> None:
    made = on(shipped_plan("math-only").workload, named_cluster("h100-cpu"))
    found = [a for a in advise(made, prices("list")) if "cluster.nodes.sandbox.count=1" in a.key]
    assert found
    assert found[0].gain == pytest.approx(1, abs=0.01)


def test_waiting_checks_need_fewer_cores_than_computing_ones(make_workload: MakeWorkload) -> None:
    sandbox = {"cpus": 2, "slots": 8}
    cluster = named_cluster("hgx-h100")
    cluster = cluster.model_copy(
        update={"roles": cluster.roles.model_copy(update={"sandbox": cluster.roles.sandbox.model_copy(update=sandbox)})}
    )
    code = {"name": "code", "mean_ms": 5000, "p99_ms": 20_000}
    computing = on(make_workload(verifiers=[code]), cluster)
    waiting = on(make_workload(verifiers=[{**code, "cpu_share": 0.25}]), cluster)
    assert waiting.rate > 2 * computing.rate


def test_rewards_take_their_share(make_workload: MakeWorkload) -> None:
    w = make_workload(rewards=[{"name": "orm", "model": "qwen2.5-7b"}])
    cluster = named_cluster("hgx-h100")
    with pytest.raises(ConfigError, match=r"asks for orm, but cluster hgx-h100 has no reward actors"):
        on(w, cluster)
    reward = cluster.roles.reward.model_copy(update={"max": 1, "gpus": 1})
    one = cluster.model_copy(update={"roles": cluster.roles.model_copy(update={"reward": reward})})
    made = on(w, one)
    assert 0 < made.reward_share < 0.5
    assert made.placement.rollout.actors == 31
    if made.binding is Binding.REWARD:
        assert any(a.gain > 1.5 for a in advise(made, prices("list")))


def test_engines_of_a_set_pace_run_at_that_pace(make_workload: MakeWorkload, make_cluster: MakeCluster) -> None:
    w = make_workload(
        model=None,
        paced={"tokens_per_s": 50},
        output_tokens=100,
        max_num_seqs=10,
        verifiers=[{"name": "math", "mean_ms": 1}],
        policy={"type": "best_of_n", "n": 4},
    )
    made = on(w, make_cluster())
    assert made.fastest == pytest.approx(16 * 10 * 50 / 100)
    assert made.rate == pytest.approx(made.fastest, rel=0.01)
    assert made.binding is Binding.PACE


def test_the_totals_are_problems_times_trajectories_times_tokens(make_workload: MakeWorkload) -> None:
    made = on(make_workload(policy={"type": "best_of_n", "n": 32}, problems=10**7), named_cluster("hgx-h100"))
    assert made.totals.trajectories == 32e7
    assert made.totals.tokens == 32e7 * 1500
    assert made.totals.flop > 2 * 8.03e9 * made.totals.tokens
    assert made.totals.hours * 3600 * made.rate == pytest.approx(made.totals.trajectories)


def test_a_missing_price_makes_the_cost_unknown_not_zero(
    make_workload: MakeWorkload, make_cluster: MakeCluster
) -> None:
    made = on(make_workload(), make_cluster(node={"accelerator": "mi300x"}))
    assert made.totals.usd is None
    assert made.usd_per_million_kept is None


@pytest.mark.parametrize(
    ("workload", "cluster", "why"),
    [
        ({"model": "llama-3.1-405b"}, {}, r"llama-3.1-405b does not fit: 405\.8 B parameters × 2 bytes"),
        ({"weights": "fp8"}, {"node": {"accelerator": "a100"}}, "a100 gives no fp8 rate"),
        ({}, {"node": {"accelerator": None}}, "`accelerator` is not set"),
        ({}, {"node": {"accelerator": "h1000"}}, "did you mean h100"),
        ({"tokens_per_s_user": 1e6}, {}, "even alone a sequence gets"),
        ({"prompt_tokens": 5e6}, {}, "no sequence fits"),
        ({"verifiers": [{"name": "x", "mean_ms": 1, "p99_ms": 1000}]}, {}, "Split it into two verifiers"),
    ],
)
def test_impossible_work_is_explained_with_the_arithmetic(
    make_workload: MakeWorkload, make_cluster: MakeCluster, workload: dict[str, Any], cluster: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        on(make_workload(**workload), make_cluster(**cluster))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"problems": -5}, "problems"),
        ({"output_tokens": 0}, "output_tokens"),
        ({"pass_rate": 1.5}, "pass_rate"),
        ({"model": None}, "needs a `model`"),
        ({"verifiers": [{"name": "a", "share": 0.5, "mean_ms": 1}]}, "must sum to 1, got a 0.5 = 0.5"),
        ({"weights": "fp7"}, "weights"),
    ],
)
def test_absurd_work_is_refused(make_workload: MakeWorkload, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        make_workload(**changes)


def test_storage_is_tokens_of_nodes_and_of_kept_rows_and_the_rows_around_them(make_workload: MakeWorkload) -> None:
    w = make_workload(pass_rate=0.5, keep_rate=0.5, policy={"type": "best_of_n", "n": 4})
    tokens, logprobs = totals.TOKEN_BYTES, totals.LOGPROB_BYTES
    expected = 1500 * (tokens + logprobs) * 1.25 + totals.NODE_BYTES + totals.TRAJECTORY_BYTES
    made = totals.storage_bytes_per_trajectory(w, shape_of(w), Calibration())
    assert made == pytest.approx(expected + 0.25 * totals.KEPT_BYTES)


def test_a_log_probability_takes_what_the_plan_says() -> None:
    chance = random.Random(1)
    column = pa.array([[-chance.expovariate(3.0) for _ in range(100)] for _ in range(200)], pa.list_(pa.float32()))
    stored = shards.encode_table(pa.table({"logprobs": column}), {}).size
    assert stored / 20_000 == pytest.approx(totals.LOGPROB_BYTES, rel=0.05)
