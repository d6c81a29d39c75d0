"""A problem that kills its worker three times is put aside with the reason, and the run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from berry.pipeline.config.run import RunConfig
from berry.pipeline.engines.base import Request
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.errors import EngineError
from berry.pipeline.runtime.driver.coordinator import Coordinator
from berry.pipeline.runtime.scripted import ScriptedWorker
from berry.pipeline.runtime.worker import WorkerLost
from berry.pipeline.stages.leases.lease import IteratedLeases, Lease, LeaseReport
from berry.pipeline.stages.leases.partition import iter_leases
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.files import locate
from berry.verifiers.base import Outcome, Reason, Verdict
from berry.verifiers.checker import CheckRequest

POISON = "synthetic-3-5"
CONFIG = RunConfig.model_validate(
    {
        "name": "q",
        "problems": [{"type": "synthetic", "count": 12, "seed": 3}],
        "engine": {"type": "synthetic"},
        "rollout": {"policy": {"type": "best_of_n", "n": 2}},
        "storage": {"lease_problems": 3},
    }
)


class Mortal(Synthetic):
    """Dies of one problem."""

    def generate(self, request: Request) -> Any:
        if request.request_id.startswith(f"{POISON}/"):
            raise EngineError("illegal memory access")
        return super().generate(request)


async def verify(_: CheckRequest) -> Verdict:
    return Verdict(Outcome.FAIL, Reason.WRONG_ANSWER)


class Restarted(ScriptedWorker):
    """A worker whose every death is followed by a fresh engine and a fresh LeaseWorker, as Ray does it."""

    def __init__(self, place: Path) -> None:
        super().__init__("w")
        self.location = locate(place)
        self.deaths = 0
        self.worker: LeaseWorker | None = None

    async def recover(self) -> None:
        engine = Mortal(CONFIG.engine, engine_id="e")  # pyright: ignore[reportArgumentType]
        await engine.start()
        self.worker = LeaseWorker(CONFIG, self.location, engine, verify, "w")

    async def run_lease(self, lease: Lease) -> LeaseReport:
        assert self.worker is not None
        try:
            return await self.worker.run(lease)
        except EngineError as error:
            self.deaths += 1
            raise WorkerLost(str(error)) from error


async def test_the_deadly_problem_is_quarantined_and_all_others_are_done(tmp_path: Path) -> None:
    worker = Restarted(tmp_path)
    await worker.recover()
    totals = await Coordinator(IteratedLeases(iter_leases(CONFIG.problems, size=3, skip=())), [worker]).run()
    assert worker.deaths == 3
    assert totals.problems == 12
    assert totals.drops["quarantined"] == 1
    rows = pq.read_table(tmp_path / "round=0/trajectories").to_pylist()
    assert {r["problem_id"] for r in rows if r["drop_reason"] == "quarantined"} == {POISON}
    assert len({r["problem_id"] for r in rows}) == 12
    assert sum(r["drop_reason"] != "quarantined" for r in rows) == 22
