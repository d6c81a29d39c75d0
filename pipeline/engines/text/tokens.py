"""Turns text into token ids and back, the same way for every engine that has a real tokenizer.

Segments are decoded one by one and joined later, so `decode` never drops a segment's leading space.
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from tokenizers.decoders import DecodeStream

from berry.pipeline.config.sections.engine import HttpEngine, VllmEngine
from berry.pipeline.engines.base import EngineInfo
from berry.pipeline.errors import ConfigError, EngineError
from berry.pipeline.records import Message

CALL_EXAMPLE = 'So:\n<tool_call>\n{"name": "python", "arguments": {"code": "6 * 7"}}\n</tool_call>'
LLAMA_EXAMPLE = '{"name": "python", "parameters": {"code": "6 * 7"}}'
SHOWN = ("<|python_tag|>", "<tool_call>", "</tool_call>")
"""Control tokens of some tokenizers that say where a call is: they are part of a text all the same."""
_RESULT = "result-42"
_ASKED: list[Message] = [{"role": "user", "content": "6 * 7?"}]
SAID_EXAMPLE = "I say 50."
_INSTEAD = {
    "tool": "use calls of type fenced or tag, or set engine.chat_template",
    "user": "set engine.chat_template to one that leaves earlier turns as they were",
}


class Tokens:
    """A model's tokenizer and chat template. `arguments`: for the template, in every rendering."""

    def __init__(
        self, folder: str, *, chat_template: str | None = None, arguments: Mapping[str, Any] | None = None
    ) -> None:
        from transformers import AutoTokenizer

        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError) as error:
            raise ConfigError(f"can't load a tokenizer from {folder}: {str(error).splitlines()[0]}") from error
        if chat_template is not None:
            self.tokenizer.chat_template = _template(chat_template)
        if not self.tokenizer.chat_template:
            raise ConfigError(f"the tokenizer of {folder} has no chat template: set engine.chat_template")
        self.template_hash = blake2b(str(self.tokenizer.chat_template).encode(), digest_size=8).hexdigest()
        self._arguments = dict(arguments or {})
        control = sorted((t for t in self.tokenizer.all_special_tokens if len(t) > 2), key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, control)) or r"(?!)")
        special = {
            token.content: number for number, token in self.tokenizer.added_tokens_decoder.items() if token.special
        }
        self._shown = {special[text]: text for text in SHOWN if text in special}
        self._anchor = self.tokenizer.encode("a", add_special_tokens=False)
        self._anchor_text = self._plain(self._anchor)

    def with_arguments(self, arguments: Mapping[str, Any]) -> Tokens:
        """The same tokenizer and chat template, with these arguments for the template in place of its own."""
        other = copy.copy(self)
        other._arguments = dict(arguments)
        return other

    def template(self, arguments: Mapping[str, Any]) -> str:
        """The text of the chat template that these arguments are given to: some models have one more for tools."""
        return self.tokenizer.get_chat_template(tools=arguments.get("tools"))

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """The ids of a prompt: messages in the chat template, up to where the model's turn begins."""
        return self._render(messages, add_generation_prompt=True)

    def encode_whole(self, messages: Sequence[Message]) -> list[int]:
        """The ids of a conversation in the chat template, the model's turns included."""
        return self._render(messages, add_generation_prompt=False)

    def _render(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> list[int]:
        text = self._text(messages, add_generation_prompt=add_generation_prompt)
        return self.tokenizer.encode(text, add_special_tokens=False)

    def _text(self, messages: Sequence[Message], *, add_generation_prompt: bool = True) -> str:
        return self.tokenizer.apply_chat_template(
            [self._inert(m) for m in messages],
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            **self._arguments,
        )

    def encode_result(self, result: str, *, ended_by: int | None = None) -> list[int]:
        """The ids that end the model's turn, say `result` in a turn of the role `tool`, and begin the model's next.
        `ended_by`: the last token of a turn that the model may have ended itself; it is then not ended again. Raises
        ConfigError as `check_turns` does."""
        text = self._after_turn("tool", self._without_control(result), CALL_EXAMPLE)
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        return ids[1:] if ended_by in self.tokenizer.all_special_ids else ids

    def encode_turn(self, role: str, content: str, last: int | None) -> list[int]:
        """The ids that end the model's turn, unless `last`, the token that it wrote last, has done so, say `content` as
        `role`, and begin the model's next turn. Raises ConfigError as `check_turns` does, ValueError where the model
        ended its turn with another token than the template."""
        text = self._after_turn(role, self._without_control(content), SAID_EXAMPLE)
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        if last == ids[0]:
            return ids[1:]
        if last in self.tokenizer.all_special_ids:
            ended, ends = self.tokenizer.convert_ids_to_tokens([last, ids[0]])
            raise ValueError(f"the model ended its turn with {ended!r}, the chat template ends it with {ends!r}")
        return ids

    def content_of(self, role: str, ids: Sequence[int]) -> str | None:
        """What `role` says in ids that `encode_result` or `encode_turn` gave, control tokens with a space in them; None
        where the chat template would make other ids of it."""
        said = CALL_EXAMPLE if role == "tool" else SAID_EXAMPLE
        head, _, tail = self._after_turn(role, _RESULT, said).partition(_RESULT)
        plain = self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        unended = self.tokenizer.decode(self.tokenizer.encode(head, add_special_tokens=False)[1:])
        heads = [text for text in (head, unended) if plain.startswith(text)]
        if not heads or not plain.endswith(tail):
            return None
        content = plain.removeprefix(heads[0]).removesuffix(tail)
        for text in (content, _from_json(content)):  # some templates write what a tool said as JSON
            if text is None:
                continue
            again = self.tokenizer.encode(self._after_turn(role, text, said), add_special_tokens=False)
            if list(ids) in (again, again[1:]):
                return text
        return None

    def check_turns(self, role: str, said: str = CALL_EXAMPLE) -> None:
        """Raises ConfigError where a conversation with two turns of `role`, before each of which the model `said` so
        much, is not what the model was given: the template would make other tokens of it."""
        once = self._after_turn(role, _RESULT, said)
        if _RESULT not in once:
            raise ConfigError(f"the chat template leaves out what the role `{role}` says: {_INSTEAD[role]}")
        turns = _turns(role, said, _RESULT)
        _same(self._text(_ASKED) + 2 * (said + once), self._text([*_ASKED, *turns, *turns]), role)

    def _after_turn(self, role: str, content: str, said: str) -> str:
        """What the chat template puts behind a turn of the model's: its end, the next turn, which is of `role`, and the
        beginning of the model's next."""
        try:
            begun = self._text(_ASKED) + said
            once = self._text([*_ASKED, *_turns(role, said, content)])
        except TemplateError as error:
            raise ConfigError(f"the chat template has no role `{role}` here ({error}): {_INSTEAD[role]}") from error
        _same(begun, once[: len(begun)], role)
        return once[len(begun) :]

    def _inert(self, message: Message) -> Message:
        """The message with a space in each control token of its text, so that it can't end its turn and begin another;
        the model's own turns as they are."""
        content = message["content"]
        if message["role"] == "assistant" or self._control.search(content) is None:
            return message
        return {**message, "content": self._without_control(content)}

    def _without_control(self, text: str) -> str:
        return self._control.sub(lambda found: f"{found[0][:1]} {found[0][1:]}", text)

    def encode_text(self, text: str) -> list[int]:
        """The ids of text within a turn, with a space in each control token of it."""
        return self.tokenizer.encode(self._without_control(text), add_special_tokens=False)

    def encode_plain(self, text: str) -> list[int]:
        """The ids of a text as it stands, nothing added."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a segment, special tokens left out. A character cut in two shows as U+FFFD."""
        text = self._plain([*self._anchor, *token_ids])
        return text[len(self._anchor_text) :]

    def single(self, text: str) -> int | None:
        """The id of a text that is one token by itself; None where it is several."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        return ids[0] if len(ids) == 1 and self.decode(ids) == text else None

    def control_ids(self, texts: Sequence[str]) -> list[int]:
        """The ids of those of `texts` that are control tokens, and part of a text (SHOWN)."""
        return [number for number, text in self._shown.items() if text in texts]

    def ends(self, token_ids: Sequence[int], text: str) -> tuple[int, ...]:
        """Characters of `text` (their decoding) that are complete after each token: Completion.token_ends."""
        stream = DecodeStream(list(self._anchor), skip_special_tokens=True)
        backend, ends, total = self.tokenizer.backend_tokenizer, [], 0
        for token_id in token_ids:
            total += len(stream.step(backend, token_id) or self._shown.get(token_id, ""))
            ends.append(total)
        if ends and total < len(text):  # the last character is not whole
            ends[-1] = len(text)
        return tuple(ends)

    def _plain(self, token_ids: Sequence[int]) -> str:
        """Text without control tokens but those of SHOWN."""
        texts: list[str] = []
        at = 0
        for end, token in enumerate(token_ids) if self._shown else ():
            if token in self._shown:
                texts += [self._decoded(token_ids[at:end]), self._shown[token]]
                at = end + 1
        return "".join([*texts, self._decoded(token_ids[at:])])

    def _decoded(self, token_ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def _from_json(content: str) -> str | None:
    """The text of a text's JSON, which a template may quote itself; None where it is none."""
    for written in (content, f'"{content}"'):
        try:
            text = json.loads(written)
        except ValueError:
            continue
        if isinstance(text, str):
            return text
    return None


def _turns(role: str, said: str, content: str) -> list[Message]:
    return [{"role": "assistant", "content": said}, {"role": role, "content": content}]


def _same(expected: str, rendered: str, role: str) -> None:
    """Raises ConfigError with the place where two renderings part."""
    if expected == rendered:
        return
    at = next((i for i, (a, b) in enumerate(zip(expected, rendered, strict=False)) if a != b), len(rendered))
    shown = [repr(text[max(0, at - 30) : at + 50]) for text in (expected, rendered)]
    raise ConfigError(
        f"the chat template rewrites earlier turns once the role `{role}` has answered: where the model was given "
        f"{shown[0]}, the template has {shown[1]}; {_INSTEAD[role]}"
    )


class TokenizedEngine:
    """The part of an engine that every one with a real tokenizer has: what it says of itself, text to ids and back."""

    _info: EngineInfo
    _tokens: Tokens | None = None

    async def load_tokens(self, folder: str, config: VllmEngine | HttpEngine) -> None:
        """Loads the tokenizer of a model's folder with the chat template that the configuration gives it."""
        self._tokens = await asyncio.to_thread(
            Tokens, folder, chat_template=config.chat_template, arguments=config.template_args
        )
        self._info = replace(self._info, template_hash=self._tokens.template_hash)

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def tokens(self) -> Tokens:
        """The tokenizer. Raises EngineError before the engine was started."""
        if self._tokens is None:
            raise EngineError(f"{self._info.engine_id} was not started")
        return self._tokens

    def encode(self, messages: Sequence[Message]) -> list[int]:
        return self.tokens.encode(messages)

    def decode(self, token_ids: Sequence[int]) -> str:
        return self.tokens.decode(token_ids)

    def encode_text(self, text: str) -> list[int]:
        return self.tokens.encode_text(text)

    def encode_result(self, result: str, *, ended_by: int | None = None) -> list[int]:
        return self.tokens.encode_result(result, ended_by=ended_by)

    def encode_turn(self, role: str, content: str, last: int | None) -> list[int]:
        return self.tokens.encode_turn(role, content, last)


def _template(value: str) -> str:
    if "{" in value:
        return value
    path = Path(value)
    if not path.is_file():
        raise ConfigError(f"engine.chat_template: no file {value!r}, and it is no Jinja text either")
    return path.read_text()
