"""Formulas against exact cases and against a simulation of the same network."""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable

import numpy as np
import pytest

from berry.pipeline.errors import ConfigError
from berry.pipeline.planning.formulas import queueing
from berry.pipeline.planning.formulas.queueing import Service, Station


def test_one_exponential_server_waits_as_mm1() -> None:
    rate, service = 0.8, Service(1.0, 1.0)
    assert queueing.mean_wait_s(1, rate, service) == pytest.approx(0.8 / 0.2)
    assert queueing.erlang_c(1, 0.8) == pytest.approx(0.8)


def test_one_general_server_waits_as_pollaczek_and_khinchine_say() -> None:
    service = Service(2.0, 5.0)
    exact = 0.4 * 2.0**2 * (1 + 5.0) / (2 * (1 - 0.8))
    assert queueing.mean_wait_s(1, 0.4, service) == pytest.approx(exact)


def test_erlang_c_agrees_with_its_sum() -> None:
    servers, load = 10, 8.5
    top = load**servers / math.factorial(servers) * servers / (servers - load)
    below = sum(load**k / math.factorial(k) for k in range(servers))
    assert queueing.erlang_c(servers, load) == pytest.approx(top / (below + top))
    assert queueing.erlang_c(100_000, 99_000) < 0.01


def test_a_full_station_waits_without_bound() -> None:
    assert queueing.mean_wait_s(4, 4.0, Service(1.0, 1.0)) == math.inf
    assert queueing.wait_quantile_s(4, 4.0, Service(1.0, 1.0)) == math.inf


def test_the_lognormal_has_the_tail_it_was_made_from() -> None:
    scv = queueing.lognormal_scv(1.0, 8.0)
    spread = math.sqrt(math.log(1 + scv))
    assert math.exp(-(spread**2) / 2 + queueing.Z99 * spread) == pytest.approx(8.0)


@pytest.mark.parametrize(("p99", "why"), [(0.5, "below the mean"), (20.0, "no lognormal tail")])
def test_a_tail_that_no_service_time_has_is_refused(p99: float, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        queueing.lognormal_scv(1.0, p99)


def test_a_mixture_has_the_moments_of_its_parts() -> None:
    mixed = queueing.mixture([(0.5, Service(1.0, 0.0)), (0.5, Service(3.0, 0.0))])
    assert mixed.mean_s == 2.0
    assert mixed.scv == pytest.approx(0.25)


def simulate(population: int, sequences: int, generate_s: float, slots: int, service: Service) -> float:
    """Trajectories/s of a closed network: exponential generation in `sequences` places, lognormal checks in `slots`."""
    draw = random.Random(7)
    spread = math.sqrt(math.log(1 + service.scv))
    middle = math.log(service.mean_s) - spread**2 / 2
    waiting = {"engine": deque(range(population)), "slot": deque[int]()}
    free = {"engine": sequences, "slot": slots}
    ends: list[tuple[float, int, str]] = []
    now, done, started = 0.0, 0, 0.0
    most, warm = 12_000, 2_000
    while done < most:
        for place in ("engine", "slot"):
            while free[place] and waiting[place]:
                who = waiting[place].popleft()
                free[place] -= 1
                time = draw.expovariate(1 / generate_s) if place == "engine" else draw.lognormvariate(middle, spread)
                heapq.heappush(ends, (now + time, who, place))
        now, who, place = heapq.heappop(ends)
        free[place] += 1
        if place == "engine":
            waiting["slot"].append(who)
        else:
            waiting["engine"].append(who)
            done += 1
            if done == warm:
                started = now
    return (most - warm) / (now - started)


def engines(sequences: int, generate_s: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda under_way: np.minimum(under_way, sequences) / generate_s


@pytest.mark.parametrize("slots", [4, 8, 10, 12, 16, 24])
@pytest.mark.parametrize(("tail", "error"), [(1.0, 0.03), (5.0, 0.05), (15.0, 0.08)])
def test_the_circle_runs_as_fast_as_its_simulation(slots: int, tail: float, error: float) -> None:
    service = Service(1.0, tail)
    predicted = queueing.closed_network_rate(60, engines(40, 4.0), [Station("slot", slots, service)])
    assert predicted == pytest.approx(simulate(60, 40, 4.0, slots, service), rel=error)


def test_more_slots_never_slow_the_circle_down() -> None:
    rates = [
        queueing.closed_network_rate(50, engines(40, 4.0), [Station("slot", c, Service(1.0, 10.0))])
        for c in range(1, 40)
    ]
    assert rates == sorted(rates)
    assert rates[0] == pytest.approx(1, rel=0.01)
    assert rates[-1] == pytest.approx(10, rel=0.03)


def test_averages_alone_ask_for_too_few_slots() -> None:
    """With λ × S = 10 slots exactly and few trajectories to spare, 8% of the speed is lost."""
    rate = queueing.closed_network_rate(50, engines(40, 4.0), [Station("slot", 10, Service(1.0, 1.0))])
    assert rate < 0.95 * 10


def test_a_large_circle_is_the_small_one_scaled() -> None:
    small = queueing.closed_network_rate(15_000, engines(10_000, 4.0), [Station("slot", 2_000, Service(1.0, 5.0))])
    large = queueing.closed_network_rate(1.5e6, engines(1_000_000, 4.0), [Station("slot", 200_000, Service(1.0, 5.0))])
    assert large == pytest.approx(100 * small, rel=0.01)


def test_a_second_station_costs_its_time_alone() -> None:
    slow, fast = Station("slot", 6, Service(1.0, 1.0)), Station("reward", 50, Service(0.5, 1.0))
    alone = queueing.closed_network_rate(30, engines(40, 4.0), [slow])
    both = queueing.closed_network_rate(30, engines(40, 4.0), [slow, fast])
    assert 0.85 * alone < both < alone
