"""Which worker of pytest-xdist runs what. Tests that start clusters mostly wait, others compute: each kind has a worker
of its own, so that waiting and computing overlap, no two clusters start at once, and few workers import torch and vLLM.

    collected ─► units: a file, files that share an engine, a long test that shares nothing
              ─► lanes: worker i serves lane i, longest unit first, and then the lane that has the most left
"""

from __future__ import annotations

from typing import Any

from xdist.scheduler import LoadScopeScheduling

LANES: tuple[tuple[str, ...], ...] = (
    ("tests/cluster/", "tests/deploy/"),
    ("tests/engines/", "tests/runtime/", "tests/rewards/", "tests/cli/", "tests/gpu/", "tests/stages/stored/"),
    (),
)
"""A unit belongs to the first lane with a folder that it is in, or to the last."""

ONE_ENGINE = ("tests/engines/test_contract.py", "tests/engines/test_recompute.py", "tests/engines/vllm/test_engine.py")
"""Run by one worker, for the real engine that they share."""

SECONDS = {
    "tests/cli/test_status.py": 25,
    "tests/cli/test_variants_command.py::test_a_real_model_measures_what_was_drawn_anew": 50,
    "tests/cluster/test_elastic.py::test_a_node_that_joins_gets_work_and_one_that_leaves_costs_nothing": 65,
    "tests/cluster/test_elastic.py::test_auto_takes_sandbox_actors_away_and_brings_them_back": 50,
    "tests/cluster/test_elastic.py::test_engines_over_several_gpus_lie_on_one_node_beside_their_sandboxes": 45,
    "tests/cluster/test_faults.py": 150,
    "tests/cluster/test_faults.py::test_a_dead_head_ends_the_run_with_one_error_and_it_is_resumed": 50,
    "tests/cluster/test_planted_faults.py": 130,
    "tests/cluster/test_ray_run.py": 70,
    "tests/cluster/test_ray_run.py::"
    "test_the_tiny_model_runs_from_config_to_kept_parquet_on_a_store_learns_and_runs_again": 95,
    "tests/cluster/test_reward_actors.py": 50,
    "tests/cluster/test_submit.py": 35,
    "tests/cluster/test_verify_address.py": 25,
    "tests/deploy/test_grafana.py": 22,
    "tests/engines/test_contract.py": 180,
    "tests/rewards/training/test_reward_trainer.py": 30,
    "tests/runtime/driver/test_balance_run.py": 22,
    "tests/runtime/driver/test_local_run.py": 45,
    "tests/runtime/driver/test_many_kills.py": 80,
    "tests/runtime/driver/test_object_store.py": 30,
    "tests/runtime/driver/test_revision.py": 25,
    "tests/runtime/driver/test_rounds.py": 90,
    "tests/runtime/driver/test_lease_claims.py": 75,
    "tests/sandboxes/test_limits.py": 60,
    "tests/stages/training/test_reward_model.py": 25,
}
"""Roughly what the long units take; a test that stands here by its name shares nothing with others of its file."""


def unit_of(nodeid: str) -> str:
    file, _, _ = nodeid.partition("::")
    if file in ONE_ENGINE:
        return ONE_ENGINE[0]
    test = nodeid.partition("[")[0]
    return test if test in SECONDS else file


def lane_of(unit: str) -> int:
    return next((i for i, folders in enumerate(LANES) if unit.startswith(folders)), len(LANES) - 1)


class Lanes(LoadScopeScheduling):
    """Assigns units as its base does, but to the worker of their lane, and when the worker is about to need one."""

    def __init__(self, config: Any, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def _seconds(self, unit: str) -> float:
        return SECONDS.get(unit, 0.1 * len(self.workqueue[unit]))

    def _next(self, worker: int) -> str:
        """The longest unit of the worker's lane, or of the lane with the most left."""
        left = [0.0] * len(LANES)
        for unit in self.workqueue:
            left[lane_of(unit)] += self._seconds(unit)
        own = worker % len(LANES)
        lane = own if left[own] else left.index(max(left))
        return max((unit for unit in self.workqueue if lane_of(unit) == lane), key=self._seconds)

    def _assign_work_unit(self, node: Any) -> None:
        self.workqueue.move_to_end(self._next(int(node.gateway.id.removeprefix("gw"))), last=False)
        super()._assign_work_unit(node)

    def _reschedule(self, node: Any) -> None:
        """A worker begins a test when it knows the next one: one in advance is enough, and more could not be taken by
        others at the end."""
        if not node.shutting_down and self.workqueue and self._pending_of(self.assigned_work[node]) > 1:
            return
        super()._reschedule(node)
