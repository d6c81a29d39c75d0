"""Responses through a chat template against the token ids that were sampled: what comes back, what is lost, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from berry.pipeline.engines.text.tokens import Tokens
from berry.pipeline.records import Message
from berry.pipeline.stages.export.base import Sampled
from berry.pipeline.stages.export.exactness import Exactness, Loss, RoundTrip, compare

SPECIAL = ["<|im_start|>", "<|im_end|>", "<think>", "</think>"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CUTS_THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' %}{{ m['content'].split('</think>')[-1] }}{% else %}{{ m['content'] }}{% endif %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
STRIPS = CHATML.replace("{{ m['content'] }}", "{{ m['content'] | trim }}")
OPENS_THINKING = CHATML.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}")
PROMPT: list[Message] = [{"role": "user", "content": "1+1?"}]


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens."""
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    raw = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=raw)


def tokens_of(folder: Path, template: str) -> Tokens:
    """Bytes as tokens, and the special ones."""
    made = byte_tokenizer()
    made.chat_template = template
    made.add_special_tokens({"additional_special_tokens": SPECIAL[:2]})
    made.add_tokens(SPECIAL[2:])
    made.save_pretrained(folder)
    return Tokens(str(folder))


def sample(tokens: Tokens, text: str, *, ended: bool = True) -> Sampled:
    ids = tokens.tokenizer.encode(text + ("<|im_end|>" if ended else ""), add_special_tokens=False)
    return Sampled(PROMPT, text, tokens.encode(PROMPT), ids)


def measured(tokens: Tokens, samples: Sequence[Sampled]) -> Exactness:
    found = Exactness()
    for one in samples:
        found.add(one, tokens.encode_whole)
    return found


@pytest.mark.parametrize("ended", [True, False])
def test_what_a_template_gives_back_is_exact_whatever_it_puts_behind(tmp_path: Path, ended: bool) -> None:
    tokens = tokens_of(tmp_path, CHATML)
    found = measured(tokens, [sample(tokens, "It is 2.", ended=ended), sample(tokens, "So 2.\n", ended=ended)])
    assert (found.exact_share, found.changed_share) == (1.0, 0.0)
    assert found.losses == {}


@pytest.mark.parametrize(
    ("template", "text", "loss"),
    [
        (CUTS_THINKING, "<think>1 and 1 are 2</think>It is 2.", Loss.THINKING),
        (STRIPS, "It is 2.\n\n", Loss.WHITE_SPACE),
        (OPENS_THINKING, "It is 2.", Loss.PROMPT),
    ],
)
def test_what_is_lost_is_counted_and_named(tmp_path: Path, template: str, text: str, loss: Loss) -> None:
    tokens = tokens_of(tmp_path, template)
    found = measured(tokens, [sample(tokens, text)])
    assert found.exact_share == 0.0
    assert list(found.losses) == [loss]
    assert found.explain()


def test_the_lost_tokens_of_cut_thinking_are_those_of_the_thought(tmp_path: Path) -> None:
    tokens = tokens_of(tmp_path, CUTS_THINKING)
    found = compare(sample(tokens, "<think>1 and 1 are 2</think>It is 2."), tokens.encode_whole)
    assert found.changed == 1 + len("1 and 1 are 2") + 1
    assert found.tokens == found.changed + len("It is 2.") + 1


def test_an_answer_that_was_cut_and_is_ended_by_the_template_loses_nothing_but_is_not_exact(tmp_path: Path) -> None:
    tokens = tokens_of(tmp_path, CHATML)
    found = compare(replace(sample(tokens, "It is", ended=False), ended=False), tokens.encode_whole)
    assert found == RoundTrip(tokens=len("It is"), changed=0, loss=Loss.TURN)


def test_a_template_that_never_ends_an_answer_loses_its_end(tmp_path: Path) -> None:
    tokens = tokens_of(tmp_path, CHATML.replace("<|im_end|>\n", "\n"))
    found = compare(sample(tokens, "It is 2."), tokens.encode_whole)
    assert found == RoundTrip(tokens=len("It is 2.") + 1, changed=1, loss=Loss.END)


def test_of_a_conversation_only_what_the_model_said_counts(tmp_path: Path) -> None:
    tokens = tokens_of(tmp_path, CHATML)
    said, heard, answer = (
        {"role": r, "content": c} for r, c in (("assistant", "1+1"), ("user", "2"), ("assistant", "2"))
    )
    prompt = tokens.encode(PROMPT)
    ids = tokens.encode_whole([*PROMPT, said, heard, answer])[len(prompt) : -1]  # without the line break at the end
    given = tokens.encode([*PROMPT, said, heard])[len(prompt) + len("1+1") + 1 :]
    own = [True] * 4 + [False] * len(given) + [True] * 2
    sampled = Sampled(PROMPT, "1+12", prompt, ids, trainable=own, turns=[said, heard, answer])
    assert compare(sampled, tokens.encode_whole) == RoundTrip(tokens=6, changed=0, loss=None)
    other = replace(sampled, turns=[said, {**heard, "content": "3"}, answer])
    assert compare(other, tokens.encode_whole) == RoundTrip(tokens=6, changed=1, loss=Loss.GIVEN)
    other = replace(sampled, turns=[{**said, "content": "1-1"}, heard, answer])
    assert compare(other, tokens.encode_whole) == RoundTrip(tokens=6, changed=1, loss=Loss.TOKENS)


def test_of_many_responses_those_compared_lie_all_over_the_export(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("berry.pipeline.stages.export.exactness.COMPARED", 8)
    tokens = tokens_of(tmp_path, STRIPS)
    found = measured(tokens, [sample(tokens, "a" if number < 50 else "a\n") for number in range(100)])
    assert found.seen == 100
    assert 8 <= found.responses < 16
    assert found.exact_share == pytest.approx(0.5, abs=0.1)


def test_nothing_compared_is_no_share() -> None:
    assert Exactness().exact_share is None
    assert Exactness().changed_share is None
