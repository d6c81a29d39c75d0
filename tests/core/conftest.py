"""A driver that plays engine, scorers and verifiers for one search, in any order of arrival.

search.start ─► commands ─► World answers ─► shuffled events ─► search.handle … until Finished
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from berry.pipeline.config.sections.rollout.environment import Environment
from berry.pipeline.config.sections.rollout.rollout import DelimiterStep, Rollout
from berry.pipeline.config.sections.rollout.tools import FencedCalls, LlamaCalls, PythonTool
from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.core import events as ev
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.search.registry import make_search
from berry.pipeline.core.tree import Tree
from berry.pipeline.engines.synthetic.draw import SegmentSpec, continuations
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.records import Finish
from berry.pipeline.stages.problems.synthetic import synthetic_problems
from berry.verifiers.base import Outcome, Reason, Verdict
from berry.verifiers.specs.union import MathSpec

PROMPT = (101, 102, 103)
STEP_TOKEN, STOP_TOKEN = 1, 2
OPEN_TOKEN, CLOSE_TOKEN, RESULT_TOKEN = 3, 4, 5

PASS = Verdict(Outcome.PASS, Reason.CORRECT, answer="1")
FAIL = Verdict(Outcome.FAIL, Reason.WRONG_ANSWER, answer="0")
UNSURE = Verdict(Outcome.UNVERIFIABLE, Reason.SANDBOX_FAULT)


def _completion(
    tokens: list[int], finish: Finish, until: ev.Until, rng: random.Random, names: dict[int, str]
) -> ev.Completion:
    """The segment of these tokens, cut at its limit, with entropies drawn for them."""
    if len(tokens) > until.max_tokens:
        tokens, finish = tokens[: until.max_tokens], Finish.LENGTH
    entropies = tuple(round(rng.random(), 6) for _ in tokens)
    texts = [names.get(t) or chr(87 + t) for t in tokens]
    return ev.Completion(
        token_ids=tuple(tokens),
        text="".join(texts),
        finish=finish,
        logprobs=tuple(-e for e in entropies),
        entropies=entropies,
        token_ends=tuple(accumulate(map(len, texts))) if until.token_ends else (),
    )


class World:
    """Answers by the content of what is asked alone (prefix, seed), so that the order changes nothing.

    A step is 3 tokens ending in STEP_TOKEN ("a b;"); `steps` of them, then an answer token and STOP_TOKEN. The
    second token of a step carries the entropy. A response passes if the sum of its tokens is even.
    """

    def __init__(self, steps: int = 3, fail_every: int = 0) -> None:
        self.steps = steps
        self.fail_every = fail_every

    def segment(self, prefix: list[int], until: ev.Until, seed: int) -> ev.Completion:
        rng = random.Random(f"{prefix}/{seed}")
        done = prefix[len(PROMPT) :]
        tokens: list[int] = []
        entropies: list[float] = []
        finish = Finish.LENGTH
        while len(tokens) < until.max_tokens:
            at = done + tokens
            if at.count(STEP_TOKEN) >= self.steps:
                last = bool(at) and at[-1] != STEP_TOKEN
                tokens.append(STOP_TOKEN if last else rng.randrange(10, 20))
                entropies.append(0.0 if last else 0.1)
                if last:
                    finish = Finish.STOP
                    break
                continue
            place = len(at) - (len(at) - 1 - at[::-1].index(STEP_TOKEN) + 1 if STEP_TOKEN in at else 0)
            tokens.append(STEP_TOKEN if place == 2 else rng.randrange(10, 20))
            entropies.append(round(rng.random(), 6) if place == 1 else 0.01)
            if place == 2 and until.delimiters not in ((), ("\n```\n",)):
                finish = Finish.STEP
                break
        ends = tuple(range(1, len(tokens) + 1)) if until.token_ends else ()
        return ev.Completion(
            token_ids=tuple(tokens),
            text="".join(";" if t == STEP_TOKEN else "." if t == STOP_TOKEN else chr(87 + t) for t in tokens),
            finish=finish,
            logprobs=tuple(-e for e in entropies),
            entropies=tuple(entropies),
            token_ends=ends,
        )

    def call(self, prefix: list[int], node: str) -> ev.Event:
        """The result of the call with which a prefix ends: two tokens that depend on the calls before it."""
        rng = random.Random(f"call{prefix}")
        tokens = (rng.randrange(20, 30), RESULT_TOKEN)
        return ev.Called(node, tokens, f"<{tokens[0]}>", str(tokens[0]))

    def turn(self, prefix: list[int], node: str) -> ev.Event:
        raise AssertionError(f"{node}: no environment was asked for")

    def verdict(self, response: list[int]) -> Verdict:
        return PASS if sum(response) % 2 == 0 else FAIL

    def score(self, prefix: list[int], model: str) -> float:
        return random.Random(f"{model}{prefix}").random()


class CallingWorld(World):
    """As World, but some steps are calls in place of text, and some end in what only looks like the end of one. What a
    response says after a call depends on the result. A response passes if the sum of its tokens is even."""

    TEXTS: ClassVar = {STEP_TOKEN: ";", STOP_TOKEN: ".", OPEN_TOKEN: "\n```python\n", CLOSE_TOKEN: "\n```\n"}

    def segment(self, prefix: list[int], until: ev.Until, seed: int) -> ev.Completion:
        rng = random.Random(f"{prefix}/{seed}")
        done = prefix[len(PROMPT) :]
        tokens: list[int] = []
        finish = Finish.LENGTH
        while len(tokens) < until.max_tokens:
            at = done + tokens
            steps = sum(token in (STEP_TOKEN, CLOSE_TOKEN) for token in at)
            if steps >= self.steps:
                last = bool(at) and at[-1] not in (STEP_TOKEN, CLOSE_TOKEN, RESULT_TOKEN)
                tokens.append(STOP_TOKEN if last else rng.randrange(10, 20))
                if last:
                    finish = Finish.STOP
                    break
                continue
            if at and at[-1] == OPEN_TOKEN:
                tokens += [rng.randrange(10, 20), CLOSE_TOKEN]
            else:
                kind = rng.random()
                if kind < 0.4:
                    tokens.append(OPEN_TOKEN)
                    continue
                tokens += [rng.randrange(10, 20), rng.randrange(10, 20), CLOSE_TOKEN if kind < 0.5 else STEP_TOKEN]
            if (";" in until.delimiters and tokens[-1] == STEP_TOKEN) or tokens[-1] == CLOSE_TOKEN:
                finish = Finish.STEP
                break
        return _completion(tokens, finish, until, rng, self.TEXTS)


class TurnWorld(World):
    """As World, but some turns are calls as Llama writes them, which the model itself ends."""

    TEXTS: ClassVar = {
        STEP_TOKEN: ";",
        STOP_TOKEN: ".",
        OPEN_TOKEN: '{"name": "python", "parameters": {"code": "',
        CLOSE_TOKEN: '"}}',
    }

    def segment(self, prefix: list[int], until: ev.Until, seed: int) -> ev.Completion:
        rng = random.Random(f"{prefix}/{seed}")
        done = prefix[len(PROMPT) :]
        tokens: list[int] = []
        finish = Finish.LENGTH
        while len(tokens) < until.max_tokens:
            at = done + tokens
            steps = sum(token in (STEP_TOKEN, CLOSE_TOKEN) for token in at)
            begins = not at or at[-1] == RESULT_TOKEN
            if OPEN_TOKEN in at[-2:]:
                tokens.append(rng.randrange(10, 20) if at[-1] == OPEN_TOKEN else CLOSE_TOKEN)
            elif begins and steps < self.steps and rng.random() < 0.8:
                tokens.append(OPEN_TOKEN)
            elif steps >= self.steps and not begins and at[-1] != STEP_TOKEN:
                tokens.append(STOP_TOKEN)
            else:
                tokens += [rng.randrange(10, 20), *([STEP_TOKEN] if steps < self.steps else [])]
            if tokens[-1] in (CLOSE_TOKEN, STOP_TOKEN):
                finish = Finish.STOP
                break
            if tokens[-1] == STEP_TOKEN and ";" in until.delimiters:
                finish = Finish.STEP
                break
        return _completion(tokens, finish, until, rng, self.TEXTS)


class EpisodicWorld(World):
    """As World, in episodes of up to three turns: what is said in a turn decides whether the environment goes on, and
    how it ends. It answers with two tokens; what a turn says depends on those before it."""

    def segment(self, prefix: list[int], until: ev.Until, seed: int) -> ev.Completion:
        done = prefix[len(PROMPT) :]
        turn = done[len(done) - done[::-1].index(RESULT_TOKEN) :] if RESULT_TOKEN in done else done
        return super().segment([*PROMPT, *turn], until, seed ^ hash(tuple(done)))

    def turn(self, prefix: list[int], node: str) -> ev.Event:
        chance = random.Random(f"turn{prefix}")
        if prefix.count(RESULT_TOKEN) >= 2 or chance.random() < 0.4:
            return ev.Verified(node, chance.choice([PASS, FAIL, UNSURE]))
        token = chance.randrange(20, 30)
        return ev.Called(node, (token, RESULT_TOKEN), f"<{token}>", str(token), role="user", turn=True)


class SyntheticWorld(World):
    """One problem of the synthetic engine: samples, verdicts and (noisy) true values as scores."""

    def __init__(self, index: int = 0, *, steps: int = 6, noise: float = 0.0, **config: Any) -> None:
        super().__init__()
        self.engine = Synthetic(SyntheticEngine(**config))
        problem = synthetic_problems(1, first=index, steps=(steps, steps))[0]
        assert isinstance(problem.verifier, MathSpec)
        self.prompt = self.engine.encode(problem.messages)
        self.chain = self.engine.chain(self.prompt)
        self.answer = problem.verifier.answer
        self.noise = noise

    def segment(self, prefix: list[int], until: ev.Until, seed: int) -> ev.Completion:
        response = prefix[len(self.prompt) :]
        return continuations(self.chain, response, SegmentSpec(until, until.max_tokens, entropies=True)).draw(seed)

    def verdict(self, response: list[int]) -> Verdict:
        return PASS if self.engine.decode(response).endswith(f"{{{self.answer}}}.") else FAIL

    def score(self, prefix: list[int], model: str) -> float:
        blur = random.Random(f"{model}{prefix}").gauss(0, self.noise)
        return min(1.0, max(0.0, self.chain.value(prefix[len(self.prompt) :]) + blur))

    def true_value(self, tree: Tree, node_id: str) -> float:
        return self.chain.value(tree.response_ids(node_id))


@dataclass
class Played:
    """What happened: the search, its commands and the events it was given."""

    search: Search
    commands: list[ev.Command] = field(default_factory=list)
    events: list[ev.Event] = field(default_factory=list)

    @property
    def generated(self) -> list[ev.Generate]:
        return [c for c in self.commands if isinstance(c, ev.Generate)]

    def leaves(self) -> dict[str, tuple[int, ...]]:
        return {t.leaf: tuple(self.search.tree.response_ids(t.leaf)) for t in self.search.trajectories()}


def play(
    search: Search,
    world: World,
    shuffle: random.Random | None = None,
    *,
    intercept: Callable[[ev.Event], ev.Event] | None = None,
    check: bool = True,
) -> Played:
    """Run a search to its end; `shuffle` picks which answer comes next (None: first asked, first answered).
    `intercept` may replace an answer. `check` looks at the tree after every event."""
    played = Played(search)
    waiting: list[ev.Event] = []
    stored = sum(len(node.tokens) for node in search.tree.walk())  # of a tree that is completed

    def take(commands: list[ev.Command]) -> None:
        played.commands.extend(commands)
        for command in commands:
            waiting.extend(answers(search, world, command))
            if isinstance(command, ev.Cancel):
                gone = [e for e in waiting if isinstance(e, ev.Segment) and e.parent == command.node]
                for event in gone:
                    waiting.remove(event)
                waiting.append(ev.Cancelled(command.node, tuple(e.index for e in gone), tokens=2 * len(gone)))

    take(search.start())
    while waiting:
        event = waiting.pop(0 if shuffle is None else shuffle.randrange(len(waiting)))
        if intercept is not None:
            event = intercept(event)
        played.events.append(event)
        take(search.handle(event))
        if check:
            search.tree.check_invariants()
    check_end(played, stored)
    return played


def answers(search: Search, world: World, command: ev.Command) -> Iterator[ev.Event]:
    tree = search.tree
    match command:
        case ev.Generate():
            prefix = tree.prefix_ids(command.node)
            for i in range(command.n):
                completion = world.segment(prefix, command.until, command.seed + i)
                yield ev.Segment(command.node, command.first_index + i, completion)
        case ev.Verify(node):
            yield ev.Verified(node, world.verdict(tree.response_ids(node)))
        case ev.Score(node, model):
            yield ev.Scored(node, world.score(tree.prefix_ids(node), model), model)
        case ev.CallTool(node):
            yield world.call(tree.prefix_ids(node), node)
        case ev.TakeTurn(node):
            yield world.turn(tree.prefix_ids(node), node)
        case ev.BudgetRequest(unspent, _):
            yield ev.BudgetGrant(unspent)


def check_end(played: Played, stored: int = 0) -> None:
    """What holds for every search that has ended; `stored`: tokens of the tree that it began with."""
    search = played.search
    assert search.finished is not None
    assert played.commands[-1] == ev.Finished(search.finished)
    assert sum(isinstance(c, ev.Finished) for c in played.commands) == 1
    assert not search.in_flight
    search.tree.check_invariants()
    seeds = [g.seed + i for g in played.generated for i in range(g.n)]
    assert len(seeds) == len(set(seeds))
    records = search.nodes()
    known: set[str] = set()
    for node in records:
        assert node.parent_id is None or node.parent_id in known
        known.add(node.node_id)
    by_id = {n.node_id: n for n in records}
    for t in search.trajectories():
        tokens = [token for node in t.path for token in by_id[node].token_ids]
        assert tokens == search.tree.response_ids(t.leaf)
        assert t.n_tokens == len(tokens)
    in_tree = sum(len(n.token_ids) for n in records[1:])
    given = search.ledger.extra["given"]
    assert in_tree == search.ledger.generated + given + stored == sum(t.n_new_tokens for t in search.trajectories())


class Core(SimpleNamespace):
    """What the tests of the core share: imported modules can't be, in importlib mode."""

    PROMPT = PROMPT
    STEP = DelimiterStep(delimiters=(";",))
    PASS, FAIL, UNSURE = PASS, FAIL, UNSURE
    World = World
    CallingWorld = CallingWorld
    TurnWorld = TurnWorld
    TURN_CALLS: ClassVar = {"tools": (PythonTool(),), "calls": LlamaCalls(max_calls=6)}
    EpisodicWorld = EpisodicWorld
    EPISODES: ClassVar = {"environment": Environment(target="own.py:Own", source="class Own:\n    pass\n")}
    CALLS: ClassVar = {"tools": (PythonTool(),), "calls": FencedCalls(max_calls=6)}
    SyntheticWorld = SyntheticWorld
    Played = Played
    play = staticmethod(play)

    @staticmethod
    def search(policy: Any, *, run_seed: int = 7, context_len: int = 1000, **rollout: Any) -> Search:
        """A search of the scripted world."""
        config = Rollout(policy=policy, **{"step": Core.STEP, **rollout})
        return make_search("p1", PROMPT, config, run_seed=run_seed, context_len=context_len)

    @staticmethod
    def synthetic(world: SyntheticWorld, policy: Any, *, run_seed: int = 7, **rollout: Any) -> Search:
        """A search of a synthetic problem, steps ending in blank lines."""
        config = Rollout(policy=policy, **rollout)
        return make_search("p1", world.prompt, config, run_seed=run_seed, context_len=4000)


@pytest.fixture(scope="session")
def core() -> type[Core]:
    return Core
