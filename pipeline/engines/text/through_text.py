"""Shows an engine as one that speaks another model's token ids, by their text: a prefix of that model is read, and what
is said comes back in its ids.

    ids of the other model ─► decode ─► text behind this engine's own prompt ─► completion ─► text ─► encode ─► its ids

What is said keeps its text. Its token ids are the text tokenised again, without log-probabilities and entropies: no
sample of the other model, and none to train on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import msgspec.structs

from berry.pipeline.core.events import Completion
from berry.pipeline.engines.base import Engine, EngineInfo, Request, Sample
from berry.pipeline.engines.text.over_engine import OverEngine
from berry.pipeline.engines.text.vocabulary import Vocabulary
from berry.pipeline.records import Finish, Message


class ThroughText(OverEngine):
    """`engine` in the ids of `speaks`, the other model's, behind a prompt that has `prompt_len` of them and is
    `messages` (`Engine`). It is started and closed by whoever holds the engine itself."""

    def __init__(
        self, engine: Engine, speaks: Vocabulary, messages: Sequence[Message] = (), *, prompt_len: int = 0
    ) -> None:
        super().__init__(engine)
        self._speaks = speaks
        self._messages = messages
        self._prompt_len = prompt_len
        self._end = getattr(speaks.pieces, "eos_token_id", None)

    @property
    def info(self) -> EngineInfo:
        """The engine's; texts of segments join, since they are kept as they were said."""
        return replace(self._engine.info, seamless=True)

    def decode(self, token_ids: Sequence[int]) -> str:
        return self._speaks.decode(token_ids)

    def encode_text(self, text: str) -> list[int]:
        return self._speaks.encode(text)

    async def generate(self, request: Request) -> AsyncIterator[Sample]:
        """As the engine does; yields nothing where its context has no room behind the prefix."""
        said = self._speaks.decode(request.prompt_ids[self._prompt_len :])
        ids = [*self._engine.encode(self._messages), *(self._engine.encode_text(said) if said else ())]
        room = self._engine.info.max_model_len - len(ids)
        if room <= 0:
            return
        until = msgspec.structs.replace(request.until, max_tokens=min(request.until.max_tokens, room))
        async for sample in self._engine.generate(msgspec.structs.replace(request, prompt_ids=ids, until=until)):
            yield Sample(sample.index, self._in_other_ids(sample.completion))

    def _in_other_ids(self, completion: Completion) -> Completion:
        ids = self._speaks.encode(completion.text) if completion.token_ids else []
        if self._end is not None and completion.token_ids and (completion.finish is Finish.STOP or not ids):
            ids = [*ids, self._end]
        return msgspec.structs.replace(completion, token_ids=tuple(ids), logprobs=(), entropies=(), token_ends=())
