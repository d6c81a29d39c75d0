"""Arguments reach the chat template of the problems that they are for; those that it does not read are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.engines import models
from berry.pipeline.engines.scripted import Scripted
from berry.pipeline.engines.text.template_args import check_template_args, variables_of
from berry.pipeline.engines.text.template_view import under
from berry.pipeline.engines.text.tokens import TokenizedEngine
from berry.pipeline.errors import ConfigError

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}={% endif %}"
)


def config(**changes: Any) -> RunConfig:
    raw: dict[str, Any] = {
        "name": "run",
        "problems": [{"type": "arithmetic", "count": 4, **changes.pop("source", {})}],
        "engine": {"type": "vllm", "model": "tiny-arithmetic", "chat_template": TEMPLATE, **changes.pop("engine", {})},
        "rollout": changes,
    }
    return validate(raw, RunConfig, where="run.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"engine": {"template_args": {"thinking": True}}}, r"engine\.template_args\.thinking: the chat template of"),
        (
            {"source": {"template_args": {"date": "1 May"}}},
            r"problems\.0\.template_args\.date: .*enable_thinking:",
        ),
        (
            {"modes": [{"name": "low", "share": 1.0, "template_args": {"effort": "low"}}]},
            r"rollout\.modes\.0 \(low\)\.template_args\.effort",
        ),
        ({"engine": {"template_args": {"add_generation_prompt": False}}}, "is set by the rendering itself"),
        (
            {"engine": {"template_args": {"a": 1}, "chat_template": "{{ messages }}\n{% if a %}"}},
            "line 2: is not valid Jinja",
        ),
        (
            {"engine": {"template_args": {"a": 1}, "chat_template": "{% include 'other.jinja' %}{{ a }}"}},
            r"includes other\.jinja, and is rendered alone",
        ),
    ],
)
def test_an_argument_that_the_template_does_not_read_is_refused_with_its_key(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        check_template_args(config(**changes))


def test_what_the_template_reads_is_taken() -> None:
    off = {"template_args": {"enable_thinking": False}}
    check_template_args(config(engine=off, source=off, modes=[{"name": "off", "share": 1.0, **off}]))


def test_variables_set_in_a_template_and_its_loops_are_no_arguments() -> None:
    text = "{% set a = 1 %}{% for m in messages %}{% if b %}{% break %}{% endif %}{% generation %}{{ m }}{{ c }}"
    assert variables_of(text + "{% endgeneration %}{% endfor %}{{ a }}") == {"messages", "b", "c"}


class Tiny(TokenizedEngine):
    """The part of the engine that has the tokenizer."""

    def __init__(self, info: Any) -> None:
        self._info = info


async def test_an_engine_renders_the_prompts_of_a_mode_with_its_arguments_and_all_others_as_before(
    tmp_path: Path,
) -> None:
    from berry.pipeline.engines.base import EngineInfo

    settings = VllmEngine(model="tiny-arithmetic", chat_template=TEMPLATE)
    engine: Any = Tiny(EngineInfo("e", "tiny", 128, 8, 32, template_args={"enable_thinking": True}))
    await engine.load_tokens(models.resolve("tiny-arithmetic"), settings)
    asked = [{"role": "user", "content": "6 * 7?"}]
    off = under(engine, {"enable_thinking": False})
    assert off.encode(asked)[:-1] == engine.encode(asked)
    assert off.decode(off.encode(asked)) == "6 * 7?\n="
    assert off.info.template_args == {"enable_thinking": False}
    assert engine.info.template_args == {"enable_thinking": True}
    assert under(engine, {}) is engine


def test_an_engine_without_a_template_can_not_be_given_arguments() -> None:
    with pytest.raises(ConfigError, match="has no chat template"):
        under(Scripted(lambda _messages, _seed: ""), {"a": 1})
