"""Leases are sized by problems, or by the trajectories that a policy plans for them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from berry.pipeline.config.run import RunConfig, digest, dump


def config(storage: dict[str, Any], policy: dict[str, Any] | None = None, **rollout: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "sizes",
            "problems": [{"type": "synthetic", "count": 4}],
            "engine": {"type": "synthetic"},
            "rollout": {"policy": policy or {"type": "best_of_n", "n": 16}, **rollout},
            "storage": storage,
        }
    )


@pytest.mark.parametrize(
    ("policy", "problems"),
    [
        ({"type": "best_of_n", "n": 16}, 512),
        ({"type": "fixed", "branching": [4, 4, 4]}, 128),
        ({"type": "fixed", "branching": [8, 8, 8]}, 16),
        ({"type": "best_of_n", "n": 50_000}, 1),
        ({"type": "best_of_n", "n": 3}, 2730),
    ],
)
def test_a_lease_has_as_many_problems_as_make_its_trajectories(policy: dict[str, Any], problems: int) -> None:
    assert config({"lease_trajectories": 8192}, policy).storage.lease_problems == problems


def test_a_budget_of_leaves_limits_what_a_problem_counts_as() -> None:
    found = config({"lease_trajectories": 64}, {"type": "best_of_n", "n": 16}, budget={"max_leaves": 4})
    assert found.storage.lease_problems == 16


def test_a_number_of_problems_that_is_given_stands() -> None:
    assert config({}).storage.lease_problems == 4
    assert config({"lease_problems": 7, "lease_trajectories": 8192}).storage.lease_problems == 7


def test_a_stored_run_keeps_the_leases_it_began_with() -> None:
    begun = config({"lease_trajectories": 256})
    stored = RunConfig.model_validate(yaml.safe_load(dump(begun)))
    assert stored.storage.lease_problems == begun.storage.lease_problems == 16
    assert digest(stored) == digest(begun) == digest(config({"lease_problems": 16}))


def test_a_lease_has_at_least_one_trajectory() -> None:
    with pytest.raises(ValueError, match="lease_trajectories"):
        config({"lease_trajectories": 0})


@pytest.mark.parametrize("journal", ["somewhere", "local:", "local:relative/path", "RUN", ""])
def test_a_journal_is_in_a_known_place(journal: str) -> None:
    with pytest.raises(ValueError, match="must be run, off, or local: and an absolute path"):
        config({"journal": journal})
