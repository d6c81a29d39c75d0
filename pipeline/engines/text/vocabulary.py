"""Identifies the token ids that a model reads, so that a reward model is never fed another tokenizer's.

of_engine(config) | of_folder(folder) | for_fresh(generator) ─► Vocabulary(fingerprint, size, decode, encode)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from berry.pipeline.config.sections.engine import EngineConfig, HttpEngine, VllmEngine
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.config.sections.rollout.tools import LlamaCalls, TurnCalls
from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.engines import models
from berry.pipeline.engines.text.tokens import CALL_EXAMPLE, LLAMA_EXAMPLE, SAID_EXAMPLE, Tokens
from berry.pipeline.errors import ConfigError
from berry.pipeline.records import Message

SYNTHETIC = "synthetic"
PROMPT_WORDS = ("Start with ", ". Then ", "add ", "subtract ", ", ", ". What is the result?")
NO_TEMPLATE = "{{ messages }}"  # of tokenizers that read what is rendered already


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """`fingerprint`: blake2 of all (token, id) pairs: equal for equal tokenizers, wherever they were loaded from.
    `size`: one more than the largest id. `decode` leaves special tokens out, `encode` adds none. `pieces` is the
    tokenizer itself; None for the synthetic engine. `prompt` and `conversation` render chat messages as the engine
    does, the one up to where the model's turn begins; `content_of` reads back what another than the model said in ids
    that the template made; None where there is no chat template, which `tokens` has."""

    fingerprint: str
    size: int
    decode: Callable[[Sequence[int]], str]
    encode: Callable[[str], list[int]]
    pieces: Any = None
    prompt: Callable[[Sequence[Message]], list[int]] | None = None
    conversation: Callable[[Sequence[Message]], list[int]] | None = None
    content_of: Callable[[str, Sequence[int]], str | None] | None = None
    tokens: Tokens | None = None

    def under(self, arguments: Mapping[str, Any] | None) -> Vocabulary:
        """The same, with these arguments for the chat template in place of the engine's own; None: those."""
        if arguments is None or self.tokens is None:
            return self
        return replace(self, **_rendering(self.tokens.with_arguments(arguments)))


def of_engine(config: EngineConfig) -> Vocabulary:
    """What the engine of a run speaks. Raises ConfigError, ResourceError."""
    match config:
        case VllmEngine():
            folder = models.resolve(config.model)
            return of_folder(folder, chat_template=config.chat_template, arguments=config.template_args)
        case HttpEngine(dialect="chat"):
            raise ConfigError(f"{config.model} gave text alone (engine.dialect chat): it has no token ids here")
        case HttpEngine():
            name = config.tokenizer or config.model
            folder = models.resolve(name, key="engine.tokenizer")
            return of_folder(folder, chat_template=config.chat_template, arguments=config.template_args)
        case _:
            from berry.pipeline.engines.synthetic.engine import Synthetic
            from berry.pipeline.engines.synthetic.process import LARGEST, NUMBER

            engine = Synthetic(config)
            return Vocabulary(
                SYNTHETIC,
                NUMBER + LARGEST + 1,
                engine.decode,
                lambda text: list(text.encode()),
                prompt=engine.encode,
            )


def of_all(engines: Mapping[str, EngineConfig], *, remedy: str) -> Vocabulary:
    """What all engines of a run speak, by name. Raises ConfigError, with what to do, where their tokenizers differ."""
    (first, one), *others = engines.items()
    spoken = of_engine(one)
    for name, another in others:
        if of_engine(another).fingerprint != spoken.fingerprint:
            raise ConfigError(f"engines: {first} and {name} have different tokenizers: {remedy}")
    return spoken


def for_fresh(generator: Vocabulary) -> Vocabulary:
    """What a backbone without a past should read: the generator's own ids. But of the synthetic engine, which has a
    token a number, the digits, since nobody learns sums from ten thousand names; and the words of its prompts whole."""
    if generator.fingerprint != SYNTHETIC:
        return generator
    from berry.pipeline.engines.synthetic.process import NUMBER, text_of

    words = {text: token for token in range(256, NUMBER) if (text := _word(text_of, token))}
    asked = {text: token for token, text in enumerate(PROMPT_WORDS, start=max(words.values()) + 1)}
    spelled = {token: tuple(text.encode()) for text, token in asked.items()}
    words |= asked
    pieces = re.compile("|".join(map(re.escape, sorted(words, key=len, reverse=True))) + "|.", re.DOTALL)

    def encode(text: str) -> list[int]:
        ids: list[int] = []
        for piece in pieces.findall(text):
            ids.extend([words[piece]] if piece in words else piece.encode())
        return ids

    def decode(ids: Sequence[int]) -> str:
        return generator.decode([byte for token in ids for byte in spelled.get(token, (token,))])

    return Vocabulary(SYNTHETIC + "-digits", max(words.values()) + 1, decode, encode)


def _word(text_of: Callable[[int], str | None], token: int) -> str | None:
    try:
        return text_of(token)
    except IndexError:
        return None


def of_folder(
    folder: str, *, chat_template: str | None = None, arguments: Mapping[str, Any] | None = None
) -> Vocabulary:
    """A model folder's (or Hugging Face id's) tokenizer. Raises ConfigError if there is none."""
    try:
        tokens = Tokens(folder, chat_template=chat_template, arguments=arguments)
    except ConfigError as error:
        if chat_template is not None or "no chat template" not in str(error):
            raise
        tokens = Tokens(folder, chat_template=NO_TEMPLATE)
    tokenizer = tokens.tokenizer
    pairs = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    if not pairs:
        raise ConfigError(f"the tokenizer of {folder} has no tokens")
    digest = blake2b("\n".join(f"{i}\t{t}" for t, i in pairs).encode(), digest_size=16)
    return Vocabulary(
        digest.hexdigest(),
        pairs[-1][1] + 1,
        tokens.decode,
        lambda text: tokenizer.encode(text, add_special_tokens=False),
        tokenizer,
        **({} if tokens.tokenizer.chat_template == NO_TEMPLATE else _rendering(tokens)),
    )


def check_tool_turns(config: EngineConfig, rollout: Rollout) -> None:
    """Raises ConfigError where the chat template can't put a tool's result, or a turn of the environment, behind what
    the model was given."""
    calls = bool(rollout.tools) and isinstance(rollout.calls, TurnCalls)
    roles = () if rollout.environment is None else rollout.environment.roles
    if not (calls or roles) or isinstance(config, SyntheticEngine):
        return
    name = config.model if isinstance(config, VllmEngine) else config.tokenizer or config.model
    tokens = Tokens(models.resolve(name), chat_template=config.chat_template, arguments=config.template_args)
    thinking = rollout.thinking
    thought = ""
    if thinking is not None:
        thought = f"{'' if thinking.opened_by_prompt else thinking.open + chr(10)}So\n{thinking.close}\n\n"
    if calls:
        tokens.check_turns("tool", thought + (LLAMA_EXAMPLE if isinstance(rollout.calls, LlamaCalls) else CALL_EXAMPLE))
    for role in roles:
        tokens.check_turns(role, thought + SAID_EXAMPLE)


def _rendering(tokens: Tokens) -> dict[str, Any]:
    return {
        "prompt": tokens.encode,
        "conversation": tokens.encode_whole,
        "content_of": tokens.content_of,
        "tokens": tokens,
    }
