"""Which trainings a round waits for, and what becomes of them when one fails or a signal comes. Trainings end here when
a test says so; test_rounds.py has real ones."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import EngineError
from berry.pipeline.runtime.driver import overlapped_rounds
from berry.pipeline.runtime.driver.overlapped_rounds import OverlappedRounds
from berry.pipeline.stages.leases.partition import AllLeases
from berry.pipeline.storage.run.directory import RunDir, prepare


class Said:
    """A display that keeps what it was told."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.notes: list[str] = []

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


class Trainings:
    """Trainings that end when they are told to; `began` and `ended` have the rounds in order."""

    def __init__(self) -> None:
        self.began: list[int] = []
        self.ended: list[int] = []
        self.cancelled: list[int] = []
        self._may_end: dict[int, asyncio.Event] = {}
        self.failing: set[int] = set()

    def may_end(self, number: int) -> asyncio.Event:
        return self._may_end.setdefault(number, asyncio.Event())

    async def train(self, run: RunDir, number: int, *_: Any, **__: Any) -> bool:
        self.began.append(number)
        try:
            await self.may_end(number).wait()
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        if number in self.failing:
            raise EngineError("no memory")
        learned = {"engine": None, "rewards": {}, "passes": {}, "notes": []}
        run.location.put(f"round={number}/learned.json", json.dumps(learned).encode())
        self.ended.append(number)
        return True


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    made = Trainings()
    monkeypatch.setattr(overlapped_rounds, "train_after_round", made.train)
    return made


@pytest.fixture
def plan_of(tmp_path: Path, trainings: Trainings) -> Callable[..., OverlappedRounds]:
    del trainings

    def make(**rounds: Any) -> OverlappedRounds:
        raw = {
            "name": "r",
            "problems": [{"type": "synthetic", "count": 4}],
            "engine": {"type": "synthetic"},
            "rounds": {"count": 4, "overlap": True, **rounds},
            "cluster": {
                "nodes": {"host": {"cores": 2}},
                "roles": {"rollout": {"cpus": 1}, "sandbox": {"cpus": 0.5, "max": 1}, "train": {"cpus": 0.5}},
            },
        }
        config = validate(raw, RunConfig, where="test")
        run, _ = prepare(str(tmp_path / "r"), config, {"problems": {"count": 4}})
        return OverlappedRounds(run, config, AllLeases(run, config), total=1)

    return make


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_round_waits_for_the_training_that_its_weights_come_from_alone(
    plan_of: Callable[..., OverlappedRounds], trainings: Trainings
) -> None:
    plan, said = plan_of(), Said()
    assert await plan.end_round(0, said, None), "round 1 is made with what the configuration names"
    await turns()
    assert trainings.began == [0]
    before_round_2 = asyncio.create_task(plan.end_round(1, said, None))
    await turns()
    assert not before_round_2.done()
    assert said.phases == ["waiting for what is learned from round 0"]
    trainings.may_end(0).set()
    assert await before_round_2
    await turns()
    assert (trainings.ended, trainings.began) == ([0], [0, 1]), "one after the other"
    await plan.set_weights(2)
    trainings.may_end(1).set()
    assert await plan.end_round(2, said, None)
    after_the_last = asyncio.create_task(plan.finish(said))
    await turns()
    assert not after_the_last.done(), "it ends with the training on the last round but one"
    trainings.may_end(2).set()
    assert await after_the_last
    assert trainings.ended == [0, 1, 2]
    await plan.close()


async def test_two_trainings_may_be_behind(plan_of: Callable[..., OverlappedRounds], trainings: Trainings) -> None:
    plan, said = plan_of(max_staleness=2), Said()
    assert await plan.end_round(0, said, None)
    assert await plan.end_round(1, said, None)
    assert said.phases == []
    before_round_3 = asyncio.create_task(plan.end_round(2, said, None))
    await turns()
    assert not before_round_3.done()
    trainings.may_end(0).set()
    assert await before_round_3
    await plan.close()
    assert trainings.cancelled == [1], "what goes on is ended; what waits for it never began"


async def test_what_is_trained_already_is_not_trained_again(
    plan_of: Callable[..., OverlappedRounds], trainings: Trainings
) -> None:
    plan, said = plan_of(), Said()
    trainings.may_end(0).set()
    assert await plan.end_round(0, said, None)
    assert await plan.end_round(1, said, None)
    again = plan_of()
    assert await again.end_round(0, said, None)
    assert await again.end_round(1, said, None)
    await turns()
    assert trainings.began == [0, 1, 1], "of the training that was cut short alone"
    await plan.close()
    await again.close()


async def test_a_training_that_fails_is_told_at_once_and_ends_the_run_after_the_round(
    plan_of: Callable[..., OverlappedRounds], trainings: Trainings
) -> None:
    plan, said = plan_of(), Said()
    trainings.failing.add(0)
    assert await plan.end_round(0, said, None)
    trainings.may_end(0).set()
    await turns()
    [note] = [text for text in said.notes if text.startswith("note: ")]
    assert note == "note: learning from round 0 has failed: no memory; the run ends after this round"
    with pytest.raises(EngineError, match="no memory"):
        await plan.end_round(1, said, None)
    await plan.close()
    assert trainings.began == [0]
    assert len([text for text in said.notes if text.startswith("note: ")]) == 1


async def test_a_signal_ends_the_wait_and_then_the_training(
    plan_of: Callable[..., OverlappedRounds], trainings: Trainings
) -> None:
    plan, said = plan_of(), Said()
    assert await plan.end_round(0, said, None)
    waiting = asyncio.create_task(plan.end_round(1, said, None))
    await turns()
    os.kill(os.getpid(), signal.SIGTERM)
    assert not await waiting
    assert trainings.cancelled == []
    await plan.close()
    assert trainings.cancelled == [0]
    assert said.notes[-1] == "stopping; the training goes on from its last checkpoint in the next run"
