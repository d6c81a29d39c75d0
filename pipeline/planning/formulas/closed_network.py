"""Models trajectories as a closed queueing network whose sandboxes may share cores with everything else.

    rate ─► cores busy ─► how long a check holds its slot ─► rate            (solved for the rate that agrees)

Where each slot has a core of its own (datacentre layouts) a check takes what it takes. On a machine whose slots,
searches and paced engines share a few cores, a check's time in its slot is made of three: waiting that no core can
shorten; starting, sending and reading, which wait for their turn on busy cores as in an open queue, 1 / (1 - busy)
times what they take alone (M/G/1 processor sharing, Kleinrock 1967); and computing, where the slots share what the
searches leave of the cores, which is the closed machine-repairman chain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from berry.pipeline.planning.formulas import queueing
from berry.pipeline.planning.formulas.queueing import EngineRate, Service, Station

BUSIEST = 0.98  # share of the cores that a plan counts on


@dataclass(frozen=True, slots=True)
class Cores:
    """`count` cores for everything. A trajectory takes `own_s` of them outside its check; the check computes for
    `check_s`, waits for `idle_s`, and takes `turn_s` for what needs a turn on a core rather than a core."""

    count: float
    own_s: float
    check_s: float
    idle_s: float
    turn_s: float

    @property
    def capacity(self) -> float:
        """Trajectories/s that the cores can carry."""
        return BUSIEST * self.count / (self.own_s + self.check_s)

    def busy(self, rate: float) -> float:
        """Computes the share of the cores in use."""
        return min(BUSIEST, rate * (self.own_s + self.check_s) / self.count)

    def held_s(self, rate: float, slots: int) -> float:
        """Computes a check's time in one of `slots` that are all in use, at this rate, in s."""
        away_s = self.idle_s + self.turn_s / (1 - self.busy(rate))
        return away_s + self.computing_s(rate, slots, away_s)

    def computing_s(self, rate: float, slots: int, away_s: float) -> float:
        """Its time from wanting a core to having had it for `check_s`, where each slot is `away_s` in between."""
        left = max(self.count - rate * self.own_s, (1 - BUSIEST) * self.count)
        wanting = np.arange(slots + 1)
        done = np.minimum(wanting, left) / self.check_s
        if away_s <= 0:
            return slots / float(done[-1])
        steps = np.log((slots - wanting[:-1]) / away_s) - np.log(done[1:])
        weights = np.concatenate([[0.0], np.cumsum(steps)])
        chances = np.exp(weights - weights.max())
        through = float((chances * done).sum() / chances.sum())
        return slots / through - away_s

    def turn_from(self, rate: float, slots: int, held_s: float) -> float:
        """Finds the `turn_s` with which `held_s` comes out, in s; 0 where the rest explains more than that."""
        away = held_s - self.check_s
        for _ in range(50):
            away = (away + held_s - self.computing_s(rate, slots, max(0.0, away))) / 2
        return max(0.0, away - self.idle_s) * (1 - self.busy(rate))


@dataclass(frozen=True, slots=True)
class ClosedQueueNetwork:
    """Stations that a fixed number of trajectories goes round: engines, sandboxes (`service` on a core of its own),
    `calls` of tools, which have as many slots as checks, and the other stations."""

    population: float
    engine_rate: EngineRate
    others: tuple[Station, ...]
    service: Service
    burst: float
    cores: Cores | None = None
    calls: Station | None = None

    def service_at(self, rate: float, slots: int) -> Service:
        """Computes a check's time in its slot at this rate."""
        if self.cores is None:
            return self.service
        return Service(self.cores.held_s(rate, slots), self.service.scv)

    def rate(self, slots: int | None) -> float:
        """Trajectories/s with this many slots; None: as if checks took no time, and no call waited for a slot."""
        if self.cores is None or slots is None:
            rate = self._throughput(slots, self.service)
            return rate if self.cores is None else min(rate, self.cores.capacity)
        low, high = 0.0, min(self._throughput(slots, self.service_at(0.0, slots)), self.cores.capacity)
        for _ in range(24):
            middle = (low + high) / 2
            if self._throughput(slots, self.service_at(middle, slots)) > middle:
                low = middle
            else:
                high = middle
        return high

    def _throughput(self, slots: int | None, service: Service) -> float:
        stations = self.others if slots is None else (Station("sandbox", slots, service), *self.others)
        if self.calls is not None:
            servers = max(1, math.ceil(self.population)) if slots is None else slots
            stations = (replace(self.calls, servers=servers), *stations)
        return queueing.closed_network_rate(self.population, self.engine_rate, stations, self.burst)
