"""Synthetic problems: drawn one by one, and those whose check is a program of a set CPU time, in a real sandbox."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.sections.problems import SyntheticCheck, SyntheticProblems
from berry.pipeline.errors import ConfigError
from berry.pipeline.stages.problems.sources import iter_problems, survey
from berry.pipeline.stages.problems.synthetic import synthetic_problems
from berry.verifiers.checker import Checker, CheckerConfig, CheckRequest
from berry.verifiers.specs.union import ProgramTestsSpec


def test_problems_do_not_depend_on_what_is_drawn_beside_them() -> None:
    assert synthetic_problems(5, 3)[4] == synthetic_problems(1, 3, first=4)[0]
    assert synthetic_problems(1, 3)[0] != synthetic_problems(1, 4)[0]
    with pytest.raises(ValueError, match="steps"):
        synthetic_problems(1, steps=(5, 4))


async def test_it_takes_its_cpu_time_and_tells_right_from_wrong() -> None:
    (problem,) = synthetic_problems(1, 3, check=SyntheticCheck(cpu_ms=40, wait_ms=30))
    assert isinstance(problem.verifier, ProgramTestsSpec)
    answer = problem.verifier.tests.partition("boxed{")[2].partition("}")[0]
    async with Checker(CheckerConfig(slots=1)) as checker:
        right = await checker.check(CheckRequest(problem.id, problem.verifier, f"it's \\boxed{{{answer}}}."))
        wrong = await checker.check(CheckRequest(problem.id, problem.verifier, "so it's \\boxed{0}."))
        metrics = checker.metrics()
    assert (str(right.outcome), str(wrong.outcome)) == ("pass", "fail")
    assert metrics["pool_jobs"] == 2
    assert metrics["pool_cpu_s"] >= 2 * 0.04
    assert metrics["pool_service_s"] >= 2 * 0.07
    assert sum(n for name, n in metrics.items() if name.startswith("pool_service:")) == 2


def test_problems_are_those_of_the_seed_whatever_checks_them() -> None:
    plain, checked = synthetic_problems(3, 5), synthetic_problems(3, 5, check=SyntheticCheck(cpu_ms=1))
    assert [p.prompt for p in plain] == [p.prompt for p in checked]
    found = survey([SyntheticProblems(count=3, seed=5, check=SyntheticCheck(cpu_ms=1))])
    assert found.by_verifier == {"program_tests": 3}


@pytest.mark.parametrize("p99_ms", [5, 200])
def test_a_tail_that_no_lognormal_has_is_refused(p99_ms: float) -> None:
    raw = {"count": 1, "check": {"cpu_ms": 10, "p99_ms": p99_ms}}
    with pytest.raises(ConfigError, match="between cpu_ms 10 and"):
        validate(raw, SyntheticProblems, where="problems.0")


def test_problems_can_be_small() -> None:
    source = SyntheticProblems(count=20, seed=2, steps=(2, 3), start=(20, 60), largest=3)
    for problem in iter_problems([source]):
        numbers = [int(n) for n in re.findall(r"\d+", problem.prompt if isinstance(problem.prompt, str) else "")]
        assert 20 <= numbers[0] <= 60
        assert max(numbers[1:]) <= 3
        assert len(numbers) - 1 in (2, 3)


def test_totals_that_would_leave_the_numbers_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"start \[5, 9\] must be a range within 424"):
        SyntheticProblems(count=1, start=(5, 9))
    with pytest.raises(ValidationError, match="steps must be a range within 1"):
        SyntheticProblems(count=1, steps=(3, 2))
