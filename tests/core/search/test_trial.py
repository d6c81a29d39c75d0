"""Trees grown on made-up answers are as large as those of the synthetic engine, for every policy."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import lru_cache
from statistics import mean, pvariance
from typing import Any, NamedTuple

import pytest

from berry.pipeline.config.sections.rollout.policies import POLICIES, PolicyConfig
from berry.pipeline.config.sections.rollout.rollout import Rollout, SamplingConfig
from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.core import events as ev
from berry.pipeline.core.search import trial
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.search.policies.beam import Beam
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.policies.entropy import Entropy
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.search.policies.mcts import Mcts
from berry.pipeline.core.search.policies.shepherd import Shepherd
from berry.pipeline.core.search.policies.value import ValueGuided
from berry.pipeline.core.search.registry import make_search
from berry.pipeline.core.search.trial import Lengths, tree_shape
from berry.pipeline.engines.base import Request
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.records import Problem
from berry.pipeline.stages.problems.synthetic import synthetic_problems
from berry.verifiers.base import Outcome, Reason, Verdict
from berry.verifiers.specs.union import MathSpec

PROBLEMS = 24
BLOCK = 16
NAMES = ["best_of_n", "fixed", "entropy", "value", "beam", "dvts", "mcts", "shepherd", "omega"]

# How far a plan may be off what the engine does: leaves, generated tokens, requests, tokens read beside the cache. What
# the synthetic engine does otherwise than the trial assumes: its uncertain tokens come early (entropy), errors are
# undone and come at hard steps (value, omega), its last step is shorter than the others (shepherd).
TOLERANCE: dict[str, tuple[float, float, float, float]] = {
    "best_of_n": (0.0, 0.05, 0.0, 0.15),
    "fixed": (0.01, 0.05, 0.01, 0.15),
    "entropy": (0.0, 0.25, 0.0, 0.15),
    "value": (0.3, 0.25, 0.25, 0.25),
    "beam": (0.1, 0.05, 0.15, 0.15),
    "dvts": (0.1, 0.05, 0.15, 0.15),
    "mcts": (0.0, 0.1, 0.0, 0.15),
    "shepherd": (0.15, 0.25, 0.15, 0.15),
    "omega": (0.3, 0.65, 0.3, 0.15),
}


class Grown(NamedTuple):
    leaves: float
    generated: float
    requests: float
    read: float


async def grow(engine: Synthetic, problem: Problem, policy: PolicyConfig) -> tuple[Search[Any], int]:
    """One problem's search on the engine itself; the search, and how many requests it made."""
    assert isinstance(problem.verifier, MathSpec)
    answer = problem.verifier.answer
    prompt = engine.encode(problem.messages)
    rollout = Rollout(policy=policy, sampling=SamplingConfig(max_tokens=2000))
    search = make_search(problem.id, prompt, rollout, run_seed=3, context_len=4000)
    waiting: deque[ev.Event] = deque()
    requests = 0

    async def take(commands: list[ev.Command]) -> None:
        nonlocal requests
        for c in commands:
            match c:
                case ev.Generate():
                    requests += 1
                    request = Request(
                        request_id=f"{c.node}/{c.first_index}",
                        prompt_ids=tuple(search.tree.prefix_ids(c.node)),
                        n=c.n,
                        until=c.until,
                        sampling=c.sampling,
                        seed=c.seed,
                        priority=c.priority,
                    )
                    async for sample in engine.generate(request):
                        waiting.append(ev.Segment(c.node, c.first_index + sample.index, sample.completion))
                case ev.Verify(node):
                    text = engine.decode(search.tree.response_ids(node))
                    right = text.endswith(f"{{{answer}}}.")
                    outcome = (Outcome.PASS, Reason.CORRECT) if right else (Outcome.FAIL, Reason.WRONG_ANSWER)
                    waiting.append(ev.Verified(node, Verdict(*outcome)))
                case ev.Score(node, model):
                    value = engine.true_value(search.tree.prefix_ids(node))
                    waiting.append(ev.Scored(node, value, model))
                case _:
                    pass

    await take(search.start())
    while waiting:
        await take(search.handle(waiting.popleft()))
    assert search.finished is not None
    return search, requests


@lru_cache
def problems(steps: tuple[int, int]) -> tuple[Problem, ...]:
    return tuple(synthetic_problems(PROBLEMS, steps=steps))


def engine_does(policy: PolicyConfig, steps: tuple[int, int]) -> tuple[Grown, list[list[tuple[int, bool]]], float]:
    """Means a problem on the synthetic engine; of each problem the lengths and verdicts; tokens a prompt."""
    engine = Synthetic(SyntheticEngine(block_size=BLOCK))
    leaves = generated = requests = prompt = 0
    by_problem: list[list[tuple[int, bool]]] = []
    for problem in problems(steps):
        search, asked = asyncio.run(grow(engine, problem, policy))
        ended = [(t.n_tokens, t.verdict.passed) for t in search.trajectories() if t.verdict is not None]
        by_problem.append(ended)
        leaves += len(ended)
        generated += search.ledger.generated
        requests += asked
        prompt += len(search.tree.prompt_ids)
    counters = engine.counters()
    read = counters.prompt_tokens - counters.cached_tokens
    return Grown(*(x / PROBLEMS for x in (leaves, generated, requests, read))), by_problem, prompt / PROBLEMS


