"""What goes on beside a coordinator: figures to Prometheus, the balance, a share of its leases computed again.

Coordinator ─► Totals ─► Exporter      workers ─► Balancing ─► Pool      Coordinator ─► LeaseReport ─► Recomputing
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, cast

from berry.pipeline.config.run import RunConfig
from berry.pipeline.runtime.display import Display
from berry.pipeline.runtime.driver.coordinator import Coordinator
from berry.pipeline.runtime.driver.lease_claims import LeaseClaims
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.monitoring import metrics, prometheus, stalls
from berry.pipeline.runtime.monitoring.autoscaler import Balancing
from berry.pipeline.runtime.monitoring.logprob_audit import Recomputing
from berry.pipeline.runtime.worker import Pool, Replica, Worker
from berry.pipeline.storage.dataset import RunDir


class Driver(Protocol):
    config: RunConfig
    launch: Launch
    directory: RunDir
    display: Display
    round: int
    pool: Pool | None
    claiming: LeaseClaims | None


@asynccontextmanager
async def beside(driver: Driver, coordinator: Coordinator, workers: Sequence[Worker]) -> AsyncIterator[None]:
    """For as long as leases are handed out; ends with what is still to be said of them."""
    tasks: list[asyncio.Task[Any]] = []
    if not driver.launch.local:
        exporter = prometheus.Exporter({"run": driver.config.name})
        tasks.append(prometheus.begin(exporter, lambda: metrics.of_totals(coordinator.totals)))
    pool, cluster = driver.pool, driver.config.cluster
    if cluster.ratio == "auto" and pool is not None and pool.bounds().least < pool.bounds().most:
        balancing = Balancing(cluster.balance, pool, workers, driver.directory, note=driver.display.note)
        tasks.append(asyncio.create_task(balancing.work()))
    if pool is not None:
        tasks.append(asyncio.create_task(pool.watch(coordinator.join)))
    stall_s = driver.config.storage.stall_s
    tasks.append(
        asyncio.create_task(stalls.watch(cast("Sequence[stalls.Stoppable]", workers), stall_s, driver.display.note))
    )
    if driver.claiming is not None:
        tasks.append(asyncio.create_task(driver.claiming.work(coordinator.wake)))
    recomputing: Recomputing | None = None
    if driver.config.recompute.share > 0:
        recomputing = Recomputing(
            driver.config.recompute,
            driver.directory,
            cast("Sequence[Replica]", workers),
            round_index=driver.round,
            alarm=driver.display.note,
            fence=coordinator.fence,
        )
        coordinator.on_report = recomputing.submit
        tasks.append(asyncio.create_task(recomputing.work()))
    try:
        yield
        if recomputing is not None:
            await recomputing.drain()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if driver.claiming is not None:
            await asyncio.to_thread(driver.claiming.close)
