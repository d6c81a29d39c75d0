"""For the tests of variants: a script for the engine, and one call of the stage with everything it wrote."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from berry.pipeline.config.run import RunConfig
from berry.pipeline.engines.scripted import Scripted
from berry.pipeline.records import Problem
from berry.pipeline.stages.problems.files import read_problems
from berry.pipeline.stages.variants.make import make, prepare
from berry.pipeline.stages.variants.merge import Summary
from berry.verifiers.checker import Checker
from berry.verifiers.config import CheckerConfig


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_checker() -> AsyncIterator[Checker]:
    async with Checker(CheckerConfig(slots=1, cpu_s=2, wall_s=20)) as checker:
        yield checker


@dataclass
class Speaker:
    """A script for the engine: what it writes when asked for a draft or a program, and how it answers a problem.

    `drafts` by kind and `programs` are taken in turn, again from the front when they are used up. `answers` are
    (what the problem's text contains, {answer: weight}); the answers come in exactly these shares."""

    answers: list[tuple[str, dict[str, int]]] = field(default_factory=list)
    drafts: dict[str, list[str]] = field(default_factory=dict)
    programs: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    fail_after: int | None = None

    def __call__(self, messages: list[dict[str, str]], seed: int) -> str:
        text = messages[-1]["content"]
        order = self._order(text)
        self.asked.append(order)
        if self.fail_after is not None and len(self.asked) > self.fail_after:
            raise ConnectionError("the engine is gone")
        turn = self.asked.count(order) - 1
        if order == "numbers":
            return f"Here it is.\n```python\n{self.programs[turn % len(self.programs)]}\n```"
        if order != "answer":
            return self.drafts[order][turn % len(self.drafts[order])]
        weights = next((weights for part, weights in self.answers if part in text), {"no idea": 1})
        spread = [answer for answer, weight in weights.items() for _ in range(weight)]
        return spread[seed % len(spread)]

    @staticmethod
    def _order(text: str) -> str:
        orders = {"rephrase": "in other words", "harder": "clearly harder", "easier": "clearly easier"}
        for name, words in orders.items():
            if words in text and "<problem>" in text:
                return name
        return "numbers" if "Write a Python function solve(" in text else "answer"


@dataclass
class VariantsRun:
    """What one call wrote."""

    problems: list[Problem]
    refused: list[dict[str, Any]]
    summary: Summary

    @property
    def variants(self) -> list[Problem]:
        return [p for p in self.problems if p.variant_of is not None]

    @property
    def reasons(self) -> list[str]:
        return [row["reason"] for row in self.refused]


@pytest.fixture
def speaker() -> Speaker:
    return Speaker()


@pytest.fixture
def vary(tmp_path: Path, speaker: Speaker, shared_checker: Checker) -> Callable[..., Any]:
    """`await vary(problems, *kinds, **variants)`: problems are rows of a file, or sources."""

    async def run(
        problems: list[dict[str, Any]], *kinds: dict[str, Any], overwrite: bool = True, **more: Any
    ) -> VariantsRun:
        rows = [p for p in problems if "prompt" in p]
        sources = [p for p in problems if "prompt" not in p]
        if rows:
            path = tmp_path / "problems.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            sources.insert(0, {"type": "file", "path": str(path)})
        variants = {"kinds": list(kinds), "samples": 8, **more}
        config = RunConfig.model_validate(
            {"name": "v", "problems": sources, "engine": {"type": "synthetic"}, "variants": variants}
        )
        out = tmp_path / "out.jsonl"
        engine = Scripted(speaker)
        await engine.start()
        summary = await make(prepare(config, str(out), overwrite=overwrite), engine, shared_checker)
        refused = [json.loads(line) for line in (tmp_path / "out.refused.jsonl").read_text().splitlines()]
        return VariantsRun(read_problems(str(out)), refused, summary)

    return run


@pytest.fixture
def sum_problem() -> dict[str, Any]:
    return {
        "id": "apples",
        "prompt": "Ann has 12 apples and buys 7 more. How many apples has she now?",
        "verifier": {"type": "math", "answer": "19"},
        "source": "tests",
    }
