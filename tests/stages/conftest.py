"""Stored runs of the synthetic engine, made in this process in a second."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.assignment.modes import in_modes
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.stages.leases.partition import iter_leases
from berry.pipeline.stages.problems.sources import survey
from berry.pipeline.stages.rollout.commands.ports import Calling
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.run.directory import RunDir, open_run, prepare
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.checker import CheckRequest


async def _check(request: CheckRequest) -> Verdict:
    """The boxed number against the problem's: what the maths verifier does, without its worker."""
    said = request.response.rpartition("\\boxed{")[2].partition("}")[0]
    gold = getattr(request.spec, "answer", None)
    return verdict(Reason.CORRECT if said == gold else Reason.WRONG_ANSWER, answer=said)


class _Oracle:
    """A value model that knows: the exact value of every prefix."""

    def __init__(self, engine: Synthetic) -> None:
        self.engine = engine

    async def score(
        self, *, model: str, prompt_ids: list[int], response_ids: list[int], logprob: float | None = None
    ) -> float:
        del model
        return self.engine.true_value([*prompt_ids, *response_ids])

    def versions(self) -> dict[str, str]:
        return {"prm": "truth", "orm": "truth"}


@pytest.fixture(scope="session")
def runs_made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[Any, Path]]:
    """Where runs are made, and those that were, by all that makes them."""
    return tmp_path_factory.mktemp("stored"), {}


@pytest.fixture
def stored_run(tmp_path: Path, runs_made: tuple[Path, dict[Any, Path]]) -> Callable[..., RunDir]:
    """Makes a run, or copies the one that another test has made alike."""

    def make(
        name: str = "run",
        *,
        count: int = 24,
        policy: dict[str, Any] | None = None,
        rollout: dict[str, Any] | None = None,
        pruning: Sequence[dict[str, Any]] = ({"type": "verdict"},),
        end_scores: tuple[str, ...] = (),
        rewards: dict[str, Any] | None = None,
        rounds: int | None = None,
        check: Callable[[CheckRequest], Awaitable[Verdict]] = _check,
        call: Calling | None = None,
        **engine: Any,
    ) -> RunDir:
        raw = {
            "name": name,
            "problems": [{"type": "synthetic", "count": count, "seed": 9}],
            "engine": {"type": "synthetic", "filler_tokens": [0, 1], **engine},
            "rollout": {
                "policy": policy or {"type": "fixed", "branching": [3, 2, 2]},
                "step": {"type": "delimiter", "delimiters": ["\n\n"]},
                "sampling": {"max_tokens": 300},
                **(rollout or {}),
            },
            "pruning": list(pruning),
            "rewards": rewards,
            "rounds": rounds,
            "storage": {"lease_problems": 7},
        }
        folder, made = runs_made
        alike = (json.dumps(raw, default=repr), end_scores, check)
        if alike in made:
            return open_run(shutil.copytree(made[alike], tmp_path / name, dirs_exist_ok=False).as_posix())
        config = validate(raw, RunConfig, where="test")
        found = survey(config.problems, in_modes=partial(in_modes, config))
        versions = {"problems": {"count": found.count, "digest": found.digest}}
        run, _ = prepare(str(tmp_path / name), config, versions)

        async def work() -> None:
            synthetic = Synthetic(config.engine)  # type: ignore[arg-type]
            worker = LeaseWorker(config, run.location, synthetic, check, "test", end_scores=end_scores, call=call)
            worker.scorer = _Oracle(synthetic)
            size, modes = config.storage.lease_problems, partial(in_modes, config)
            for lease in iter_leases(config.problems, size=size, skip=(), in_modes=modes):
                await worker.run(lease)
            await worker.close()

        asyncio.run(work())
        made[alike] = folder / str(len(made))
        shutil.copytree(tmp_path / name, made[alike])
        return run

    return make
