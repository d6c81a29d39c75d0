"""Defines the process behind the synthetic engine: two states, correct so far or wrong, and steps between them.

    prompt ─► Chain (its steps, error rates, true values) ─► step, answer (pieces of text) ─► draw
                └── value(prefix): the exact chance that a continuation ends in the right answer

With e_k the chance of an error at step k, r that of a repair, K steps, and V_K(right) = 1, V_K(wrong) = 0:

    V_k(right) = (1 - e_k) V_{k+1}(right) + e_k V_{k+1}(wrong)
    V_k(wrong) = r V_{k+1}(right) + (1 - r) V_{k+1}(wrong)

Where a tool computes a step (`call_share`), e_k and its r are 0: the tool's answer is what the step's total says.

A step is text: a running total, right or wrong by a small number. What happens at a step shows in one token, its
result, which therefore carries the step's entropy; before it the value is V_k, after it V_{k+1} of what came. Totals
only add and subtract, so that a wrong total stays wrong until repaired, and the state can be read off any prefix.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Hashable, Sequence
from itertools import accumulate, takewhile
from math import log, sqrt
from typing import Any, TypeVar

from msgspec import Struct

from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.core.seeds import digest

T = TypeVar("T")
NUMBER = 1000  # token id of the number 0
LARGEST = 9999  # one token a number up to here
SEGMENTS_KEPT = 512  # of one prompt
_WORDS = (
    *("<|system|>\n", "<|user|>\n", "<|assistant|>\n", "<|end|>\n"),
    *("Step ", ": ", " + ", " - ", " = ", "\n\n", "The answer is \\boxed{", "}."),
    *("so ", "now ", "then ", "next ", "here ", "we ", "get ", "thus "),
    *(" (doubtful)", " (sure)"),
)
_WORD_ID = {word: 256 + i for i, word in enumerate(_WORDS)}
ROLES = {role: _WORD_ID[f"<|{role}|>\n"] for role in ("system", "user", "assistant")}
END_OF_TURN = _WORD_ID["<|end|>\n"]
STEP_END_TEXT = "\n\n"
STEP_END = _WORD_ID[STEP_END_TEXT]
_STEP, _COLON, _EQUALS = _WORD_ID["Step "], _WORD_ID[": "], _WORD_ID[" = "]
_ANSWER, _CLOSE = _WORD_ID["The answer is \\boxed{"], _WORD_ID["}."]
_FILLER = tuple(_WORD_ID[word] for word in _WORDS[-10:-2])
_TELLS = (_WORD_ID[" (doubtful)"], _WORD_ID[" (sure)"])
FILLER = _FILLER[0]
_SLIPS = (-3, -2, -1, 1, 2, 3)
_Z99 = 2.3263478740408408  # standard normal quantile of 99%
_IDLE_NATS = 0.02  # of every token that decides nothing: its entropy and its surprisal
_PROBLEM = re.compile(r"Start with (\d{1,4})\. Then (.*?)\. What is the result\?", re.DOTALL)
_CHANGE = re.compile(r"(add|subtract) (\d{1,3})")


def text_of(token: int) -> str | None:
    """The text of a token; None for a byte, whose text depends on its neighbours."""
    if token < 256:
        return None
    return str(token - NUMBER) if token >= NUMBER else _WORDS[token - 256]


TEXTS = {256 + i: word for i, word in enumerate(_WORDS)} | {NUMBER + n: str(n) for n in range(LARGEST + 1)}
"""Of every token that is no byte."""
_BYTES = re.compile("[\x00-\xff]+")


def decode(token_ids: Sequence[int]) -> str:
    """The text of token ids."""
    try:
        return "".join(map(TEXTS.__getitem__, token_ids))
    except KeyError:
        return _with_bytes(token_ids)


def _with_bytes(token_ids: Sequence[int]) -> str:
    """Bytes that follow each other are one UTF-8 text."""
    ids = list(token_ids)
    parts: list[str] = []
    end = 0
    for run in _BYTES.finditer("".join(map(chr, ids))):
        parts.extend([text_of(token) or "" for token in ids[end : run.start()]])
        parts.append(bytes(ids[run.start() : run.end()]).decode(errors="replace"))
        end = run.end()
    parts.extend([text_of(token) or "" for token in ids[end:]])
    return "".join(parts)


class Piece(Struct, frozen=True, gc=False):
    """Consecutive tokens with their text, log-probabilities and entropies in nats."""

    tokens: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    entropies: tuple[float, ...]

    @property
    def ends(self) -> tuple[int, ...]:
        """Cumulative lengths of the tokens' texts; few ask for them."""
        return tuple(accumulate([len(text) for text in _texts(self.tokens)]))

    def after(self, n: int) -> Piece:
        """Without its first n tokens."""
        n = min(n, len(self.tokens))
        if n == 0:
            return self
        cut = self.ends[n - 1]
        return Piece(self.tokens[n:], self.text[cut:], self.logprobs[n:], self.entropies[n:])

    def before(self, n: int) -> Piece:
        """The piece that ends after the first n tokens."""
        text = self.text[: self.ends[n - 1]] if n else ""
        return Piece(self.tokens[:n], text, self.logprobs[:n], self.entropies[:n])


