"""Sets a finished run beside its plan: what `berry plan` would have said, and what it says knowing this run's lengths.

metrics/run.json, Parquet ─► planning.runs ─► AgainstPlan ─► a line of the summary
"""

from __future__ import annotations

from dataclasses import dataclass

from berry.pipeline.config.plan import Calibration
from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import BerryError
from berry.pipeline.planning import runs
from berry.pipeline.planning.capacity import CapacityPlan, plan
from berry.pipeline.report.pages import rounded
from berry.pipeline.storage.run.directory import RunDir

READ_AGAIN = 20_000  # problems that are read once more, to know their verifiers


@dataclass(frozen=True, slots=True)
class AgainstPlan:
    """Trajectories/s. `measured` is of the steady state where `steady`, else over the whole run; `told` is the plan's
    with this run's lengths, pass rate and checks, `before` with what is assumed when nothing has been measured
    (None where reading all problems again would take long)."""

    measured: float
    steady: bool
    told: CapacityPlan
    before: CapacityPlan | None

    @property
    def line(self) -> str:
        rate, told = self.measured, self.told
        span = "in steady state" if self.steady else "over the whole run"
        assumed = "" if self.before is None else f"{rounded(self.before.rate)} by its assumptions, "
        return (
            f"{rounded(rate)} trajectories/s {span}; the plan said {assumed}{rounded(told.rate)} with this run's "
            f"lengths and checks ({told.rate / rate:.2f} ×; {told.binding.value} binds, engines "
            f"{told.gpu_idle_share:.0%} idle)"
        )


def against_plan(run: RunDir) -> AgainstPlan | str:
    """Compares run and plan, or says why it can't: a cluster without a sheet, an engine without a speed, an unfinished
    run."""
    try:
        config = validate(run.config() or {}, RunConfig, where="run.yaml")
        seen = runs.measure(run)
        steady = seen.steady or {}
        measured = steady.get("trajectories_per_s") or (seen.trajectories / seen.wall_s if seen.wall_s else None)
        if not measured:
            return "the run measured no speed"
        few = seen.problems <= READ_AGAIN
        assumed, _ = runs.workload_of(config, None if few else {"measured": seen.problems})
        known = runs.measured_workload(assumed, seen)
        told = plan(known, config.cluster, None, Calibration())
        before = plan(assumed, config.cluster, None, Calibration()) if few else None
    except BerryError as error:
        return str(error)
    return AgainstPlan(measured, bool(steady.get("trajectories_per_s")), told, before)
