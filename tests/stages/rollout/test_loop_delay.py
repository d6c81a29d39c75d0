"""Nothing heavy runs on the engine's event loop: how late it wakes is measured, and stays small with every rule on."""

from __future__ import annotations

import asyncio
import gc
import importlib
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.events import Completion
from berry.pipeline.engines.base import Request, Sample
from berry.pipeline.engines.scripted import Scripted
from berry.pipeline.garbage import freeze_what_is_loaded
from berry.pipeline.records import Finish, Problem
from berry.pipeline.stages.leases.lease import Lease
from berry.pipeline.stages.rollout.loop_delay import KEPT, POLL_S, LoopDelay
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.files import locate
from berry.verifiers.base import Verdict
from berry.verifiers.checker import CheckRequest
from berry.verifiers.inline import check_inline

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdgkmnprst"]
RULES = [
    {"type": "verdict"},
    {"type": "format", "must_match": ["boxed"]},
    {"type": "length", "min_tokens": 100},
    {"type": "orm", "at_least": 0.1},
    {"type": "prm", "at_least": 0.1},
    {"type": "difficulty", "low": 0.0, "high": 1.0},
    {"type": "exact_duplicate"},
    {"type": "near_duplicate"},
    {"type": "diversity", "per_cluster": 2},
    {"type": "shortest", "k": 1000},
]


class OwnDelay(LoopDelay):
    """Counts of each delay at most the CPU time that this process, all its threads, took meanwhile. The rest is the
    machine's: others had its cores, and no work of ours was in the loop's way."""

    async def watch(self, *, wanted: Callable[[], bool]) -> None:
        while wanted():
            began, computed_s = time.monotonic(), time.process_time()
            await asyncio.sleep(POLL_S)
            self.add(min(time.monotonic() - began - POLL_S, time.process_time() - computed_s))


@pytest.fixture
def rare_collections() -> Iterator[None]:
    """Collects garbage as a rollout actor does once everything is loaded."""
    importlib.import_module("datasketch")
    before = gc.get_threshold()
    gc.unfreeze()  # a run of an earlier test may have frozen what there was then, and no more
    freeze_what_is_loaded()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_a_loop_that_was_held_up_missed_looks_that_count() -> None:
    delay = LoopDelay()
    for _ in range(90):
        delay.add(0.0)
    delay.add(10 * POLL_S)
    assert delay.quantile(0.5) == 0.0
    assert delay.quantile(1.0) == pytest.approx(10 * POLL_S)
    assert delay.quantile(0.95) > 4 * POLL_S  # one look came late, nine never came


def test_a_minute_is_kept_however_long_one_delay_was() -> None:
    delay = LoopDelay()
    delay.add(3600.0)
    assert delay.quantile(0.0) >= 3600.0 - KEPT * POLL_S
    for _ in range(KEPT):
        delay.add(-0.001)
    assert delay.quantile(1.0) == 0.0


async def test_a_block_is_seen_and_a_sleep_is_none() -> None:
    delay = LoopDelay()
    end = asyncio.get_running_loop().time() + 0.4
    watching = asyncio.create_task(delay.watch(wanted=lambda: asyncio.get_running_loop().time() < end))
    await asyncio.sleep(0.1)
    time.sleep(0.2)
    await watching
    assert delay.quantile(1.0) > 0.1
    assert delay.quantile(0.2) < 0.1


@pytest.mark.parametrize("computes", [True, False], ids=["work on the loop", "a core that others have"])
async def test_of_a_delay_only_what_this_process_computed_is_its_own(computes: bool) -> None:
    delay = OwnDelay()
    end = time.monotonic() + 1.0
    watching = asyncio.create_task(delay.watch(wanted=lambda: time.monotonic() < end))
    await asyncio.sleep(0)
    began_s = time.process_time()
    if computes:
        while time.process_time() - began_s < 0.2:
            pass
    else:
        time.sleep(0.2)
    await watching
    assert (delay.quantile(1.0) > 0.15) is computes


class _Ready(Scripted):
    """Gives answers of 700 words, of which two share few, that are there already: what it takes to make them holds up
    nothing."""

    def __init__(self, count: int) -> None:
        super().__init__(lambda _messages, _seed: "")
        chance = random.Random(1)
        texts = [" ".join(chance.choices(WORDS, k=700)) + " \\boxed{42}" for _ in range(count)]
        ids = [tuple(text.encode()) for text in texts]
        self._ready = [
            Completion(one, text, Finish.STOP, (-0.5,) * len(one)) for one, text in zip(ids, texts, strict=True)
        ]

    async def generate(self, request: Request) -> AsyncIterator[Sample]:
        for index in range(request.n):
            await asyncio.sleep(0)
            yield Sample(index, self._ready.pop())


class _Half:
    """A value model that thinks the same of everything."""

    async def score(
        self, *, model: str, prompt_ids: list[int], response_ids: list[int], logprob: float | None = None
    ) -> float:
        del model, prompt_ids, response_ids, logprob
        await asyncio.sleep(0)
        return 0.5

    def versions(self) -> dict[str, str]:
        return {}


async def never(_: CheckRequest) -> Verdict:
    raise AssertionError("these problems are checked on the spot")


@pytest.mark.slow
@pytest.mark.usefixtures("rare_collections")
async def test_thousands_of_long_answers_hold_up_no_engine_with_every_rule_on(tmp_path: Path) -> None:
    config = RunConfig.model_validate(
        {
            "name": "long",
            "problems": [{"type": "synthetic", "count": 1}],
            "engine": {"type": "synthetic"},
            "rollout": {"policy": {"type": "best_of_n", "n": 2000}, "sampling": {"max_tokens": 8000}},
            "pruning": RULES,
            "rewards": {"prm": {"model": "none"}, "orm": {"model": "none"}},
        }
    )
    engine = _Ready(2000)
    await engine.start()
    here = partial(check_inline, strictness=config.verification.strictness)
    worker = LeaseWorker(config, locate(tmp_path), engine, never, "w", scorer=_Half(), verify_here=here)
    worker.end_scores = ("prm", "orm")
    worker._delay = OwnDelay()
    problem = Problem.model_validate({"id": "p", "prompt": "?", "verifier": {"type": "math", "answer": "42"}})
    report = await worker.run(Lease(0, (problem,)))
    assert report.trajectories == 2000
    assert 0 < report.kept <= 1000
    assert 0 < worker.snapshot().loop_delay_p99_s < 0.05
    await worker.close()
