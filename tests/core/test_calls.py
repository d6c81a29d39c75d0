"""What counts as a tool call at the end of a text, in each format."""

from __future__ import annotations

import pytest

from berry.pipeline.config.sections.rollout.rollout import Rollout, Thinking
from berry.pipeline.config.sections.rollout.tools import FencedCalls, LlamaCalls, PythonTool, TagCalls, TemplateCalls
from berry.pipeline.core.calls import WrittenCall, ends_at_close, find, framed, spoken

FENCED = Rollout(tools=(PythonTool(),), calls=FencedCalls())
TEMPLATE = Rollout(tools=(PythonTool(),), calls=TemplateCalls())
LLAMA = Rollout(tools=(PythonTool(),), calls=LlamaCalls())
TAG = Rollout(tools=(PythonTool(),), calls=TagCalls())


@pytest.mark.parametrize(
    ("rollout", "text", "call"),
    [
        (FENCED, "So\n```python\n1 + 1\n```\n", WrittenCall("python", "1 + 1")),
        (FENCED, "So\n``` py \nx = 1\n\nx\n```\n\n", WrittenCall("python", "x = 1\n\nx")),
        (FENCED, "```text\nno\n```\n```python\n2\n```\n", WrittenCall("python", "2")),
        (FENCED, "```python\n```\n", WrittenCall("python", "")),
        (FENCED, "So\n```\nno tool\n```\n", None),
        (FENCED, "So\n```javascript\n1\n```\n", None),
        (FENCED, "words\n```\n", None),
        (FENCED, "```python\n1\n```\nand so on", None),
        (TAG, "So <code>1 + 1</code>", WrittenCall(None, "1 + 1")),
        (TAG, "<code>1</code>\n<code>2</code>\n", WrittenCall(None, "2")),
        (TAG, "So <code>1 + 1</code>.", WrittenCall(None, "1 + 1")),
        (TAG, "So <code>1 + 1</code></", WrittenCall(None, "1 + 1")),
        (TAG, "So <code>1 + 1</code>, and this is more", None),
        (TAG, "1 + 1</code>", WrittenCall(None, None)),
        (TAG, "<code>1</code> and 2</code>", WrittenCall(None, None)),
        (TAG, "So <code>1 + 1</code> is", None),
        (TEMPLATE, 'So <tool_call>\n{"name": "x"}\n</tool_call>', WrittenCall(None, '\n{"name": "x"}\n')),
    ],
)
def test_a_call_is_found_at_the_end_of_what_the_model_wrote(
    rollout: Rollout, text: str, call: WrittenCall | None
) -> None:
    assert find(rollout, text) == call
    assert call is None or ends_at_close(rollout, text)


def test_a_result_is_put_as_its_format_has_it() -> None:
    assert framed(FENCED.calls, "14") == "```output\n14\n```\n"
    assert framed(TAG.calls, "14") == "\n<output>14</output>\n"


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ('{"name": "python", "parameters": {}}', WrittenCall(None, '{"name": "python", "parameters": {}}')),
        ('<|python_tag|>{"name": "x"}\n', WrittenCall(None, '{"name": "x"}')),
        ('{"type": "function", "name": "x"}', WrittenCall(None, '{"type": "function", "name": "x"}')),
        ('\n\n{ "name" : broken', WrittenCall(None, '{ "name" : broken')),
        ("<|python_tag|>print(6 * 7)", WrittenCall("python", "print(6 * 7)")),
        ('The call is {"name": "python"}', None),
        ("It is 42.", None),
        ('{"answer": 42}', None),
    ],
)
def test_a_call_of_llama_is_a_whole_turn(text: str, call: WrittenCall | None) -> None:
    assert find(LLAMA, text) == call
    assert not ends_at_close(LLAMA, text)
    thought = LLAMA.model_copy(update={"thinking": Thinking()})
    assert find(thought, f'<think>\n{{"name": 1}}</think>\n\n{text}') == call


def test_what_is_written_behind_a_result_begins_a_line_where_the_result_is_left_out() -> None:
    assert spoken(["So <tool_call>{}</tool_call>", None, "14"]) == "So <tool_call>{}</tool_call>\n14"
    assert spoken(["```python\n7\n```\n", None, "It is 14", "."]) == "```python\n7\n```\nIt is 14."


def test_tools_that_can_not_be_told_apart_are_refused() -> None:
    with pytest.raises(ValueError, match="different names, got python, python"):
        Rollout(tools=(PythonTool(), PythonTool()))
    with pytest.raises(ValueError, match="calls of type tag are for one tool, and there are 2"):
        Rollout(tools=(PythonTool(), PythonTool(name="other")), calls=TagCalls())
