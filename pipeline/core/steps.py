"""Finds where the steps of a response end, on token boundaries.

    text, token ends ─► step_ends ─► token offsets

A boundary found inside a token moves to that token's end, as it does when an engine stops there: words are
never tokenised again. A policy that samples to the end of the answer in one request (`best_of_n`, `entropy`,
the rollouts of `mcts`, `shepherd`, `omega`) pays one request a trajectory instead of one a step; its steps
are found afterwards with these functions, and a step's label is the value of the node that holds the step's
last token (`labels.py`).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

from berry.pipeline.config.sections.rollout.rollout import DelimiterStep, RegexStep, StepConfig, Thinking, TokensStep

_REPLACEMENT = "\ufffd"


def token_ends(token_ids: Sequence[int], decode: Callable[[Sequence[int]], str]) -> tuple[int, ...]:
    """Characters of the decoded text that are complete after each token, for an engine that does not say.

    Decodes a short sliding window, since a token's text can depend on its left neighbour, and holds
    characters back while a token ends inside one (byte-level vocabularies). Linear in the number of tokens.
    """
    ends: list[int] = []
    start = read = total = known = 0  # the text of ids[start:read], of `known` characters, is counted already
    for position in range(1, len(token_ids) + 1):
        text = decode(token_ids[start:position])
        if len(text) > known and not text.endswith(_REPLACEMENT):
            total += len(text) - known
            start, read = read, position
            known = len(decode(token_ids[start:read]))
        ends.append(total)
    if token_ids and read < len(token_ids):
        ends[-1] = total + len(decode(token_ids[start:])) - known
    return tuple(ends)


def text_ends(text: str, step: StepConfig, thinking: Thinking | None = None) -> Iterator[int]:
    """Character offsets just after each delimiter or match, ascending. Nothing for steps by token count. With
    `thinking.steps` "after", the first comes where the thinking closes."""
    begin = 0
    if thinking is not None and thinking.steps == "after":
        closed = text.rfind(thinking.close)
        if closed >= 0:
            begin = closed + len(thinking.close)
            yield begin
        elif thinking.opened_by_prompt or thinking.open in text:
            return
    if isinstance(step, TokensStep):
        return
    pattern = re.compile(step.pattern) if isinstance(step, RegexStep) else _any_of(step.delimiters)
    for match in pattern.finditer(text, begin):
        if match.end() > begin:
            yield match.end()


@lru_cache(maxsize=64)
def _any_of(delimiters: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(d) for d in sorted(delimiters, key=len, reverse=True)))


def step_ends(text: str, ends: Sequence[int], step: StepConfig, *, thinking: Thinking | None = None) -> list[int]:
    """Token offsets at which the steps of a response end, ascending, the last being its length. `ends` are
    its token ends (`token_ends`). Steps of white space alone join the step before."""
    n_tokens = len(ends)
    kept: list[int] = []
    last_char = 0
    for offset in _token_offsets(text, ends, step, thinking):
        if offset >= n_tokens:
            break
        if text[last_char : ends[offset - 1]].strip():
            kept.append(offset)
        elif kept:
            kept[-1] = offset
        else:
            continue
        last_char = ends[offset - 1]
    if kept and not text[last_char:].strip():
        kept.pop()
    return [*kept, n_tokens] if n_tokens else []


def _token_offsets(text: str, ends: Sequence[int], step: StepConfig, thinking: Thinking | None) -> list[int]:
    from_text = sorted({bisect_left(ends, char) + 1 for char in text_ends(text, step, thinking)})
    if not isinstance(step, TokensStep):
        return from_text
    begin = from_text[0] if from_text else 0
    if not from_text and thinking is not None and thinking.steps == "after" and _unclosed(text, thinking):
        return []
    return from_text + list(range(begin + step.tokens, len(ends), step.tokens))


def answer_part(text: str, thinking: Thinking | None) -> str:
    """What a verifier should read: the text after the thinking. Empty if the thinking was never closed, so
    that a guess made while thinking is no answer."""
    if thinking is None:
        return text
    _, closed, after = text.rpartition(thinking.close)
    if closed:
        return after
    return "" if _unclosed(text, thinking) else text


def _unclosed(text: str, thinking: Thinking) -> bool:
    return thinking.close not in text and (thinking.opened_by_prompt or thinking.open in text)


def stops(step: StepConfig) -> tuple[tuple[str, ...], str | None]:
    """(delimiters, regex) at which an engine is to stop for one step."""
    if isinstance(step, DelimiterStep):
        return step.delimiters, None
    if isinstance(step, RegexStep):
        return (), step.pattern
    return (), None
