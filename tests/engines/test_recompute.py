"""A replica with one wrong weight is found by computing log-probabilities again. On the tiny model, with real vLLM.

One engine stands for three replicas in turn: healthy, healthy, and with one weight of one layer changed.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.engine import Recompute
from berry.pipeline.core.events import Sampling
from berry.pipeline.engines.vllm.engine import Vllm
from berry.pipeline.records import TokenLedger
from berry.pipeline.runtime.monitoring.logprob_audit import LogprobAudit
from berry.pipeline.runtime.scripted import ScriptedWorker
from berry.pipeline.stages.leases.lease import Lease, LeaseReport
from berry.pipeline.stages.problems.arithmetic import draw
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.run.directory import RunDir
from berry.verifiers.base import Outcome, Reason, Verdict

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow, pytest.mark.engine]

RAW: dict[str, Any] = {
    "name": "t",
    "problems": [{"type": "arithmetic", "count": 1}],
    "engine": {"type": "vllm", "model": "tiny-arithmetic", "dtype": "float32", "max_model_len": 128},
    "rollout": {
        "policy": {"type": "fixed", "branching": [2]},
        "step": {"type": "delimiter", "delimiters": ["\n"]},
        "sampling": {"max_tokens": 64},
    },
    "recompute": {"share": 1.0},
}


def one_wrong_weight(healthy: Path, folder: Path) -> str:
    """One number of one matrix, far from what was learnt, as a damaged memory or file would leave it."""
    shutil.copytree(healthy, folder)
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][7, 11] += 64.0
    safetensors.torch.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


class AsReplica(ScriptedWorker):
    """The shared engine under the name, and with the weights, of one replica."""

    def __init__(self, worker_id: str, engine: Vllm, turn: asyncio.Lock, become: Callable[[], Awaitable[None]]) -> None:
        super().__init__(worker_id)
        self._engine = engine
        self._turn = turn  # one replica at a time: the engine can't be two of them at once
        self._become = become

    async def logprobs(self, prompt_ids: list[int], response_ids: list[int]) -> tuple[str, list[float]]:
        async with self._turn:
            await self._become()
            return "v0", await self._engine.logprobs(prompt_ids, response_ids, Sampling())


async def test_a_replica_with_one_wrong_weight_is_found_and_fenced(
    vllm_engine: Vllm, tiny_folder: Path, tmp_path: Path
) -> None:
    config = validate(RAW, RunConfig, where="test")
    run = RunDir(locate(tmp_path / "run"))
    folders = {name: str(tiny_folder) for name in ("a", "b")} | {"c": one_wrong_weight(tiny_folder, tmp_path / "bad")}
    now = str(tiny_folder)
    own_name = vllm_engine.info.engine_id

    async def become(name: str) -> None:
        nonlocal now
        if folders[name] != now:
            now = folders[name]
            await vllm_engine.load_weights(now, "v0")
        vllm_engine._info = replace(vllm_engine.info, engine_id=name)

    async def verify(_: Any) -> Verdict:
        return Verdict(Outcome.PASS, Reason.CORRECT, None, {}, 0.0)

    turn = asyncio.Lock()
    replicas = [AsReplica(name, vllm_engine, turn, lambda name=name: become(name)) for name in folders]
    said: list[str] = []
    fenced: list[str] = []
    recomputing = LogprobAudit(
        Recompute(share=1.0, min_samples=4),
        run,
        replicas,
        round_index=0,
        alarm=said.append,
        fence=lambda name: fenced.append(name) is None,
    )
    problems = list(draw(12, seed=5))
    try:
        for lease, name in enumerate(folders):
            await become(name)
            worker = LeaseWorker(config, run.location, vllm_engine, verify, name)
            report = await worker.run(Lease(lease, tuple(problems[4 * lease : 4 * lease + 4])))
            await recomputing._audit(report)
        figures = recomputing.figures()
        assert figures["suspects"] == ["c"]
        assert figures["decided"]
        assert fenced == ["c"]
        assert len(said) == 1
        assert said[0].startswith("ALARM: c gives other log-probabilities")
        assert (run.metrics("recompute") or {})["fenced"] == ["c"]
        healthy = next(p for p in figures["pairs"] if (p["a"], p["b"]) == ("a", "b"))
        assert not healthy["disagrees"]
        assert healthy["worst"]["nats"] < 1e-3
    finally:
        await become("a")
        vllm_engine._info = replace(vllm_engine.info, engine_id=own_name)


async def test_a_lease_that_can_not_be_read_is_left_out(tmp_path: Path) -> None:
    run = RunDir(locate(tmp_path))
    recomputing = LogprobAudit(
        Recompute(share=1.0), run, [], round_index=0, alarm=lambda _: None, fence=lambda _: False
    )
    recomputing.submit(LeaseReport(0, "a", 1, 1, 1, 1, {}, TokenLedger(), 1.0))
    task = asyncio.create_task(recomputing.work())
    await recomputing.drain()
    task.cancel()
    assert recomputing.figures()["samples"] == 0