class PromptProcess:
    """One prompt's process. Prompts that are no synthetic problem get steps made up from their content."""

    def __init__(self, prompt: str, config: SyntheticEngine) -> None:
        self.config = config
        self._seed = digest("synthetic", prompt)
        chance = random.Random(int.from_bytes(self._seed, "big"))
        start, self.changes = _parse(prompt, chance)
        self.n_steps = len(self.changes)
        self.totals = [start]
        for change in self.changes:
            self.totals.append(self.totals[-1] + change)
        error = chance.uniform(*config.error_rate)
        self.repair = chance.uniform(*config.repair_rate)
        hard, easy = _spread(config.hard_share)
        self.errors = [min(0.95, error * (hard if chance.random() < config.hard_share else easy)) for _ in self.changes]
        self._filler = [
            tuple(chance.choice(_FILLER) for _ in range(chance.randint(*config.filler_tokens))) for _ in self.changes
        ]
        self.called = [False] * self.n_steps
        if config.call_share:
            draws = random.Random(self._seed + b"calls")
            self.called = [draws.random() < config.call_share for _ in self.changes]
            self.errors = [0.0 if call else error for call, error in zip(self.called, self.errors, strict=True)]
        self.right, self.wrong = self._values()
        self._pieces: dict[tuple[int, int, int], Piece] = {}
        self._kept: dict[Hashable, Any] = {}
        self.segments_kept = 0

    def _values(self) -> tuple[list[float], list[float]]:
        right, wrong = [1.0], [0.0]
        for error, called in zip(reversed(self.errors), reversed(self.called), strict=True):
            r, w = right[-1], wrong[-1]
            repair = 0.0 if called else self.repair
            right.append((1 - error) * r + error * w)
            wrong.append(repair * r + (1 - repair) * w)
        return right[::-1], wrong[::-1]

    # ---- truth ------------------------------------------------------------------------------------------------------

    def value(self, response: Sequence[int]) -> float:
        """Chance that the answer is right, given these tokens after the prompt. Exact for unlimited tokens at
        temperature 1 without the configured faults, which only a response's first token decides."""
        done, total, partial = self.position(response)
        if self.off_script(partial):
            return 0.0
        if done < self.n_steps:
            _, decided = self.begun(done, total, partial)
            if decided is not None:
                done, total = done + 1, decided
        fault = self.config.empty_rate + self.config.endless_rate if not response else 0.0
        return (1 - fault) * (self.right if total == self.totals[done] else self.wrong)[done]

    def position(self, response: Sequence[int]) -> tuple[int, int, Sequence[int]]:
        """(finished steps, running total, tokens of the step begun)."""
        done = min(response.count(STEP_END), self.n_steps)
        if not done:
            return 0, self.totals[0], response
        at = len(response) - 1
        while response[at] != STEP_END:
            at -= 1
        total = response[at - 2 if response[at - 1] in _TELLS else at - 1] - NUMBER
        return done, total if 0 <= total <= LARGEST else self.totals[done] + 1, response[at + 1 :]

    @staticmethod
    def off_script(partial: Sequence[int]) -> bool:
        """Whether this is no beginning of a step or an answer: a response that never ends, or foreign text."""
        return bool(partial) and partial[0] not in (_STEP, _ANSWER)

    def decision(self, step: int) -> int:
        """Tokens of a step up to and with its result, where no tool is asked for it."""
        return len(self._filler[step]) + 8

    def begun(self, step: int, total: int, partial: Sequence[int]) -> tuple[int, int | None]:
        """How many tokens of a step are its own, a tool's answer left out, and its result where it is decided."""
        if not self.called[step]:
            at = self.decision(step)
            return len(partial), partial[at - 1] - NUMBER if len(partial) >= at else None
        before = len(self._call(step, total))
        answer = list(takewhile(lambda token: token < 256, partial[before:]))
        if not answer:
            return len(partial), None
        numbers = re.findall(r"-?\d+", decode(answer))
        result = int(numbers[-1]) if numbers else -1
        own = len(partial) - len(answer)
        return own, result if 0 <= result <= LARGEST else self.totals[step + 1] + 1

    def _call(self, step: int, before: int) -> tuple[int, ...]:
        """A step's tokens up to and with its call."""
        change = self.changes[step]
        sleep = f"import time; time.sleep({self._call_s(step, before):.4f})\n" if self.config.call_mean_ms else ""
        code = f"\n```python\n{sleep}{before} {'+' if change > 0 else '-'} {abs(change)}\n```\n"
        return (_STEP, NUMBER + step + 1, _COLON, *self._filler[step], *code.encode())

    def _call_s(self, step: int, before: int) -> float:
        """How long a call sleeps, in s: lognormal, the same whenever it is made."""
        mean, p99 = self.config.call_mean_ms or 0.0, self.config.call_p99_ms
        tail = log(p99 / mean) if p99 else log(4.6)
        spread = _Z99 - sqrt(_Z99**2 - 2 * tail)
        chance = random.Random(self._seed + digest("call", step, before))
        return mean / 1e3 * chance.lognormvariate(-(spread**2) / 2, spread)

    # ---- pieces -----------------------------------------------------------------------------------------------------

    def step(self, step: int, before: int, after: int) -> Piece:
        """Step `step` from the total `before` to `after`."""
        key = (step, before, after)
        piece = self._pieces.get(key)
        if piece is None:
            change = self.changes[step]
            if self.called[step]:
                asked = self._call(step, before)
            else:
                terms = NUMBER + before, _WORD_ID[" + " if change > 0 else " - "], NUMBER + abs(change)
                asked = (_STEP, NUMBER + step + 1, _COLON, *self._filler[step], *terms)
            tokens = (*asked, _EQUALS, NUMBER + after, *self._tell(step, before, after), STEP_END)
            piece = self._pieces[key] = _piece(tokens, self._decided(step, before, after), at=len(asked) + 1)
        return piece

    def _tell(self, step: int, before: int, after: int) -> tuple[int, ...]:
        """What a step says of its own total: the same whenever it comes to this one from that one."""
        if not self.config.tell:
            return ()
        chance = random.Random(self._seed + digest("tell", step, before, after))
        told = chance.random() < self.config.tell
        return (_TELLS[after == self.totals[step + 1] if told else chance.random() < 0.5],)

    def answer(self, total: int) -> Piece:
        """The last segment of a chain whose running total is `total`: it states it as the answer."""
        key = (self.n_steps, total, total)
        piece = self._pieces.get(key)
        if piece is None:
            piece = self._pieces[key] = _piece((_ANSWER, NUMBER + total, _CLOSE), (-_IDLE_NATS, _IDLE_NATS), at=0)
        return piece

    def has_room(self) -> bool:
        """Whether one more segment may be kept; it is counted."""
        self.segments_kept += 1
        return self.segments_kept <= SEGMENTS_KEPT

    def kept(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gave for this key before; made anew where nothing is kept."""
        value = self._kept.get(key)
        if value is None:
            value = make()
            if self.has_room():
                self._kept[key] = value
        return value

    def forget(self) -> None:
        """Drops what is kept; it is made again when it is asked for."""
        self._kept.clear()
        self._pieces.clear()
        self.segments_kept = 0

    def course(
        self, steps: range, total: int, chances: Sequence[float], decided: Sequence[int] = ()
    ) -> tuple[int, ...]:
        """The running total after each of these steps, from `total` on; chances are uniform in [0, 1], and at 0.5
        the likeliest comes. `decided`: the first total, where it is decided already."""
        course: list[int] = []
        totals, errors = self.totals, self.errors
        for step, chance in zip(steps, chances, strict=False):
            right = totals[step + 1]
            if decided and not course:
                total = decided[0]
            elif total != totals[step]:
                repaired = chance < self.repair and not self.called[step]
                total = right if repaired else total + self.changes[step]
            elif chance >= errors[step]:
                total = right
            else:
                total = right + _SLIPS[int(chance / errors[step] * len(_SLIPS))]
            course.append(total)
        return tuple(course)

    def _decided(self, step: int, before: int, after: int) -> tuple[float, float]:
        """(log-probability, entropy) of the result token, in nats."""
        right = after == self.totals[step + 1]
        if self.called[step]:
            return -_IDLE_NATS, _IDLE_NATS
        if before != self.totals[step]:
            return _log(self.repair if right else 1 - self.repair), _entropy(self.repair)
        error = self.errors[step]
        logprob = _log(1 - error) if right else _log(error / len(_SLIPS))
        return logprob, _entropy(error) + error * log(len(_SLIPS))


def _piece(tokens: tuple[int, ...], decided: tuple[float, float], *, at: int) -> Piece:
    before, after = at, len(tokens) - at - 1
    logprobs = (*(-_IDLE_NATS,) * before, decided[0], *(-_IDLE_NATS,) * after)
    entropies = (*(_IDLE_NATS,) * before, decided[1], *(_IDLE_NATS,) * after)
    return Piece(tokens, "".join(_texts(tokens)), logprobs, entropies)


def _texts(tokens: Sequence[int]) -> list[str]:
    try:
        return [TEXTS[token] for token in tokens]
    except KeyError:
        return [text_of(token) or (chr(token) if token < 128 else "") for token in tokens]


def _spread(hard_share: float) -> tuple[float, float]:
    """Factors on the error rate of hard and of easy steps, with mean 1 over the shares."""
    if hard_share in (0.0, 1.0):
        return 1.0, 1.0
    easy = 1 / 3
    return (1 - (1 - hard_share) * easy) / hard_share, easy


def _log(p: float) -> float:
    return log(max(p, 1e-12))


def _entropy(p: float) -> float:
    return -(p * _log(p) + (1 - p) * _log(1 - p))


def _parse(prompt: str, chance: random.Random) -> tuple[int, list[int]]:
    problem = _PROBLEM.search(prompt)
    changes = [int(n) * (1 if word == "add" else -1) for word, n in _CHANGE.findall(problem[2])] if problem else []
    if problem and changes:
        return int(problem[1]), changes
    made_up = [chance.randint(1, 50) * chance.choice((-1, 1)) for _ in range(chance.randint(4, 8))]
    return chance.randint(4000, 6000), made_up
