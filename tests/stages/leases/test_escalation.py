"""The leases that follow from others hold what did not succeed there, whatever order leases are committed in."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.assignment.modes import given_id
from berry.pipeline.records import TokenLedger
from berry.pipeline.stages.leases.lease import Lease, LeaseReport
from berry.pipeline.stages.leases.partition import AllLeases, lease_count
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.run.directory import RunDir

COUNT = 10


def config(order: list[str], **routing: Any) -> RunConfig:
    raw = {
        "name": "r",
        "problems": [{"type": "synthetic", "count": COUNT, "seed": 1}],
        "engines": {name: {"type": "synthetic", "error_rate": [0, 0.1 * n]} for n, name in enumerate(order, 1)},
        "routing": {"type": "escalate", "order": order, **routing},
        "storage": {"lease_problems": 3},
    }
    return validate(raw, RunConfig, where="test")


def hard(problem_id: str, depth: int) -> bool:
    """Every second problem goes on from the first model, every fourth from the second."""
    return int(problem_id.rpartition("-")[2]) % 2**depth == 0


def report(lease: Lease, order: list[str]) -> LeaseReport:
    depth = 1 + order.index(lease.engine)
    goes_on = [given for p in lease.problems if hard(given := given_id(p.id, lease.engine), depth)]
    if lease.engine == order[-1]:
        goes_on = []
    return LeaseReport(
        lease.number, "w", len(lease.problems), 0, 0, 0, {}, TokenLedger(), 0.0, engine=lease.engine, goes_on=goes_on
    )


def run_in_order(leases: AllLeases, order: list[str], chance: random.Random) -> dict[int, Lease]:
    """Takes and commits leases in an order drawn at random, until there is none."""
    leases.begin_round(0)
    flying: list[Lease] = []
    done: dict[int, Lease] = {}
    while True:
        taken = leases.take(chance.choice(order)) if chance.random() < 0.6 else None
        if taken is not None:
            flying.append(taken)
        elif flying:
            lease = flying.pop(chance.randrange(len(flying)))
            done[lease.number] = lease
            leases.settle(report(lease, order))
        elif not leases.may_have_more:
            return done


@given(st.integers(0, 2**32))
def test_what_goes_on_follows_from_what_is_committed_and_not_from_the_order(seed: int) -> None:
    order = ["a", "b", "c"]
    run = config(order)
    done = run_in_order(AllLeases(RunDir(locate("/nonexistent")), run), order, random.Random(seed))
    assert sorted(done) == list(range(lease_count({"a": COUNT}, run))) == list(range(12))
    searched = sorted(problem.id for lease in done.values() for problem in lease.problems)
    every = [f"synthetic-1-{n}" for n in range(COUNT)]
    assert searched == sorted(
        [f"{p}@a" for p in every] + [f"{p}@b" for p in every if hard(p, 1)] + [f"{p}@c" for p in every if hard(p, 2)]
    )
    assert {lease.engine for number, lease in done.items() if number % 3 == 1} == {"b"}
    assert all(p.variant_of == given_id(p.id, lease.engine) for lease in done.values() for p in lease.problems)


@given(st.integers(0, 2**32))
def test_within_a_budget_the_first_problems_go_on_whatever_the_order(seed: int) -> None:
    order = ["a", "b"]
    leases = AllLeases(RunDir(locate("/nonexistent")), config(order, max_problems=2))
    done = run_in_order(leases, order, random.Random(seed))
    went_on = [p.id for number in sorted(done) for p in done[number].problems if done[number].engine == "b"]
    assert went_on == ["synthetic-1-0@b", "synthetic-1-2@b"]
    assert leases.went_on == 2


def test_nothing_follows_from_a_lease_that_is_still_searched() -> None:
    order = ["a", "b"]
    leases = AllLeases(RunDir(locate("/nonexistent")), config(order))
    leases.begin_round(0)
    assert leases.take("b") is None
    first, second = leases.take("a"), leases.take("a")
    assert first is not None
    assert second is not None
    leases.settle(report(second, order))
    following = leases.take("b")
    assert following is not None
    assert following.number == second.number + 1
    assert leases.take("b") is None
    leases.settle(report(first, order))
    assert leases.may_have_more
