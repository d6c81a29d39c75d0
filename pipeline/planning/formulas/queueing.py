"""Computes waits for a slot (M/G/c by approximation), and the throughput of trajectories that go round.

Averages alone promise that λ × S slots are enough; with that many the queue grows without bound. What is
needed above depends on the tail of the service time, which these formulas carry as its squared
coefficient of variation. Sources: Erlang (1917) for M/M/c; Allen (1990) and Cunneen for the G/G/c mean
wait; Little (1961).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from berry.pipeline.errors import ConfigError

Z99 = 2.3263478740408408  # standard normal quantile of 99%


@dataclass(frozen=True, slots=True)
class Service:
    """A service time: mean in s, and variance over squared mean (0 constant, 1 exponential)."""

    mean_s: float
    scv: float


def lognormal_scv(mean: float, p99: float) -> float:
    """Computes the squared coefficient of variation of the lognormal with this mean and 99% quantile (same unit).

    ln(p99/mean) = z·s - s²/2, the smaller root s; scv = exp(s²) - 1. Raises ConfigError where no
    lognormal fits: a 99% quantile below the mean, or above exp(z²/2) = 15 times it.
    """
    ratio = p99 / mean
    most = math.exp(Z99**2 / 2)
    if ratio < 1:
        raise ConfigError(f"p99 {p99:g} is below the mean {mean:g}: give the time that 1% of the checks exceed")
    if ratio > most:
        raise ConfigError(
            f"p99 {p99:g} is {ratio:.0f} × the mean {mean:g}; no lognormal tail goes beyond {most:.1f} ×. "
            f"Split it into two verifiers, a fast and a slow one, with their shares"
        )
    spread = Z99 - math.sqrt(Z99**2 - 2 * math.log(ratio))
    return math.exp(spread**2) - 1


def lognormal_p99(mean: float, scv: float) -> float:
    """Computes the 99% quantile of the lognormal with this mean and squared coefficient of variation, in the mean's
    unit; beyond the heaviest tail that `lognormal_scv` can read it stays at that, exp(z²/2) times the mean."""
    spread = min(Z99, math.sqrt(math.log1p(scv)))
    return mean * math.exp(Z99 * spread - spread**2 / 2)


def mixture(parts: Sequence[tuple[float, Service]]) -> Service:
    """Mixes service times: pairs of (share, service), shares summing to 1. Moments add by share."""
    mean = sum(share * s.mean_s for share, s in parts)
    second = sum(share * s.mean_s**2 * (1 + s.scv) for share, s in parts)
    return Service(mean, second / mean**2 - 1)


def erlang_c(servers: int, load: float) -> float:
    """Computes the probability that an arrival must wait in M/M/c; `load` = arrival rate × mean service (below
    `servers`).

    By Erlang B's recursion, which stays in [0, 1] for any size.
    """
    if load <= 0:
        return 0.0
    if load >= servers:
        return 1.0
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
    rho = load / servers
    return blocked / (1 - rho * (1 - blocked))


def mean_wait_s(servers: int, rate: float, service: Service, arrival_scv: float = 1.0) -> float:
    """Computes the mean wait before service in G/G/c, in s; infinite at or above full load. `rate` is arrivals/s.

    Allen-Cunneen: W = C(c, a) · S / (c - a) · (ca² + cs²) / 2; exact for M/M/c.
    """
    load = rate * service.mean_s
    if load >= servers:
        return math.inf
    return erlang_c(servers, load) * service.mean_s / (servers - load) * (arrival_scv + service.scv) / 2


def wait_quantile_s(
    servers: int, rate: float, service: Service, *, quantile: float = 0.99, arrival_scv: float = 1.0
) -> float:
    """Computes the wait that a share 1 - quantile exceeds, in s: those who wait at all do so for an exponential
    time."""
    waits = erlang_c(servers, rate * service.mean_s)
    mean = mean_wait_s(servers, rate, service, arrival_scv)
    if math.isinf(mean):
        return math.inf
    if waits <= 1 - quantile:
        return 0.0
    return mean / waits * math.log(waits / (1 - quantile))


@dataclass(frozen=True, slots=True)
class Station:
    """Servers that every trajectory visits `visits` times."""

    name: str
    servers: int
    service: Service
    visits: float = 1.0

    @property
    def held_s(self) -> float:
        """A trajectory's time in service, over all its visits, in s."""
        return self.visits * self.service.mean_s

    @property
    def capacity(self) -> float:
        """Trajectories/s at full load."""
        return self.servers / self.held_s if self.held_s > 0 else math.inf

    def time_s(self, rate: float, arrival_scv: float) -> float:
        """Computes the mean wait and service of all visits together at a rate of trajectories/s, in s."""
        if self.held_s == 0:
            return 0.0
        wait = mean_wait_s(self.servers, self.visits * rate, self.service, arrival_scv)
        return self.held_s + self.visits * wait


EngineRate = Callable[[np.ndarray], np.ndarray]
STATES = 4_000  # larger networks are scaled down to this many: chance averages out long before


def closed_network_rate(
    population: float, engine_rate: EngineRate, stations: Sequence[Station], arrival_scv: float = 1.0
) -> float:
    """Computes trajectories/s when `population` of them go round between engines and stations.

    `engine_rate(n)` is how many a second the engines complete with n under way there (flat once they are
    full). The slowest station and the engines form a birth-death chain over how many are at the station;
    the other stations delay by service and Allen-Cunneen wait. Exact for exponential times and one
    station; against simulation of lognormal times with squared coefficients of variation up to 15, 7% too
    high at the knee at worst, and 3% typically (tests/planning/formulas/test_queueing.py): a network of bounded
    size can't build the queues that an open stream would.
    """
    slowest = min(stations, key=lambda s: s.capacity)
    rate, before = 0.0, -1.0
    for _ in range(8):
        if abs(rate - before) <= 1e-4 * rate:
            break
        before = rate
        delay = sum(s.time_s(min(rate, 0.98 * s.capacity), arrival_scv) for s in stations if s is not slowest)
        rate = _birth_death_rate(max(1.0, population - rate * delay), engine_rate, slowest)
    return min(rate, float(engine_rate(np.array([population]))[0]))


def _birth_death_rate(population: float, engine_rate: EngineRate, station: Station) -> float:
    if station.held_s == 0:
        return float(engine_rate(np.array([population]))[0])
    scale = max(1.0, population / STATES)
    at_station = np.arange(round(population / scale) + 1)
    arrivals = engine_rate((at_station[::-1]) * scale) / scale
    departures = np.minimum(at_station, station.servers / scale) / station.held_s
    steps = np.log(np.maximum(arrivals[:-1], 1e-300)) - np.log(departures[1:])
    weights = np.concatenate([[0.0], np.cumsum(steps)])
    chances = np.exp(weights - weights.max())
    return float((chances * departures).sum() / chances.sum() * scale)  # no BLAS: its threads spin beside neighbours
