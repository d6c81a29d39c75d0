"""Nodes that come and go, sandboxes that are had more and fewer of: on real clusters of several Ray nodes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.placement import place_actors
from berry.pipeline.errors import ResourceError

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

COUNTS = "select count(*), count(distinct trajectory_id), count(distinct problem_id) from '{}/trajectories/*.parquet'"
GPUS = {"num_cpus": 4, "num_gpus": 4}
ENGINES = "select distinct engine_id from '{}/nodes/*.parquet' where engine_id <> '' order by 1"


def elastic(problems: int) -> dict[str, Any]:
    """Two nodes' worth of actors, one engine and one sandbox actor on each."""
    return {
        "name": "job",
        "problems": [{"type": "synthetic", "count": problems, "seed": 3, "check": {"cpu_ms": 1, "wait_ms": 20}}],
        "engine": {"type": "synthetic", "tokens_per_s": 120, "max_num_seqs": 16},
        "rollout": {"policy": {"type": "best_of_n", "n": 4}},
        "cluster": {
            "name": "spot",
            "nodes": {"node": {"count": 2, "cores": 2}},
            "roles": {
                "rollout": {"cpus": 1, "min": 1, "max": 2, "per_node": 1},
                "sandbox": {"cpus": 0.5, "min": 1, "slots": 4, "per_node": 1},
                "reward": {"cpus": 0.5, "min": 1, "max": 2, "per_node": 1},
            },
        },
    }


def test_a_node_that_joins_gets_work_and_one_that_leaves_costs_nothing(
    berry: Any, until: Callable[..., None], logical_nodes: Callable[..., Any], value_model: Any, tmp_path: Path
) -> None:
    nodes = logical_nodes(1)
    prm = {"rewards": {"prm": {"model": value_model(tmp_path / "prm", "prm")}}}
    driver = berry.start("run", berry.config(elastic(160) | prm), "--address", nodes.address)
    commits = berry.folder / "runs/job/round=0/trajectories"

    def engines_committed() -> list[Any]:
        return berry.query("runs/job", ENGINES) if any(commits.glob("shard-*.parquet")) else []

    until(lambda: len(engines_committed()) == 1, what="a commit of the first node's engine")
    assert len(nodes.actors("RewardActor")) == 1
    (first,) = nodes.actors("RolloutActor")
    first.suspend()  # else the first engine may have done everything before the second is up: a machine may be slow
    spot = nodes.add()
    until(lambda: len(engines_committed()) == 2, within_s=180, what="a commit of the second node's engine")
    until(lambda: len(nodes.actors("RewardActor")) == 2, within_s=180, what="a reward actor on the second node")
    first.resume()
    assert driver.poll() is None, "the run was over before the node left"
    nodes.take(spot)
    out = driver.communicate(timeout=120)[0]
    assert driver.returncode == 0, out
    assert "1 of 2 engines, 1 of 2 sandbox actors, 1 of 2 reward actors fit the nodes that are there" in out
    assert "came up: 2 engines" in out
    assert berry.query("runs/job", COUNTS) == [(640, 640, 160)]
    wanting = "select count(*) from '{}/trajectories/*.parquet' where verdict = 'unverifiable' or prm_last is null"
    assert berry.query("runs/job", wanting) == [(0,)]


def test_auto_takes_sandbox_actors_away_and_brings_them_back(berry: Any) -> None:
    """Quick checks first, then slow ones: fewer actors, then more, and no verdict lost on the way."""
    quick = {"type": "synthetic", "count": 36, "seed": 3, "check": {"cpu_ms": 1, "wait_ms": 1}}
    slow = {"type": "synthetic", "count": 36, "seed": 4, "check": {"cpu_ms": 1, "wait_ms": 500}}
    config = elastic(1) | {"problems": [quick, slow]}
    config["cluster"] = {
        "name": "auto",
        "nodes": {"node": {"cores": 2}},
        "balance": {"tick_s": 0.5, "shrink_ticks": 3, "grow_ticks": 1},
        "roles": {"rollout": {"cpus": 1}, "sandbox": {"cpus": 0.25, "min": 1, "slots": 2}},
    }
    code, out = berry.run("run", berry.config(config))
    assert code == 0, out
    assert berry.query("runs/job", COUNTS) == [(288, 288, 72)]
    unchecked = "select count(*) from '{}/trajectories/*.parquet' where verdict not in ('pass', 'fail')"
    assert berry.query("runs/job", unchecked) == [(0,)]
    rows = [
        json.loads(line)
        for part in sorted((berry.folder / "runs/job/metrics").glob("balance-*.jsonl"))
        for line in part.read_text().splitlines()
    ]
    assert {"slots_idle", "starved"} <= {r["reason"] for r in rows if r["action"] != "keep"}, out
    assert len({r["open_slots"] for r in rows}) > 1
    assert "sandbox slots in" in out
    assert (berry.folder / "runs/job/metrics/balance.svg").read_text().startswith("<svg")