@lru_cache
def lengths(steps: tuple[int, int]) -> tuple[Lengths, float]:
    """What 16 independent samples of each problem show of the answers."""
    grown, by_problem, prompt = engine_does(BestOfN(n=16), steps)
    output = grown.generated / 16
    everyone = [n for ended in by_problem for n, _ in ended]
    own = mean(pvariance([n for n, _ in ended]) for ended in by_problem)
    rates = [mean(passed for _, passed in ended) for ended in by_problem]
    rate = mean(rates)
    between = pvariance(rates) / (rate * (1 - rate))
    return (
        Lengths(
            output=output,
            output_scv=pvariance(everyone) / output**2,
            step=output / (sum(steps) / 2 + 1),  # the answer is a step too
            pass_rate=rate,
            within=own / pvariance(everyone),
            alike=max(0.0, (16 * between - 1) / 15),
        ),
        prompt,
    )


@pytest.mark.parametrize("steps", [(6, 6), (4, 16)], ids=["alike", "short and long"])
@pytest.mark.parametrize("name", NAMES)
def test_a_trial_tells_what_the_engine_will_do(name: str, steps: tuple[int, int]) -> None:
    policy = POLICIES.get(name).config()
    does, _, prompt = engine_does(policy, steps)
    known, _ = lengths(steps)
    told = tree_shape(policy, known)
    foretold = Grown(told.leaves, told.generated, told.requests, prompt + told.requests * (BLOCK + 1) / 2)
    for what, tolerance in zip(Grown._fields, TOLERANCE[name], strict=True):
        assert getattr(foretold, what) == pytest.approx(getattr(does, what), rel=tolerance + 1e-9), what


EQUAL = Lengths(output=400, output_scv=0, step=100, pass_rate=0.5)


def test_without_spread_trees_are_as_counted_by_hand() -> None:
    samples = tree_shape(BestOfN(n=8), EQUAL)
    assert (samples.leaves, samples.generated, samples.sequences) == (8, 8 * 400, 8)
    assert (samples.running, samples.behind, samples.distinct) == (8, 200, 8 * 200)
    fixed = tree_shape(Fixed(branching=(4, 2, 2)), EQUAL)
    assert (fixed.leaves, fixed.sequences) == (16, 4 + 8 + 16)
    assert fixed.generated == 4 * 100 + 8 * 100 + 16 * 200
    assert fixed.independent == 16 * 400
    beam = tree_shape(Beam(beams=2, width=3, spare=0), EQUAL)
    assert (beam.leaves, beam.generated) == (6, 4 * 6 * 100)
    shepherd = tree_shape(Shepherd(chains=1, completions=8), EQUAL)
    assert (shepherd.leaves, shepherd.generated) == (1 + 3 * 8, 400 + 8 * (300 + 200 + 100))


def test_simulations_run_a_few_at_a_time_from_cached_prefixes() -> None:
    tree = tree_shape(Mcts(simulations=24, parallel=3), EQUAL)
    assert tree.leaves == 24
    assert 2.5 < tree.running <= 3
    assert tree.generated < tree.independent
    assert tree.starts > 0


def test_a_scorer_that_sees_no_hope_saves_tokens() -> None:
    hopeful = tree_shape(ValueGuided(spare=0), Lengths(output=400, output_scv=0, step=100, pass_rate=1.0))
    hopeless = tree_shape(ValueGuided(spare=0), Lengths(output=400, output_scv=0, step=100, pass_rate=0.0))
    assert hopeful.leaves == 8  # nothing is uncertain: both waves of 4 chains run through
    assert hopeless.leaves < 1
    assert hopeless.generated <= hopeful.generated / 4


def test_mean_lengths_come_out_and_spread_within_a_problem_lets_siblings_end_apart() -> None:
    apart = tree_shape(BestOfN(n=8), Lengths(output=1500, output_scv=1.0, step=64, pass_rate=0.5, within=1.0))
    together = tree_shape(BestOfN(n=8), Lengths(output=1500, output_scv=1.0, step=64, pass_rate=0.5, within=0.0))
    for tree in (apart, together):
        assert tree.generated == pytest.approx(8 * 1500, rel=0.1)
    assert together.running == pytest.approx(8, rel=0.05)
    assert apart.running < 5


def test_more_steps_than_a_trial_has_are_scaled() -> None:
    long = Lengths(output=64_000, output_scv=0, step=100, pass_rate=0.5, max_depth=1000)
    beam = tree_shape(Beam(beams=2, width=2, spare=0), long)
    assert beam.sequences == pytest.approx(4 * 640, rel=0.01)
    assert beam.generated == pytest.approx(4 * 64_000, rel=0.01)


def test_the_same_lengths_give_the_same_shape_again() -> None:
    known = Lengths(output=300, output_scv=0.5, step=40, pass_rate=0.3)
    first = tree_shape(Entropy(), known)
    trial._tried.cache_clear()
    assert tree_shape(Entropy(), known) == first
