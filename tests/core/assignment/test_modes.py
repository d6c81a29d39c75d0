"""Which mode a problem is searched in follows from its id and the run's seed, and is the same for ever."""

from __future__ import annotations

import pickle
from collections import Counter
from typing import Any

import pytest

from berry.pipeline.config.run import RunConfig, plain
from berry.pipeline.core.assignment.modes import (
    given_id,
    in_modes,
    mode_name,
    mode_of,
    rollout_of,
    template_args_of,
    tree_share,
)
from berry.pipeline.records import Problem
from berry.verifiers.specs.union import MathSpec

SHARES = [
    {"name": "long", "share": 0.5, "sampling": {"max_tokens": 512}},
    {"name": "short", "share": 0.3, "system_prompt": "Be brief."},
    {"name": "tools", "share": 0.2, "budget": {"max_tokens": 100}},
]
ALL = [{"name": "thinking", "all": True}, {"name": "plain", "all": True, "system_prompt": ""}]


def config(modes: list[dict[str, Any]], *, seed: int = 7, **engine: Any) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "modes",
            "seed": seed,
            "problems": [{"type": "arithmetic", "count": 4}],
            "engine": {"type": "vllm", "model": "tiny-arithmetic", **engine},
            "rollout": {"modes": modes, "sampling": {"temperature": 0.7}, "system_prompt": "Think."},
        }
    )


def problem(name: str = "p1", **more: Any) -> Problem:
    return Problem(id=name, prompt="6 * 7?", verifier=MathSpec(answer="42"), **more)


def test_the_assignment_is_the_one_that_runs_were_made_with() -> None:
    drawn = "".join((mode_name(config(SHARES), f"p{i}") or "")[0] for i in range(40))
    assert drawn == "ssllslsllltsslssslstllltltslsstltlttltls"
    assert drawn != "".join((mode_name(config(SHARES, seed=8), f"p{i}") or "")[0] for i in range(40))


def test_shares_are_of_the_problems_and_a_stored_configuration_draws_the_same() -> None:
    run = config(SHARES)
    stored = RunConfig.model_validate(plain(run))
    names = [mode_name(run, f"q{i}") for i in range(6000)]
    counts = Counter(names)
    assert [round(counts[mode["name"]] / 6000, 2) for mode in SHARES] == pytest.approx([0.5, 0.3, 0.2], abs=0.02)
    assert names == [mode_name(stored, f"q{i}") for i in range(6000)]
    assert [p.id for p in in_modes(run, problem())] == ["p1"]


def test_where_every_problem_is_searched_in_all_modes_each_is_a_problem_of_its_own_in_one_family() -> None:
    run = config(ALL)
    first = problem().with_template_args({"date": "1 May"})
    thinking, plain_ = in_modes(run, first)
    assert (thinking.id, plain_.id) == ("p1@thinking", "p1@plain")
    assert thinking.variant_of == plain_.variant_of == "p1"
    assert [p.variant_of for p in in_modes(run, problem(variant_of="p0"))] == ["p0", "p0"]
    assert [mode_name(run, p.id) for p in (thinking, plain_)] == ["thinking", "plain"]
    assert given_id("p1@plain", "plain") == given_id("p1", None) == "p1"
    assert pickle.loads(pickle.dumps(plain_)).template_args == {"date": "1 May"}
    with pytest.raises(KeyError):
        mode_of(run, "p1")


def test_without_modes_and_with_one_alone_a_problem_keeps_its_id() -> None:
    assert mode_of(config([]), "p1") is None
    assert rollout_of(config([]), "p1") is config([]).rollout or rollout_of(config([]), "p1") == config([]).rollout
    one = config([{"name": "only", "all": True}])
    assert [p.id for p in in_modes(one, problem())] == ["p1"]
    assert mode_name(one, "p1") == "only"


def test_a_mode_says_what_differs() -> None:
    run = config(SHARES)
    long, short, tools = run.rollout.each_mode
    assert (long.sampling.max_tokens, long.sampling.temperature, long.system_prompt) == (512, 0.7, "Think.")
    assert (short.sampling, short.system_prompt) == (run.rollout.sampling, "Be brief.")
    assert (tools.budget.max_tokens, tools.budget.max_depth) == (100, run.rollout.budget.max_depth)
    assert config(ALL).rollout.in_mode("plain").system_prompt == ""
    assert [tree_share(run, mode) for mode in run.rollout.modes] == [0.5, 0.3, 0.2]


def test_template_arguments_of_the_mode_go_before_those_of_the_source_and_those_before_the_engines() -> None:
    modes = [{"name": "off", "share": 1.0, "template_args": {"enable_thinking": False}}]
    run = config(modes, template_args={"enable_thinking": True, "date": "1 May", "effort": "low"})
    given = problem().with_template_args({"enable_thinking": True, "effort": "high"})
    assert template_args_of(run, given) == {"enable_thinking": False, "effort": "high"}
    assert run.in_mode("off").engine.template_args == {  # pyright: ignore[reportAttributeAccessIssue]
        "enable_thinking": False,
        "date": "1 May",
        "effort": "low",
    }
