"""Stored runs whose tokens are a real tokenizer's: what trainers and chat templates are tried on, without an engine."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.events import Completion
from berry.pipeline.engines import models
from berry.pipeline.engines.base import Counters, EngineInfo, Request, Sample
from berry.pipeline.engines.text.tokens import Tokens
from berry.pipeline.records import Finish, Message
from berry.pipeline.stages.leases.partition import iter_leases
from berry.pipeline.stages.problems.arithmetic import worked
from berry.pipeline.stages.problems.sources import survey
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.run.directory import RunDir, prepare
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.checker import CheckRequest
from tests.stages.export.hub_server import HubServer, hub_server

WRONG = 0.3  # share of lines with a wrong number
ENDS = (
    "{{ bos_token }}{% for m in messages %}{{ m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ eos_token }}{% else %}{{ '\\n' }}{% endif %}{% endfor %}"
)
"""The tiny model's own template leaves out the token that ends an answer; this one has it."""


class Clerk:
    """Works sums out line by line in a model's tokens, at times wrongly; see `engines.base.Engine`."""

    def __init__(self, tokens: Tokens, model: str) -> None:
        self._tokens = tokens
        self.info = EngineInfo("clerk-0", model, 256, 32, 16, template_hash=tokens.template_hash)

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def cancel(self, request_id: str) -> None:
        pass

    def counters(self) -> Counters:
        return Counters()

    def encode(self, messages: Sequence[Message]) -> list[int]:
        return self._tokens.encode(messages)

    def decode(self, token_ids: Sequence[int]) -> str:
        return self._tokens.decode(token_ids)

    def encode_text(self, text: str) -> list[int]:
        return self._tokens.encode_text(text)

    def encode_result(self, result: str, *, ended_by: int | None = None) -> list[int]:
        return self._tokens.encode_result(result, ended_by=ended_by)

    def encode_turn(self, role: str, content: str, last: int | None) -> list[int]:
        return self._tokens.encode_turn(role, content, last)

    async def generate(self, request: Request) -> AsyncIterator[Sample]:
        asked, _, said = self.decode(request.prompt_ids).partition("?\n")
        lines = worked(f"{asked}?").splitlines(keepends=True)
        for index in range(request.n):
            chance = random.Random(request.seed + index)
            text = ""
            for line in lines[said.count("\n") :]:
                wrong = chance.random() < WRONG
                text += f"{line.rstrip()}{chance.randrange(10)}{line[len(line.rstrip()) :]}" if wrong else line
                if request.until.delimiters:
                    break
            ended = not text.endswith("\n")
            ids = self._tokens.tokenizer.encode(text, add_special_tokens=False)
            ids += [self._tokens.tokenizer.eos_token_id] * ended
            yield Sample(
                index,
                Completion(
                    token_ids=tuple(ids),
                    text=text,
                    finish=Finish.STOP if ended else Finish.STEP,
                    logprobs=(-0.25,) * len(ids),
                    engine_id=self.info.engine_id,
                    weights_version="v0",
                ),
            )


async def _check(request: CheckRequest) -> Verdict:
    said = request.response.rpartition("\n")[2]
    gold = getattr(request.spec, "answer", None)
    return verdict(Reason.CORRECT if said == gold else Reason.WRONG_ANSWER, answer=said)


@pytest.fixture(scope="session")
def written_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunDir]:
    """written_run(name, count=…, engine={…}) -> a run of the tiny model's tokens that Clerk wrote; made once a name."""
    folder = tmp_path_factory.mktemp("written")
    made: dict[str, RunDir] = {}

    def make(name: str = "run", *, count: int = 12, engine: dict[str, Any] | None = None, **more: Any) -> RunDir:
        if name not in made:
            made[name] = _make(folder, name, count, engine or {}, more)
        return made[name]

    return make


def _make(folder: Path, name: str, count: int, engine: dict[str, Any], more: dict[str, Any]) -> RunDir:
    raw = {
        "name": name,
        "problems": [{"type": "arithmetic", "count": count, "seed": 4}],
        "engine": {"type": "vllm", "model": "tiny-arithmetic", "dtype": "float32", "max_model_len": 128, **engine},
        "rollout": {
            "policy": {"type": "fixed", "branching": [3, 2, 2, 1, 1]},
            "step": {"type": "delimiter", "delimiters": ["\n"]},
            "sampling": {"max_tokens": 64},
        },
        "pruning": [{"type": "verdict"}],
        **more,
    }
    config = validate(raw, RunConfig, where="test")
    found = survey(config.problems)
    run, _ = prepare(
        str(folder / name), config, {"problems": {"count": found.count, "digest": found.digest}, "berry": "test"}
    )

    async def work() -> None:
        tokens = Tokens(
            models.resolve(raw["engine"]["model"]),
            chat_template=raw["engine"].get("chat_template"),
            arguments=raw["engine"].get("template_args"),
        )
        worker = LeaseWorker(config, run.location, Clerk(tokens, "tiny-arithmetic"), _check, "test")
        for lease in iter_leases(config.problems, size=config.storage.lease_problems, skip=()):
            await worker.run(lease)
        await worker.close()

    asyncio.run(work())
    return run


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    constants = pytest.importorskip("huggingface_hub.constants", reason="huggingface_hub is not installed")
    with hub_server() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # a protocol of its own, which the server lacks
        monkeypatch.setenv("HF_TOKEN", "hf_of_the_tests")
        yield server
