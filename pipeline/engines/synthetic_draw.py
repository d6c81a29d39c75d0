"""One sampled segment of the synthetic process.

chain, response so far, until, chance ─► draw ─► Completion
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import chain as chained

from pipeline.config.synthetic import SyntheticEngine
from pipeline.core.events import Completion, Until
from pipeline.engines.stopping import RegexStop
from pipeline.engines.synthetic_process import FILLER, NUMBER, Chain, Piece, text_of
from pipeline.records import Finish


def draw(
    chain: Chain,
    response: list[int],
    until: Until,
    *,
    room: int,
    chance: random.Random | None,
    entropies: bool,
    decode: Callable[[Sequence[int]], str],
    engine_id: str = "",
    weights_version: str = "",
) -> Completion:
    """What follows `response`, at most `room` tokens. Without `chance` the likeliest course."""
    if not response and _is_plain(until, chain.config):
        whole, finish = chain.whole(_totals(chain, chance)), Finish.STOP
        if len(whole.tokens) > room:
            whole, finish = whole.before(room), Finish.LENGTH
        return Completion(
            token_ids=whole.tokens,
            text=whole.text,
            finish=finish,
            logprobs=whole.logprobs,
            entropies=whole.entropies if entropies else (),
            engine_id=engine_id,
            weights_version=weights_version,
        )
    pieces, finish = _course(chain, response, until, room, chance)
    tokens = tuple(chained.from_iterable([piece.tokens for piece in pieces]))
    text = "".join([piece.text for piece in pieces])
    n = len(tokens)
    ends: list[int] = []
    if n > room or until.token_ends or until.delimiters or until.regex is not None:
        ends = _ends(pieces)
        stop = _stop(text, tokens, ends, until, decode)
        if stop is not None and (stop < n or finish is not Finish.STOP):
            n, finish = stop, Finish.STEP
        if n > room:
            n, finish = room, Finish.LENGTH
        if n < len(tokens):
            tokens, text = tokens[:n], text[: ends[n - 1]] if n else ""
    return Completion(
        token_ids=tokens,
        text=text,
        finish=finish,
        logprobs=tuple(chained.from_iterable([piece.logprobs for piece in pieces]))[:n],
        entropies=tuple(chained.from_iterable([piece.entropies for piece in pieces]))[:n] if entropies else (),
        engine_id=engine_id,
        weights_version=weights_version,
        token_ends=tuple(ends[:n]) if until.token_ends else (),
    )


def _is_plain(until: Until, config: SyntheticEngine) -> bool:
    """Whether a response drawn from its beginning ends with its answer and nowhere else."""
    stops = until.delimiters or until.regex is not None or until.token_ends
    return not stops and config.empty_rate == config.endless_rate == 0


def _totals(chain: Chain, chance: random.Random | None) -> tuple[int, ...]:
    total, totals = chain.totals[0], []
    for step in range(chain.n_steps):
        total = chain.next_total(step, total, chance)
        totals.append(total)
    return tuple(totals)


def _course(
    chain: Chain, response: list[int], until: Until, room: int, chance: random.Random | None
) -> tuple[list[Piece], Finish]:
    """From this prefix to the answer's end (STOP), or past the room or the first stop (LENGTH)."""
    config = chain.config
    if not response and chance is not None and config.empty_rate + config.endless_rate > 0:
        fault = chance.random()
        if fault < config.empty_rate:
            return [], Finish.STOP
        if fault < config.empty_rate + config.endless_rate:
            return [_endless(room)], Finish.LENGTH
    step, total, partial = chain.place(response)
    if chain.lost(partial):
        return [_endless(room)], Finish.LENGTH
    begun = len(partial)
    pieces: list[Piece] = []
    n = 0
    while step < chain.n_steps:
        if begun >= chain.decision(step):
            after = partial[chain.decision(step) - 1] - NUMBER
        else:
            after = chain.next_total(step, total, chance)
        piece = chain.step(step, total, after).after(begun)
        pieces.append(piece)
        n += len(piece.tokens)
        if n > room or (until.delimiters and any(d in piece.text for d in until.delimiters)):
            return pieces, Finish.LENGTH
        step, total, begun = step + 1, after, 0
    pieces.append(chain.answer(total).after(begun))
    return pieces, Finish.STOP


def _ends(pieces: list[Piece]) -> list[int]:
    ends: list[int] = []
    before = 0
    for piece in pieces:
        ends.extend([before + end for end in piece.ends])
        before += len(piece.text)
    return ends


def _stop(
    text: str, tokens: tuple[int, ...], ends: list[int], until: Until, decode: Callable[[Sequence[int]], str]
) -> int | None:
    """Tokens up to and with the one that completes the first delimiter or match."""
    found = [at + len(d) for d in until.delimiters if (at := text.find(d)) >= 0]
    stops = [bisect_left(ends, min(found)) + 1] if found else []
    if until.regex is not None:
        length = RegexStop(until.regex, decode).length(tokens)
        stops += [length] if length is not None else []
    return min(stops, default=None)


def _endless(room: int) -> Piece:
    n = max(room, 0) + 1
    return Piece((FILLER,) * n, (text_of(FILLER) or "") * n, (-0.02,) * n, (0.02,) * n)
