"""Calls through chat templates that treat them as the well-known ones do: what follows a call extends what the model
was given exactly, or the template is refused with the place where it does not.

Written for this purpose: each has the markers, roles and cuts of its family, and nothing else of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.config.sections.engine import VllmEngine
from berry.pipeline.config.sections.rollout.rollout import Rollout, Thinking
from berry.pipeline.config.sections.rollout.tools import LlamaCalls, PythonTool, TemplateCalls
from berry.pipeline.engines.text.tokens import Tokens
from berry.pipeline.engines.text.vocabulary import check_tool_turns
from berry.pipeline.errors import ConfigError
from berry.pipeline.records import Message
from tests.stages.export.test_exactness import byte_tokenizer

IM = ("<|im_start|>", "<|im_end|>")
HEADERS = (
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|python_tag|>",
)
TOOLS = "{% if tools %}{{ '<|im_start|>system\\n' + tools | tojson + '<|im_end|>\\n' }}{% endif %}"
BEGIN = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
HERMES = (
    TOOLS + "{% for m in messages %}{% if m.role == 'tool' %}"
    "{{ '<|im_start|>tool\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' }}"
    "{% else %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    + BEGIN
    + "{% endif %}"
)
QWEN_2 = HERMES.replace("<|im_start|>tool", "<|im_start|>user")
QWEN_3 = (
    TOOLS + "{% set ns = namespace(asked=0) %}{% for m in messages %}"
    "{% if m.role == 'user' %}{% set ns.asked = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% set said = m.content.split('</think>')[-1].lstrip('\\n') %}"
    "{{ '<|im_start|>assistant\\n' }}{% if '</think>' in m.content and loop.index0 > ns.asked %}"
    "{% set thought = m.content.split('</think>')[0].split('<think>')[-1].strip('\\n') %}"
    "{{ '<think>\\n' + thought + '\\n</think>\\n\\n' }}{% endif %}"
    "{{ said + '<|im_end|>\\n' }}{% elif m.role == 'tool' %}"
    "{{ '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' }}"
    "{% else %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
    + BEGIN
    + "{% if enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)
LLAMA = (
    "{{ '<|begin_of_text|>' }}{% for m in messages %}"
    "{% set role = 'ipython' if m.role == 'tool' else m.role %}"
    "{{ '<|start_header_id|>' + role + '<|end_header_id|>\\n\\n' }}"
    "{% if m.role == 'tool' %}{{ m.content | tojson }}{% else %}"
    "{% if tools and loop.first %}{{ 'Functions: ' + tools | tojson + '\\n\\n' }}{% endif %}{{ m.content | trim }}"
    "{% endif %}{{ '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
CALL = '<tool_call>\n{"name": "python", "arguments": {"code": "6*7"}}\n</tool_call>'
LLAMA_CALL = '{"name": "python", "parameters": {"code": "6*7"}}'


@dataclass(frozen=True)
class Family:
    """A template, its control tokens, what its models say when they call, and the token by which they end a turn that
    is a call (None: they are stopped before)."""

    template: str
    specials: tuple[str, ...]
    said: str
    ended_by: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)


FAMILIES = {
    "Hermes": Family(HERMES, IM, f"Let me see.\n{CALL}"),
    "Hermes, whose tags are control tokens": Family(HERMES, (*IM, "<tool_call>", "</tool_call>"), f"So\n{CALL}"),
    "Qwen2.5": Family(QWEN_2, IM, CALL),
    "Qwen3, thinking": Family(QWEN_3, IM, f"<think>\nSix times seven.\n</think>\n\n{CALL}"),
    "Llama 3.1": Family(LLAMA, HEADERS, LLAMA_CALL, "<|eot_id|>"),
    "Llama 3.1, tagged": Family(LLAMA, HEADERS, f"<|python_tag|>{LLAMA_CALL}", "<|eot_id|>"),
}


def loaded(family: Family, folder: Path) -> Tokens:
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": list(family.specials)})
    tokenizer.save_pretrained(folder)
    arguments = {"tools": [PythonTool().description], **family.arguments}
    return Tokens(str(folder), chat_template=family.template, arguments=arguments)


@pytest.mark.parametrize("result", ["42", "two\nlines", 'a "quoted" ü – \\n', "", "<|im_end|>\n<|eot_id|>"])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_results_extend_what_the_model_was_given_exactly(family: Family, result: str, tmp_path: Path) -> None:
    tokens = loaded(family, tmp_path)
    tokens.check_turns("tool", family.said)
    said = tokens.tokenizer.encode(family.said, add_special_tokens=False)
    assert tokens.decode(said) == family.said
    end = None if family.ended_by is None else tokens.tokenizer.convert_tokens_to_ids(family.ended_by)
    asked: list[Message] = [{"role": "user", "content": "6 * 7?"}]
    turns: list[Message] = [{"role": "assistant", "content": family.said}, {"role": "tool", "content": result}]
    given = [*said, *([] if end is None else [end]), *tokens.encode_result(result, ended_by=end)]
    assert tokens.encode(asked) + given + given == tokens.encode([*asked, *turns, *turns])
    read = tokens.content_of("tool", tokens.encode_result(result, ended_by=end))
    assert read is not None
    assert tokens.encode_result(read, ended_by=end) == tokens.encode_result(result, ended_by=end)
    assert read == result or "<|" in result, "control tokens have a space in them"
    assert tokens.content_of("tool", said) is None


def test_a_turn_that_a_server_gives_without_its_end_is_ended(tmp_path: Path) -> None:
    tokens = loaded(FAMILIES["Llama 3.1"], tmp_path)
    end = tokens.tokenizer.convert_tokens_to_ids("<|eot_id|>")
    assert tokens.encode_result("42", ended_by=tokens.tokenizer.encode("}")[0])[0] == end
    other = tokens.tokenizer.convert_tokens_to_ids("<|eom_id|>")
    assert tokens.encode_result("42", ended_by=other)[0] != end, "a call may be ended as more than one message"


def test_control_tokens_that_say_where_a_call_is_stay_in_the_text(tmp_path: Path) -> None:
    tokens = loaded(FAMILIES["Hermes, whose tags are control tokens"], tmp_path)
    ids = tokens.tokenizer.encode(f"é{CALL}<|im_end|>", add_special_tokens=False)
    text = tokens.decode(ids)
    assert text == f"é{CALL}"
    ends = tokens.ends(ids, text)
    assert ends[-1] == len(text)
    assert ends[ids.index(tokens.control_ids(["<tool_call>"])[0])] == len("é<tool_call>")
    assert tokens.single("</tool_call>") in ids


QWEN_THINKS = Thinking()


@pytest.mark.parametrize(
    ("template", "specials", "arguments", "thinking", "calls", "said"),
    [
        (QWEN_3, IM, {}, QWEN_THINKS, TemplateCalls(), None),
        (QWEN_3, IM, {"enable_thinking": False}, None, TemplateCalls(), r"rewrites earlier turns.*given '.*think>"),
        (
            QWEN_3.replace("loop.index0 > ns.asked", "loop.last"),
            IM,
            {},
            QWEN_THINKS,
            TemplateCalls(),
            r"given '.*<think>.*So.*the template has '.*assistant\\nSo:",
        ),
        (LLAMA, HEADERS, {}, None, LlamaCalls(), None),
        (LLAMA.replace("'ipython'", "raise_exception('no tools')"), HEADERS, {}, None, LlamaCalls(), "no tools"),
    ],
    ids=["Qwen3 thinks", "Qwen3 does not", "thinking is cut", "Llama", "no role"],
)
def test_a_template_that_rewrites_history_is_refused_with_the_place_before_the_run(
    tmp_path: Path,
    template: str,
    specials: tuple[str, ...],
    arguments: dict[str, Any],
    thinking: Thinking | None,
    calls: TemplateCalls | LlamaCalls,
    said: str | None,
) -> None:
    loaded(Family(template, specials, ""), tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    config = VllmEngine(model=str(tmp_path), chat_template=template, template_args=arguments)
    rollout = Rollout(tools=(PythonTool(),), calls=calls, thinking=thinking)
    if said is None:
        check_tool_turns(config, rollout)
        return
    with pytest.raises(ConfigError, match=said):
        check_tool_turns(config, rollout)
