"""Reward models by name: which configurations are refused, and what a mode asks."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from berry.pipeline.config.run import RunConfig

MODELS = {"gentle": {"what": "prm", "model": "a"}, "whole": {"what": "orm", "model": "b"}}
TWO = [{"name": "x", "all": True}, {"name": "y", "all": True}]


def config(rollout: dict[str, Any], models: dict[str, Any] = MODELS, **rewards: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "job",
            "problems": [{"type": "synthetic", "count": 4}],
            "engine": {"type": "synthetic"},
            "rewards": {"models": models, **rewards},
            "rollout": rollout,
        }
    )


def test_a_run_says_which_models_score_everywhere() -> None:
    found = config({"prm": "gentle", "orm": "whole"})
    assert found.rollout.scorers == {"prm": "gentle", "orm": "whole"}
    assert found.scored_by == ("gentle", "whole")


def test_a_modes_own_goes_before_the_runs() -> None:
    models = {**MODELS, "strict": {"what": "prm", "model": "c"}}
    found = config({"prm": "gentle", "orm": "whole", "modes": [TWO[0], {**TWO[1], "prm": "strict"}]}, models)
    assert [rollout.scorers["prm"] for rollout in found.rollout.each_mode] == ["gentle", "strict"]


def test_named_models_stand_beside_the_runs_own() -> None:
    modes = [TWO[0], {**TWO[1], "prm": "gentle"}]
    found = config({"modes": modes}, {"gentle": MODELS["gentle"]}, prm={"model": "d"})
    assert [rollout.scorers for rollout in found.rollout.each_mode] == [{}, {"prm": "gentle"}]
    assert found.scored_by == ("prm", "gentle")


@pytest.mark.parametrize(
    ("rollout", "said"),
    [
        (
            {"prm": "gentl", "orm": "whole"},
            r"rollout.prm 'gentl' is none of rewards.models \(gentle, whole\); did you",
        ),
        ({"modes": [TWO[0], {**TWO[1], "prm": "no"}]}, r"rollout.modes.1.prm 'no' is none of rewards.models"),
        ({"prm": "gentle", "orm": "gentle"}, r"rollout.orm 'gentle' is of the kind prm"),
        ({"prm": "gentle"}, r"rewards.models.whole is asked by nothing: set rollout.orm"),
        (
            {"prm": "gentle", "orm": "whole", "modes": [{**mode, "orm": "whole", "prm": "no"} for mode in TWO]},
            r"rollout.modes.0.prm 'no' is none",
        ),
        ({"prm": "gentle", "orm": "whole", "cut": {"model": "gentle"}}, r"'gentle' as the scorer of a policy or cut"),
        (
            {"prm": "gentle", "orm": "whole", "policy": {"type": "beam", "scorer": "gentle"}},
            r"set `prm: gentle` beside it",
        ),
    ],
)
def test_what_is_not_there_not_asked_or_asked_as_another_is_refused(rollout: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        config(rollout)


def test_the_runs_own_model_is_refused_where_all_ask_others() -> None:
    with pytest.raises(ValidationError, match=r"rewards.prm is asked by nothing"):
        config({"prm": "gentle", "orm": "whole"}, prm={"model": "d"})


def test_without_models_no_name_can_be_asked() -> None:
    with pytest.raises(ValidationError, match=r"none of rewards.models \(there are none\)"):
        config({"prm": "gentle"}, {})


@pytest.mark.parametrize("name", ["prm", "orm", "policy"])
def test_names_of_roles_are_taken(name: str) -> None:
    with pytest.raises(ValidationError, match="stands for something else"):
        config({}, {name: MODELS["gentle"]})
