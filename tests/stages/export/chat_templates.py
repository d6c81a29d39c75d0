"""Chat templates that treat a model's answer as the well-known ones do, and answers as such models sample them.

Family(template, …) + Answer(kind) ─► comparisons(tokens, family, answer) ─► what comes back, by kind

Written for this purpose: each has the markers, trimming, cuts and openings of its family, and nothing else of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Regex, pre_tokenizers

from berry.pipeline.engines.text.tokens import Tokens
from berry.pipeline.records import Message
from berry.pipeline.stages.export.base import Sampled
from berry.pipeline.stages.export.exactness import RoundTrip, compare
from berry.pipeline.stages.problems.arithmetic import iter_draw, worked

_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_LLAMA = (
    "{{ '<|begin_of_text|>' }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"
)
_QWEN = (
    "{% for m in messages %}{% if m.role == 'assistant' and loop.last %}"
    "{% set thought = m.content.split('</think>')[0].split('<think>')[-1] if '</think>' in m.content else '' %}"
    "{% set said = m.content.split('</think>')[-1] %}"
    "{{ '<|im_start|>assistant\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + said.lstrip('\\n') }}"
    "{{ '<|im_end|>\\n' }}"
    "{% else %}{{ '<|im_start|>' + m.role + '\\n' + m.content.split('</think>')[-1] + '<|im_end|>\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)
_DEEPSEEK = (
    "{{ '<bos>' }}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{{ '<|Assistant|>' + m.content.split('</think>')[-1] + '<eos>' }}"
    "{% else %}{{ '<|User|>' + m.content }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|><think>\\n' }}{% endif %}"
)
_SYSTEM = "{{ '<|im_start|>system\\nBe helpful.<|im_end|>\\n' }}"
_SMOLLM = "{% if messages[0].role != 'system' %}" + _SYSTEM + "{% endif %}" + _CHATML
_LINES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How tokenizers since 2023 split text before they merge: line breaks stay together whatever follows them."""


@dataclass(frozen=True)
class Family:
    """A template, its markers, the marker that ends an answer, and how its models begin one: `thinks` with a thought,
    `opens` it themselves (else the template has). `splits`: by which its tokenizer splits text, None: as it does."""

    template: str
    specials: tuple[str, ...]
    end: str
    thinks: bool = False
    opens: bool = True
    arguments: dict[str, Any] = field(default_factory=dict)
    splits: str | None = None


_IM = ("<|im_start|>", "<|im_end|>")
FAMILIES = {
    "ChatML": Family(_CHATML, _IM, "<|im_end|>"),
    "Llama-3": Family(
        _LLAMA,
        ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        "<|eot_id|>",
        splits=_LINES,
    ),
    "Qwen3, thinking": Family(_QWEN, _IM, "<|im_end|>", thinks=True, splits=_LINES),
    "Qwen3, not thinking": Family(_QWEN, _IM, "<|im_end|>", arguments={"enable_thinking": False}, splits=_LINES),
    "DeepSeek-R1": Family(
        _DEEPSEEK, ("<bos>", "<eos>", "<|User|>", "<|Assistant|>"), "<eos>", thinks=True, opens=False, splits=_LINES
    ),
    "SmolLM2": Family(_SMOLLM, _IM, "<|im_end|>"),
}
KINDS = ("plain", "trailing newline", "cut short", "other tokens")
"""Answers as they are; with an empty line at the end; without their end; with a word in more tokens than needed."""


def with_template(tokenizer: Any, family: Family, folder: Path) -> Tokens:
    """The tokenizer with a family's markers and template, as engines load it."""
    if family.splits is not None:
        rules = [
            pre_tokenizers.Split(Regex(family.splits), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(rules)
    tokenizer.chat_template = family.template
    tokenizer.add_special_tokens({"additional_special_tokens": list(family.specials)})
    tokenizer.add_tokens(["<think>", "</think>"])
    tokenizer.save_pretrained(folder)
    return Tokens(str(folder), arguments=family.arguments)


def comparisons(tokens: Tokens, family: Family, kind: str, *, count: int = 8) -> list[RoundTrip]:
    """How `count` answers of a kind come back."""
    return [compare(_answer(tokens, family, kind, p.prompt), tokens.encode_whole) for p in iter_draw(count, seed=1)]


def _answer(tokens: Tokens, family: Family, kind: str, prompt: Any) -> Sampled:
    messages: list[Message] = [{"role": "user", "content": prompt}]
    lines = worked(prompt).splitlines()
    text = f"The result is {lines[-1]}."
    if family.thinks:
        text = ("<think>\n" if family.opens else "") + "\n".join(lines) + f"\n</think>\n\n{text}"
    text += "\n\n" * (kind == "trailing newline")
    ended = kind != "cut short"
    encode = tokens.tokenizer.encode
    if kind == "other tokens":
        head, tail = text.rsplit("result", 1)
        ids = [i for piece in (head, "r", "e", "sult", tail) for i in encode(piece, add_special_tokens=False)]
    else:
        ids = encode(text if ended else text[:-1], add_special_tokens=False)
        text = text if ended else text[:-1]
    ids += [tokens.tokenizer.convert_tokens_to_ids(family.end)] * ended
    assert tokens.decode(ids) == text
    return Sampled(messages, text, tokens.encode(messages), ids, ended=ended)
