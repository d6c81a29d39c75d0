"""Modes that no problem could be given, or that something else could not read, are refused with the reason."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig, digests_of, plain
from berry.pipeline.config.run import digest as digest_of_run
from berry.pipeline.config.sections import engine as engine_section
from berry.pipeline.errors import ConfigError

PYTHON = {"type": "python"}


def load(*modes: dict[str, Any], engine: dict[str, Any] | None = None, **more: Any) -> RunConfig:
    rollout = {"modes": list(modes), **more.pop("rollout", {})}
    raw = {
        "name": "run",
        "problems": [{"type": "arithmetic", "count": 4}],
        "engine": engine or {"type": "vllm", "model": "tiny-arithmetic"},
        "rollout": rollout,
        **more,
    }
    return validate(raw, RunConfig, where="run.yaml")


@pytest.mark.parametrize(
    ("modes", "said"),
    [
        ([{"name": "a", "share": 0.5}, {"name": "b", "share": 0.4}], "shares must sum to 1, got 0.9 (a 0.5, b 0.4)"),
        ([{"name": "a", "share": 0.5}, {"name": "a", "share": 0.5}], "two are named 'a'"),
        ([{"name": "a"}], "'a' has neither a share nor `all: true`"),
        ([{"name": "a", "share": 1.0, "all": True}], "'a' has a share and `all: true`"),
        ([{"name": "a", "share": 1.0}, {"name": "b", "all": True}], "'a' has a share, and others have `all: true`"),
        ([{"name": "a b", "share": 1.0}], "rollout.modes.0.name"),
        ([{"name": "a", "share": 1.0, "sampling": {"temperatur": 1}}], "did you mean temperature?"),
        ([{"name": "a", "share": 1.0, "tools": [PYTHON, PYTHON]}], "tools must have different names"),
        (
            [{"name": "a", "share": 1.0, "tools": [PYTHON, {**PYTHON, "name": "py2"}], "calls": {"type": "tag"}}],
            "calls of type tag are for one tool",
        ),
    ],
)
def test_what_can_not_be_is_refused(modes: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(*modes)
    assert said in str(error.value)


def test_an_engine_without_a_template_takes_no_arguments_for_one() -> None:
    synthetic = {"type": "synthetic"}
    problems = [{"type": "synthetic", "count": 2, "template_args": {"date": "1 May"}}]
    with pytest.raises(ConfigError, match=r"problems\.0\.template_args: .* has no chat template"):
        load(engine=synthetic, problems=problems)
    with pytest.raises(ConfigError, match=r"rollout\.modes\.0\.template_args"):
        load({"name": "a", "share": 1.0, "template_args": {"x": 1}}, engine=synthetic)


def test_what_compares_log_probabilities_of_one_distribution_is_refused_where_modes_draw_from_two() -> None:
    hot = ({"name": "hot", "share": 0.5, "sampling": {"temperature": 1.5}}, {"name": "cold", "share": 0.5})
    with pytest.raises(ConfigError, match=r"rounds\.policy of type grpo .*hot, cold"):
        load(*hot, rounds={"count": 2, "policy": {"type": "grpo"}})
    with pytest.raises(ConfigError, match=r"recompute\.share 0\.1 .*hot, cold"):
        load(*hot, recompute={"share": 0.1})
    assert load(*hot, rounds={"count": 2, "policy": {"type": "sft"}}).rounds is not None


def test_reward_models_are_refused_where_modes_have_tags_of_their_own() -> None:
    modes = ({"name": "on", "all": True, "thinking": {"opened_by_prompt": True}}, {"name": "off", "all": True})
    with pytest.raises(ConfigError, match="mode 'on' has tags of its own"):
        load(*modes, rounds=2)
    on, off = load(*modes).rollout.each_mode
    assert on.thinking is not None
    assert off.thinking is None


def test_the_template_is_told_of_the_tools_of_each_mode_alone() -> None:
    tools = {"tools": [PYTHON], "calls": {"type": "tool_call"}}
    run = load({"name": "with", "all": True, **tools}, {"name": "without", "all": True})
    told = [one.engine.template_args for one in run.each_mode]  # pyright: ignore[reportAttributeAccessIssue]
    assert [tool["function"]["name"] for tool in told[0]["tools"]] == ["python"]
    assert told[1] == {}
    assert run.rollout.is_interactive
    assert not run.rollout.in_mode("without").is_interactive
    assert run.rollout.waiting_sessions == run.rollout.in_mode("with").waiting_sessions > 0
    assert RunConfig.model_validate(plain(run)) == run


def test_the_former_name_of_template_args_is_read_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    engine_section._say_former_name.cache_clear()
    old = {"type": "vllm", "model": "tiny-arithmetic", "chat_template_args": {"enable_thinking": False}}
    with caplog.at_level(logging.WARNING):
        runs = [load(engine=old), load(engine=old)]
    assert [run.engine.template_args for run in runs] == 2 * [{"enable_thinking": False}]  # pyright: ignore[reportAttributeAccessIssue]
    assert [record.getMessage() for record in caplog.records] == [
        "engine.chat_template_args is read as engine.template_args, which is its name since version 0.2.0"
    ]
    with pytest.raises(ConfigError, match="both are given"):
        load(engine={**old, "template_args": {}})


def test_a_run_stored_under_the_former_name_goes_on() -> None:
    run = load(engine={"type": "vllm", "model": "tiny-arithmetic", "template_args": {"x": 1}})
    stored = plain(run)
    stored["engine"]["chat_template_args"] = stored["engine"].pop("template_args")
    del stored["rollout"]["modes"], stored["problems"][0]["template_args"]
    assert digest_of_run(run) in digests_of(stored)
