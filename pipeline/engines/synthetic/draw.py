"""Samples one segment of the synthetic process.

    chain, response so far, SegmentSpec ─► Continuations ─► draw(seed) ─► Completion

Only the totals after the coming steps are random: those are drawn, and the segment follows from them. It is kept:
samples of the same totals, after this prefix or another with the same total, are the same segment.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain as chained

from msgspec import Struct

from berry.pipeline.core.events import Completion, Until
from berry.pipeline.engines.synthetic.process import (
    FILLER,
    STEP_END_TEXT,
    Piece,
    PromptProcess,
    decode,
    text_of,
)
from berry.pipeline.engines.text.stopping import RegexStop
from berry.pipeline.records import Finish

_WORDS = [struct.Struct(f"<{n}Q") for n in range(9)]
_UNIT_PER_WORD = 2.0**-64


def uniform_draws(seed: int, n: int) -> list[float]:
    """n numbers in [0, 1] from the hash of a seed: Python's generator takes longer to be seeded than all else here."""
    if n <= 8:
        return [word * _UNIT_PER_WORD for word in _WORDS[n].unpack_from(blake2b(b"%d" % seed).digest())]
    blocks = [blake2b(b"%d/%d" % (seed, block)).digest() for block in range(-(-n // 8))]
    return [word * _UNIT_PER_WORD for block in blocks for word in _WORDS[8].unpack(block)][:n]


class SegmentSpec(Struct, frozen=True, gc=False):
    """Describes the segment to sample: it ends at `until` and after at most `room` tokens, comes with `entropies` or
    without, and names the engine and weights that made it."""

    until: Until
    room: int
    entropies: bool
    engine_id: str = ""
    weights_version: str = ""


class Continuations:
    """The segments that may follow a prefix of a chain; `position` is (finished steps, running total, tokens of the
    step begun), as `PromptProcess.position` gives it."""

    def __init__(self, chain: PromptProcess, position: tuple[int, int, Sequence[int]], spec: SegmentSpec) -> None:
        self.chain = chain
        self.spec = spec
        step, self.total, partial = position
        self.begun = len(partial)  # tokens of the step begun
        self.off_script = chain.off_script(partial)
        self.decided: tuple[int, ...] = ()  # the total after the step begun, where it is there already
        if step < chain.n_steps and partial and not self.off_script:
            self.begun, decided = chain.begun(step, self.total, partial)
            self.decided = () if decided is None else (decided,)
        at_start = step == self.begun == 0
        self.faults = chain.config.empty_rate + chain.config.endless_rate if at_start else 0.0
        one = STEP_END_TEXT in spec.until.delimiters
        self.steps = range(step, min(step + 1, chain.n_steps) if one else chain.n_steps)  # that may be part of it
        self._segments: dict[tuple[int, ...], Completion] = {}

    def draw(self, seed: int | None) -> Completion:
        """The segment of this seed; without a seed the likeliest."""
        faulty = self.faults > 0
        n = len(self.steps) + faulty
        chances = [0.5] * n if seed is None else uniform_draws(seed, n)
        if faulty and seed is not None and chances[-1] < self.faults:
            if chances[-1] < self.chain.config.empty_rate:
                return self._segment([], Finish.STOP)
            return self._segment([_endless(self.spec.room)], Finish.LENGTH)
        totals = self.chain.course(self.steps, self.total, chances, self.decided)
        segment = self._segments.get(totals)
        if segment is None:
            segment = self._segment(*self._pieces(totals))
            if self.chain.has_room():
                self._segments[totals] = segment
        return segment

    def _pieces(self, totals: tuple[int, ...]) -> tuple[list[Piece], Finish]:
        """Through these totals after each step, to the answer's end (STOP) if it is looked at and there is room."""
        if self.off_script:
            return [_endless(self.spec.room)], Finish.LENGTH
        chain, before, begun = self.chain, self.total, self.begun
        pieces: list[Piece] = []
        n = 0
        for step, after in zip(self.steps, totals, strict=True):
            pieces.append(chain.step(step, before, after).after(begun))
            before, begun = after, 0
            n += len(pieces[-1].tokens)
            if n > self.spec.room:
                return pieces, Finish.LENGTH
        if self.steps.stop < chain.n_steps:
            return pieces, Finish.LENGTH
        pieces.append(chain.answer(before).after(begun))
        return pieces, Finish.STOP

    def _segment(self, pieces: list[Piece], finish: Finish) -> Completion:
        """The pieces up to the first stop, or as far as there is room."""
        spec, until, room = self.spec, self.spec.until, self.spec.room
        tokens = tuple(chained.from_iterable([piece.tokens for piece in pieces]))
        text = "".join([piece.text for piece in pieces])
        n = len(tokens)
        ends: list[int] = []
        if n > room or until.token_ends or until.delimiters or until.regex is not None:
            ends = _ends(pieces)
            stop = _stop(text, tokens, ends, until)
            if stop is not None and (stop < n or finish is not Finish.STOP):
                n, finish = stop, Finish.STEP
            if n > room:
                n, finish = room, Finish.LENGTH
            if n < len(tokens):
                tokens, text = tokens[:n], text[: ends[n - 1]] if n else ""
        entropies = chained.from_iterable([piece.entropies for piece in pieces]) if spec.entropies else ()
        return Completion(
            token_ids=tokens,
            text=text,
            finish=finish,
            logprobs=tuple(chained.from_iterable([piece.logprobs for piece in pieces]))[:n],
            entropies=tuple(entropies)[:n],
            engine_id=spec.engine_id,
            weights_version=spec.weights_version,
            token_ends=tuple(ends[:n]) if until.token_ends else (),
        )


def continuations(chain: PromptProcess, response: Sequence[int], spec: SegmentSpec) -> Continuations:
    """What may follow `response`; kept with the chain for prefixes that end with a step."""
    position = step, total, partial = chain.position(response)
    if partial:
        return Continuations(chain, position, spec)
    return chain.kept((step, total, spec), lambda: Continuations(chain, position, spec))


def _ends(pieces: list[Piece]) -> list[int]:
    ends: list[int] = []
    before = 0
    for piece in pieces:
        ends.extend([before + end for end in piece.ends])
        before += len(piece.text)
    return ends


def _stop(text: str, tokens: tuple[int, ...], ends: list[int], until: Until) -> int | None:
    """Tokens up to and with the one that completes the first delimiter or match."""
    matches = [at + len(d) for d in until.delimiters if (at := text.find(d)) >= 0]
    stops = [bisect_left(ends, min(matches)) + 1] if matches else []
    if until.regex is not None:
        length = RegexStop(until.regex, decode).length(tokens)
        stops += [length] if length is not None else []
    return min(stops, default=None)


def _endless(room: int) -> Piece:
    n = max(room, 0) + 1
    return Piece((FILLER,) * n, (text_of(FILLER) or "") * n, (-0.02,) * n, (0.02,) * n)
