"""Where a problem goes first, and when it goes on to another model."""

from __future__ import annotations

from typing import Any

import pytest

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig, differences, digest, plain
from berry.pipeline.core.assignment.modes import engine_of, given_id, in_modes, mode_name
from berry.pipeline.core.assignment.routing import allowed, first_modes, goes_on, steps_of
from berry.pipeline.errors import ConfigError, ProblemFileError
from berry.pipeline.records import Problem
from berry.verifiers.specs.union import MathSpec

ENGINES: dict[str, Any] = {
    "small": {"type": "synthetic"},
    "large": {"type": "synthetic", "error_rate": [0.0, 0.1], "role": {"cpus": 2}},
}
ESCALATE = {"type": "escalate", "order": ["small", "large"]}


def config(routing: Any, **changes: Any) -> RunConfig:
    raw = {"name": "r", "problems": [{"type": "synthetic", "count": 4}], "engines": ENGINES, "routing": routing}
    return validate({**raw, **changes}, RunConfig, where="test")


def problem(name: str = "p1", **more: Any) -> Problem:
    return Problem(id=name, prompt="6 * 7?", verifier=MathSpec(answer="42"), **more)


def ids(run: RunConfig, one: Problem) -> list[str]:
    return [searched.id for searched in in_modes(run, one)]


def test_a_problem_goes_to_the_first_and_on_where_its_answers_fail() -> None:
    run = config(ESCALATE)
    assert ids(run, problem()) == ["p1@small"]
    assert steps_of(run) == 2
    assert goes_on(run, "small", passed=0, checked=8)
    assert not goes_on(run, "small", passed=1, checked=8)
    assert not goes_on(run, "large", passed=0, checked=8), "there is no model behind the last"
    assert not goes_on(run, "small", passed=0, checked=0), "what could not be checked is not known to be hard"
    assert not goes_on(config({"type": "all", "modes": ["small", "large"]}), "small", passed=0, checked=8)
    rarely = config({**ESCALATE, "at_most": 0.25})
    assert goes_on(rarely, "small", passed=2, checked=8)
    assert not goes_on(rarely, "small", passed=3, checked=8)


def test_no_more_than_the_budget_go_on_and_the_first_ones_do() -> None:
    three = config({**ESCALATE, "max_problems": 3}).routing
    assert list(allowed(three, ["a", "b"], 2)) == ["a"]  # type: ignore[arg-type]
    assert list(allowed(three, ["a", "b"], 3)) == []  # type: ignore[arg-type]
    assert list(allowed(three, ["a", "b"], 0)) == ["a", "b"]  # type: ignore[arg-type]
    none = config({**ESCALATE, "max_problems": 0}).routing
    assert list(allowed(none, ["a"], 0)) == []  # type: ignore[arg-type]


def test_a_source_has_its_engine_and_one_without_a_route_is_refused() -> None:
    run = config({"type": "source", "sources": {"gsm8k": "small", "math": "large"}})
    assert ids(run, problem(source="math", variant_of="p0")) == ["p1@large"]
    assert [one.variant_of for one in in_modes(run, problem(source="gsm8k"))] == ["p1"]
    with pytest.raises(ProblemFileError, match=r"'aime' has no route: add it to routing.sources \(gsm8k, math\)"):
        ids(run, problem(source="aime"))
    rest = config({"type": "source", "sources": {"gsm8k": "small"}, "otherwise": "large"})
    assert list(first_modes(rest, problem(source="aime"))) == ["large"]


def test_shares_are_drawn_by_id_and_all_means_all() -> None:
    run = config({"type": "share", "shares": {"small": 0.75, "large": 0.25}})
    drawn = [engine_of(run, f"q{i}") for i in range(4000)]
    assert drawn.count("large") / 4000 == pytest.approx(0.25, abs=0.02)
    assert ids(run, problem()) == ["p1"]
    both = config({"type": "all", "modes": ["small", "large"]})
    assert ids(both, problem()) == ["p1@small", "p1@large"]
    assert engine_of(both, "p1@large") == "large"
    assert given_id("p1@large", mode_name(both, "p1@large")) == "p1"


def test_an_engine_of_a_single_name_takes_all_and_modes_may_share_an_engine() -> None:
    one = config(None, engines={"small": ENGINES["small"]})
    assert {engine_of(one, f"q{i}") for i in range(20)} == {"small"}
    modes = [
        {"name": "quick", "engine": "small", "policy": {"type": "best_of_n", "n": 2}},
        {"name": "wide", "engine": "small", "policy": {"type": "best_of_n", "n": 16}},
        {"name": "large"},
    ]
    run = config({"type": "escalate", "order": ["quick", "wide", "large"]}, rollout={"modes": modes})
    assert steps_of(run) == 3
    assert [engine_of(run, f"p@{mode.name}") for mode in run.rollout.modes] == ["small", "small", "large"]
    alone = run.on_engine("small")
    assert [mode.name for mode in alone.rollout.modes] == ["quick", "wide"]
    assert run.on_engine("large").cluster.roles.rollout.cpus == 2


def test_a_stored_configuration_reads_the_same_and_only_how_many_actors_may_change() -> None:
    run = config(ESCALATE)
    stored = plain(run)
    assert RunConfig.model_validate(stored) == run
    assert run.engine == run.on_engine("small").engine
    more = config(ESCALATE, engines={**ENGINES, "large": {**ENGINES["large"], "role": {"cpus": 1, "min": 2}}})
    assert differences(stored, more) == []
    assert digest(more) == digest(run)
    other = config({**ESCALATE, "at_most": 0.5})
    assert differences(stored, other) == ["routing.at_most: 0.0 in the run, 0.5 now"]


def escalate(**changes: Any) -> dict[str, Any]:
    return {"routing": {**ESCALATE, **changes}}


def shares(**shares: float) -> dict[str, Any]:
    return {"routing": {"type": "share", "shares": shares}}


def small(**changes: Any) -> dict[str, Any]:
    return {"engines": {"small": {"type": "synthetic", **changes}, "large": {"type": "synthetic"}}}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            escalate(order=["small", "larg"]),
            "'larg' is no mode or engine of this run (small, large); did you mean large?",
        ),
        (escalate(order=["small", "small"]), "routing.order names 'small' twice"),
        (shares(small=0.5, large=0.6), "routing.shares must sum to 1, they sum to 1.1 (small 0.5, large 0.6)"),
        (shares(small=0.5, lrge=0.5), "'lrge' is none of `engines` (small, large); did you mean large?"),
        ({"routing": {"type": "source", "sources": {"gsm8k": "small"}}}, "no route leads to 'large'"),
        ({"routing": None}, "nothing says which of small, large takes which problem"),
        ({"engine": {"type": "synthetic", "tokens_per_s": 5}}, "engine and engines are both given"),
        (small(errr=1), "engines.small.errr is not a known key; did you mean error_rate?"),
        (small(role={"gpus": 1}), "engines.small.role: say how many"),
        ({"rounds": 2}, "engines: rounds with more than one round knows one model"),
        ({"recompute": {"share": 0.1}}, "engines: recompute.share knows one model"),
        ({"storage": {"site": "a"}}, "engines: storage.site knows one model"),
        ({"rollout": {"modes": [{"name": n, "share": 0.5} for n in ENGINES]}}, "type escalate chooses the modes"),
        ({"engines": {}, "engine": {"type": "synthetic"}}, "routing: there is nothing to choose from"),
    ],
)
def test_what_does_not_belong_together_is_told_with_its_remedy(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config(**{"routing": ESCALATE, **changes})
    assert message in str(refused.value)
