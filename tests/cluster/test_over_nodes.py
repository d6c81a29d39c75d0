"""One real vLLM engine over two logical nodes, a stage of its layers on each: what it samples is as ever, it takes new
weights on both, and the death of one part, or of one node with its part, ends the whole engine, whose leases are handed
out again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
import pytest

from berry.pipeline.engines import models
from berry.pipeline.stages.dataset.maintenance.repair import check_run
from berry.pipeline.stages.training.push_weights import push_weights
from berry.pipeline.storage.run.directory import open_run

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.engine]

PROBLEMS = 40
ONCE = "select count(*), count(distinct trajectory_id) from '{}/trajectories/*.parquet'"
SOLVED = "select count(*) from '{}/trajectories/*.parquet' where verdict = 'pass'"
VERSIONS = "select distinct weights_version from '{}/nodes/*.parquet' where parent is not null"
CONFIG = {
    "seed": 3,
    "problems": [{"type": "arithmetic", "count": PROBLEMS, "seed": 9}],
    "engine": {
        "type": "vllm",
        "model": "tiny-arithmetic",
        "dtype": "float32",
        "max_model_len": 128,
        "max_num_seqs": 2,
        "kv_cache_gib": 0.25,
        "threads": 1,
        "pipeline_parallel_size": 2,
    },
    "rollout": {"policy": {"type": "best_of_n", "n": 4}, "sampling": {"temperature": 1.0, "max_tokens": 100}},
    "pruning": [{"type": "verdict"}],
    "cluster": {
        "name": "logical",
        "nodes": {"node": {"count": 2, "gpus": 1, "cores": 4}},
        "roles": {
            "rollout": {"gpus": 2, "pipeline_parallel": 2, "nodes": 2, "cpus": 3, "max": 1},
            "sandbox": {"cpus": 0.5, "slots": 1, "max": 1},
        },
    },
    "storage": {"lease_problems": 4, "compact": False},
    "report": False,
}


def parts(nodes: Any) -> list[psutil.Process]:
    return nodes.actors("RayWorkerProc")


@pytest.mark.timeout(900)
def test_it_takes_new_weights_and_outlives_the_death_of_a_part_and_of_a_node(
    berry: Any, logical_nodes: Callable[..., Any], until: Callable[..., None]
) -> None:
    nodes = logical_nodes(2, node={"num_cpus": 4, "num_gpus": 1})
    driver = berry.start("run", berry.config(CONFIG), "--address", nodes.address)
    commits = berry.folder / "runs/job/round=0/trajectories"
    until(
        lambda: any(commits.glob("*.parquet")) or driver.poll() is not None,
        within_s=400,
        what="a committed lease",
    )
    assert driver.poll() is None, driver.communicate()[0]
    run = open_run(str(berry.folder / "runs/job"))
    push_weights(run, models.resolve("tiny-arithmetic"), what="policy", version="pushed")
    until(
        lambda: ("pushed",) in berry.query("runs/job", VERSIONS) or driver.poll() is not None,
        within_s=200,
        what="a committed lease of the pushed weights",
    )
    first = parts(nodes)
    assert len({part.ppid() for part in first}) == len(first) == 2  # a raylet each
    first[-1].kill()
    nodes.replace(0)  # while the engine gathers itself, one of its two nodes is gone too, and another comes
    out = driver.communicate(timeout=450)[0]
    assert driver.returncode == 0, out
    assert "handed out again" in out, out
    assert berry.query("runs/job", ONCE) == [(4 * PROBLEMS, 4 * PROBLEMS)]
    (solved,) = berry.query("runs/job", SOLVED)[0]
    assert solved > PROBLEMS  # parts of a model that do not fit together solve none
    assert len(berry.query("runs/job", VERSIONS)) == 2
    assert check_run(run).faults == []
