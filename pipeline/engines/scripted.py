"""Generates what a function returns: for tests and rehearsals, never a language model.

    Scripted(lambda messages, seed: "The answer is 42.")

A token is a byte of UTF-8. Counters, slots, speed and cancellation are the synthetic engine's; so is its label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.core.events import Completion, Until
from berry.pipeline.core.steps import token_ends
from berry.pipeline.engines.base import Request
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.engines.synthetic.process import END_OF_TURN, ROLES, PromptProcess
from berry.pipeline.engines.text.stopping import RegexStop
from berry.pipeline.records import Finish, Message

Script = Callable[[list[Message], int], str]
"""From the conversation and the sample's seed (0 at temperature 0) to the whole reply."""
_LOGPROB = -0.02
_ENTROPY = 0.02


class Scripted(Synthetic):
    """See `engines.base.Engine`. A prompt that ends within a reply is continued as the script goes on."""

    def __init__(self, script: Script, config: SyntheticEngine | None = None, *, engine_id: str = "scripted-0") -> None:
        super().__init__(config or SyntheticEngine(max_model_len=65_536), engine_id=engine_id, model="scripted")
        self._info = replace(self._info, seamless=False)  # a token is a byte: a segment may end inside a character
        self._script = script

    def _sampler(
        self,
        request: Request,
        chain: PromptProcess,  # noqa: ARG002
        response: list[int],
        room: int,
    ) -> Callable[[int | None], Completion]:
        prompt = list(request.prompt_ids)
        messages = self._messages(prompt[: len(prompt) - len(response)])

        def draw(seed: int | None) -> Completion:
            reply = list(self._script(messages, seed or 0).encode())
            rest = reply[len(response) :] if reply[: len(response)] == response else reply
            n, finish = self._end(rest, request.until, room)
            tokens = tuple(rest[:n])
            entropies = (_ENTROPY,) * n if request.sampling.top_logprobs > 0 else ()
            return Completion(
                token_ids=tokens,
                text=self.decode(tokens),
                finish=finish,
                logprobs=(_LOGPROB,) * n,
                entropies=entropies,
                engine_id=self.info.engine_id,
                weights_version=self.info.weights_version,
                token_ends=token_ends(tokens, self.decode) if request.until.token_ends else (),
            )

        return draw

    def _end(self, tokens: list[int], until: Until, room: int) -> tuple[int, Finish]:
        """How many of the tokens come, and why no more."""
        raw = bytes(tokens)
        stops = [at + len(d.encode()) for d in until.delimiters if (at := raw.find(d.encode())) >= 0]
        if until.regex is not None and (length := RegexStop(until.regex, self.decode).length(tokens)) is not None:
            stops.append(length)
        n, finish = (min(stops), Finish.STEP) if stops else (len(tokens), Finish.STOP)
        return (max(room, 0), Finish.LENGTH) if n > room else (n, finish)

    def _messages(self, prompt: Sequence[int]) -> list[Message]:
        names = {token: role for role, token in ROLES.items()}
        messages: list[Message] = []
        content: list[int] = []
        role = "user"
        for token in prompt:
            if token in names:
                role, content = names[token], []
            elif token == END_OF_TURN:
                messages.append({"role": role, "content": self.decode(content)})
            else:
                content.append(token)
        return messages
