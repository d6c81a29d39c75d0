"""Training in two processes, of which one is killed: the weights are those of one process that nobody disturbed,
whether each of the two holds them whole or a part."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from berry.pipeline.config.sections.rounds import SftTraining
from berry.pipeline.engines import models
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.errors import InputError, ResourceError
from berry.pipeline.rewards.policy.examples import PolicyTree, TreesInMemory, sequence
from berry.pipeline.rewards.training import processes
from berry.pipeline.runtime.cluster import train_together
from berry.pipeline.stages.problems import arithmetic

TINY = models.resolve("tiny-arithmetic")
SETTINGS = SftTraining(epochs=4, batch_size=8, learning_rate=5e-4, packing="always", shuffle_buffer=8)
SHARDINGS = ("none", "full")


def trees() -> list[PolicyTree]:
    speaks = vocabulary.of_folder(TINY)
    return [
        PolicyTree(
            problem.id,
            [
                sequence(
                    [1, *speaks.encode(f"{problem.prompt}\n")],
                    [*speaks.encode(arithmetic.worked(str(problem.prompt))), 2],
                )
            ],
        )
        for problem in arithmetic.draw(24, seed=5)
    ]


def train(work: str, tell: Any) -> dict[str, Any]:
    return {sharding: train_one(Path(work) / sharding, tell, sharding=sharding) for sharding in SHARDINGS}


def train_one(folder: Path, tell: Any, **changed: Any) -> dict[str, Any]:
    from berry.pipeline.rewards.policy.trainer import finetune

    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"pid-{processes.rank()}-of-{processes.count()}").write_text(str(os.getpid()))

    def slowly(share: float, text: str) -> None:
        tell(share, text)
        time.sleep(0.2)  # at each checkpoint, so that there is a middle to be killed in

    settings = SETTINGS.model_copy(update=changed)
    model, figures = finetune(TINY, TreesInMemory(trees()), settings, work=folder / "checkpoints", progress=slowly)
    if processes.rank() == 0:
        model.save_pretrained(folder / "trained")
    return asdict(figures)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForCausalLM.from_pretrained(folder).named_parameters())


@pytest.mark.slow
def test_two_processes_one_of_which_is_killed_train_the_weights_of_one(tmp_path: Path) -> None:
    work = tmp_path / "two"
    killed: dict[str, int] = {}

    def kill_the_second_in_each() -> None:
        for sharding in SHARDINGS:
            deadline = time.monotonic() + 240
            while not list((work / sharding).glob("checkpoints/checkpoint-*/whole.json")):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            killed[sharding] = int((work / sharding / "pid-1-of-2").read_text())
            os.kill(killed[sharding], signal.SIGKILL)

    killer = threading.Thread(target=kill_the_second_in_each, daemon=True)
    killer.start()
    told: list[float] = []
    given = {"work": work, "processes": 2, "key": "rounds.policy.processes", "address": None, "shared": False}
    work.mkdir()
    found = train_together.train_together(train, str(work), progress=lambda share, _: told.append(share), **given)
    killer.join()
    torch.set_num_threads(1)  # as Ray has it: threads that wait for one another crawl on a busy machine
    alone = train_one(tmp_path / "one", lambda *_: None)
    assert told[-1] == 1.0
    one, before = weights(tmp_path / "one/trained"), weights(Path(TINY))
    moved = max(float((one[name] - before[name]).detach().abs().max()) for name in one)
    for sharding in SHARDINGS:
        assert int((work / sharding / "pid-1-of-2").read_text()) != killed[sharding], "it was begun anew"
        assert found[sharding]["steps"] == alone["steps"] == 12
        assert found[sharding]["trained_tokens"] == alone["trained_tokens"], "each once, whatever was done again"
        two = weights(work / sharding / "trained")
        apart = max(float((one[name] - two[name]).detach().abs().max()) for name in one)
        assert apart < 1e-3 * moved, "rounding alone sets them apart"
    for whole in (work / "full").glob("checkpoints/checkpoint-*"):
        kept = weights(whole)
        assert {name: value.shape for name, value in kept.items()} == {name: one[name].shape for name in one}
        state = torch.load(whole / "optimizer.pt", weights_only=True)["state"]
        assert all(state[name]["exp_avg"].shape == value.shape for name, value in one.items()), "no process's part"


@pytest.mark.parametrize("has", [{"CPU": 2.0}, {"CPU": 64.0, "GPU": 1.0}], ids=["core", "GPU"])
def test_more_processes_than_the_cluster_holds_are_refused(has: dict[str, float], monkeypatch: Any) -> None:
    monkeypatch.setattr("ray.cluster_resources", lambda: has)
    kind, there = ("GPU", 1) if "GPU" in has else ("core", 2)
    with pytest.raises(ResourceError, match=f"rounds.policy.processes = 3: each process takes a {kind}.*has {there}"):
        train_together._check_room(3, "rounds.policy.processes")


def test_what_training_refuses_is_kept_and_not_tried_again(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("ray.train.get_context", lambda: SimpleNamespace(get_world_rank=lambda: 1))
    calls: list[Any] = []

    def refuse(job: str, tell: Any) -> dict[str, Any]:
        tell(0.5, "the first alone tells")
        calls.append(job)
        raise InputError(f"nothing to learn in {job}")

    given = {"train": refuse, "job": "two", "work": str(tmp_path)}
    with pytest.raises(InputError):
        train_together._worker(given)
    train_together._worker(given)  # begun anew, as Ray Train does after an error
    assert calls == ["two"]
    assert json.loads((tmp_path / "result.json").read_text()) == {
        "error": "nothing to learn in two",
        "kind": "InputError",
    }
    assert not (tmp_path / "progress.json").exists()
