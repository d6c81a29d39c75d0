"""Who of several replicas computes wrongly, from the gaps between them."""

from __future__ import annotations

import random

import pytest

from berry.pipeline.core.agreement import Gap, judge, learn

NOISE, WRONG = 2e-3, 0.05


def gaps(engines: str, wrong: str, *, count: int = 20, seed: int = 0) -> list[Gap]:
    """Every engine's trajectories, by itself and by each other one; those of and by a wrong engine are far off."""
    chance = random.Random(seed)
    made = []
    for maker in engines:
        for checker in engines:
            off = maker != checker and (maker in wrong) != (checker in wrong)
            for i in range(count):
                nats = chance.uniform(0, NOISE) + (WRONG * chance.uniform(0.5, 2) if off else 0.0)
                made.append(Gap(f"{maker}{i}", maker, checker, nats))
    chance.shuffle(made)
    return made


@pytest.mark.parametrize("seed", range(5))
def test_healthy_replicas_raise_no_alarm(seed: int) -> None:
    finding = judge(gaps("abcd", "", seed=seed), min_samples=8)
    assert finding.suspects == ()
    assert finding.tolerance is not None
    assert NOISE < finding.tolerance < WRONG / 2
    assert len(finding.pairs) == 6


@pytest.mark.parametrize("engines", ["abc", "abcd", "abcdefgh"])
def test_the_one_that_differs_from_the_others_is_named(engines: str) -> None:
    finding = judge(gaps(engines, "b"), min_samples=8)
    assert finding.suspects == ("b",)
    assert finding.decided
    assert all(("b" in (p.a, p.b)) == p.disagrees for p in finding.pairs)


def test_of_two_that_differ_nobody_can_say_which() -> None:
    finding = judge(gaps("ab", "b"), min_samples=8)
    assert finding.suspects == ("a", "b")
    assert not finding.decided


def test_too_few_samples_say_nothing() -> None:
    assert judge(gaps("abc", "b", count=2), min_samples=8).tolerance is None
    assert learn([0.1] * 3, min_samples=4) is None
    assert judge(gaps("abc", "b", count=3), min_samples=8).pairs == ()


def test_a_tolerance_that_is_set_stands() -> None:
    assert judge(gaps("abc", "b"), min_samples=8, tolerance=1.0).suspects == ()
