"""Rewrites labelled paths in another tokenizer's ids, for reward models with a tokenizer of their own."""

from __future__ import annotations

from dataclasses import replace

from berry.pipeline.engines.text.vocabulary import Vocabulary
from berry.pipeline.rewards.model.render import prompt_in_template
from berry.pipeline.rewards.training.examples import LabelledPath


def translate(path: LabelledPath, generator: Vocabulary, reader: Vocabulary) -> LabelledPath:
    """A labelled path in another tokenizer's ids, step by step, as `renderer` will give them when scoring."""
    ids: list[int] = []
    ends: list[int] = []
    start = 0
    for end in path.ends:
        ids.extend(reader.encode(generator.decode(path.response_ids[start:end])))
        ends.append(len(ids))
        start = end
    return replace(
        path,
        prompt_ids=tuple(prompt_in_template(generator, reader, path.prompt_ids)),
        response_ids=tuple(ids),
        ends=tuple(ends),
    )