def big(**roles: Any) -> RunConfig:
    raw = elastic(1)
    raw["cluster"] = {"name": "gpus", "nodes": {"node": {"count": 2, "cores": 4, "gpus": 4}}, "roles": roles}
    return validate(raw, RunConfig, where="test")


def test_engines_over_several_gpus_lie_on_one_node_beside_their_sandboxes(
    tmp_path: Path, logical_nodes: Callable[..., Any]
) -> None:
    """Logical GPUs: two nodes of four, engines over two, reward models on a quarter."""
    import ray

    from berry.pipeline.runtime.cluster import connect as connecting
    from berry.pipeline.runtime.cluster import placement
    from berry.pipeline.runtime.cluster.fleet import Fleet

    config = big(
        rollout={"gpus": 2, "tensor_parallel": 2, "cpus": 0.5, "max": 3},
        reward={"gpus": 0.25, "cpus": 0.1, "max": 2},
        sandbox={"cpus": 0.25, "slots": 2, "max": 4},
    )
    planned = place_actors(config.cluster)
    assert (planned.rollout.actors, planned.reward.actors, planned.sandbox.actors) == (3, 2, 4)

    async def work(address: str) -> None:
        now = connecting.connect(address, config.cluster, planned)
        assert (now.rollout.actors, now.sandbox.actors) == (3, 4)
        fleet = Fleet(config, planned, run_url=str(tmp_path), round_index=0, note=lambda _: None)
        await fleet.start(now)
        rewards = [placement.reward(config, planned, run_url=str(tmp_path)) for _ in range(2)]
        assert len(fleet.workers) == 3
        nodes = [worker.home[0] for worker in fleet.workers]  # type: ignore[attr-defined]
        assert sorted(nodes.count(node) for node in set(nodes)) == [1, 2]
        groups = ray.util.placement_group_table()
        assert [g["bundles"] for g in groups.values()] == [{0: {"CPU": 0.5, "GPU": 2.0}}] * 3
        await asyncio.gather(*(r.counters.remote() for r in rewards))
        assert ray.available_resources()["GPU"] == pytest.approx(8 - 6 - 0.5)
        sites = fleet.sandboxes.up()
        assert {site.node for site in sites} >= set(nodes), "no sandbox beside an engine"
        await fleet.resize(4)
        assert len(fleet.sandboxes.up()) == 2
        await fleet.resize(8)
        await asyncio.wait_for(_until(lambda: len(fleet.sandboxes.up()) == 4), 30)
        await fleet.stop()

    nodes = logical_nodes(2, node=GPUS)
    asyncio.run(work(nodes.address))
    nodes.end()


async def _until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.1)


def test_roles_that_do_not_fit_the_nodes_that_are_there_say_what_fits(logical_nodes: Callable[..., Any]) -> None:
    from berry.pipeline.runtime.cluster import connect as connecting

    config = big(rollout={"gpus": 4, "tensor_parallel": 4, "min": 2}, sandbox={"cpus": 0.5})
    nodes = logical_nodes(1, node=GPUS)
    with pytest.raises(ResourceError, match=r"rollout.min 2: .* but 1 fit") as caught:
        connecting.connect(nodes.address, config.cluster, place_actors(config.cluster))
    assert "4 GPUs, 4 cores" in str(caught.value)
