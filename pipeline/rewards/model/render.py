"""Renders a prompt and the beginning of a response as the token ids that a reward model reads.

    same tokenizer     prompt ids + response ids, as they are: nothing is ever tokenised again
    another tokenizer  the texts, tokenised by the model's own: prefixes are shared as far as their ids agree
    step tags          prompt, then each step's text with the tag behind it; the value is read at the last tag

The last two decode and encode each step by itself, so that what is read of a longer prefix begins with what was read
of a shorter one, and its keys and values are found again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

from berry.pipeline.config.sections.rewards import StepTag
from berry.pipeline.config.sections.rollout.rollout import StepConfig, Thinking
from berry.pipeline.core.steps import text_ends
from berry.pipeline.engines.text.vocabulary import NO_TEMPLATE, Vocabulary
from berry.pipeline.errors import ConfigError

Render = Callable[[Sequence[int], Sequence[int]], list[int]]


def renderer(
    generator: Vocabulary,
    reader: Vocabulary | None,
    *,
    step: StepConfig,
    thinking: Thinking | None = None,
    tag: StepTag | None = None,
) -> Render:
    """`reader` None: the model reads the generator's ids (it was made for them). Raises ConfigError for a tag that is
    not one token."""
    if tag is not None:
        if reader is None:
            raise ConfigError("step_tag needs a reward model with a tokenizer of its own")
        return _tagged(generator, reader, step, thinking, one_token(reader, tag.tag, "step_tag.tag"))
    if reader is None or reader.fingerprint == generator.fingerprint:
        return lambda prompt_ids, response_ids: [*prompt_ids, *response_ids]
    return _translated(generator, reader, step, thinking)


def one_token(vocabulary: Vocabulary, text: str, key: str) -> int:
    """The id of a text that must be a single token. Raises ConfigError."""
    ids = vocabulary.encode(text)
    if len(ids) != 1:
        raise ConfigError(f"{key}: {text!r} is {len(ids)} tokens of the reward model's tokenizer, it must be one")
    return ids[0]


def _steps(text: str, step: StepConfig, thinking: Thinking | None) -> list[str]:
    cuts = [0, *sorted(set(text_ends(text, step, thinking)) - {0, len(text)}), len(text)]
    return [text[a:b] for a, b in pairwise(cuts) if a < b]


def _translated(generator: Vocabulary, reader: Vocabulary, step: StepConfig, thinking: Thinking | None) -> Render:
    def render(prompt_ids: Sequence[int], response_ids: Sequence[int]) -> list[int]:
        ids = prompt_in_template(generator, reader, prompt_ids)
        for text in _steps(generator.decode(response_ids), step, thinking):
            ids.extend(reader.encode(text))
        return ids

    return render


def _tagged(
    generator: Vocabulary, reader: Vocabulary, step: StepConfig, thinking: Thinking | None, tag_id: int
) -> Render:
    same = generator.fingerprint == reader.fingerprint

    def render(prompt_ids: Sequence[int], response_ids: Sequence[int]) -> list[int]:
        ids = list(prompt_ids) if same else prompt_in_template(generator, reader, prompt_ids)
        for text in _steps(generator.decode(response_ids), step, thinking):
            if text.strip():
                ids.extend(reader.encode(text.strip()))
                ids.append(tag_id)
        return ids

    return render


def prompt_in_template(generator: Vocabulary, reader: Vocabulary, prompt_ids: Sequence[int]) -> list[int]:
    """The prompt's text in the reader's ids, as a user's turn of the reader's own chat template where it has one."""
    text = generator.decode(prompt_ids).strip()
    template = getattr(reader.pieces, "chat_template", None)
    if not template or template == NO_TEMPLATE:
        return reader.encode(text)
    turns = [{"role": "user", "content": text}]
    rendered = reader.pieces.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return reader.encode(rendered)
