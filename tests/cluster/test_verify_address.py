"""`berry verify --address` on a real Ray cluster of two nodes: one dies meanwhile, what freezes is replaced."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from berry.pipeline.runtime.cluster.standalone_sandboxes import sandboxes_at
from berry.verifiers.checker import CheckRequest
from berry.verifiers.config import CheckerConfig
from berry.verifiers.specs.code import Case, PythonFunctionSpec

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

MAJORITY = {"id": "m", "prompt": "?", "verifier": {"type": "majority", "confidence": 0.5}}


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_cluster_gives_every_verdict_though_a_node_dies(berry: Any, logical_nodes: Callable[..., Any]) -> None:
    nodes = logical_nodes(2, node={"num_cpus": 1})
    adds = {"type": "python_function", "entry_point": "f", "cases": [{"args": [1, 2], "expected": 3}]}
    problems = [{"id": "a", "prompt": "6*7?", "verifier": {"type": "math", "answer": "42"}}, MAJORITY]
    problems.append({"id": "f", "prompt": "Add.", "verifier": adds})
    answers = [
        ("a", "The answer is 42."),
        ("a", "The answer is 41."),
        *[("m", f"\\boxed{{{x}}}") for x in (5, 5, 5, 7)],
    ]
    slow = "import time\ndef f(a, b):\n    time.sleep(0.3)\n    return a {} b"
    answers += [("f", f"```python\n{slow.format('+' if i % 2 else '-')}\n```") for i in range(12)]
    given = write(berry.folder / "p.jsonl", problems)
    rows = write(berry.folder / "r.jsonl", [{"problem_id": p, "response": r} for p, r in answers])
    started = berry.start("verify", given, rows, "-o", "there.parquet", "--address", nodes.address)
    assert started.stdout is not None
    assert any("2 sandbox actor(s) of 2 slots" in line for line in iter(started.stdout.readline, ""))
    time.sleep(1.0)
    nodes.take(nodes.others[0])
    out, _ = started.communicate(timeout=180)
    assert started.returncode == 0, out
    there = pq.read_table(berry.folder / "there.parquet").to_pylist()
    assert [row["row"] for row in there] == list(range(len(answers)))
    assert [row["verdict"] for row in there[:6]] == ["pass", "fail", "pass", "pass", "pass", "fail"]
    assert [row["reason"] for row in there[6:]] == ["wrong_answer", "correct"] * 6


async def test_a_sandbox_actor_that_freezes_is_replaced_and_said(logical_nodes: Callable[..., Any]) -> None:
    nodes = logical_nodes(1, node={"num_cpus": 1})
    adds = PythonFunctionSpec(entry_point="f", cases=(Case(args=(1, 2), expected=3),))
    notes: list[str] = []
    async with sandboxes_at(nodes.address, CheckerConfig(), note=notes.append, stall_s=3.0) as there:
        (frozen,) = nodes.actors("SandboxActor")
        frozen.send_signal(signal.SIGSTOP)
        answer = "```python\ndef f(a, b):\n    return a + b\n```"
        verdict = await asyncio.wait_for(there.client.verify(CheckRequest("f", adds, answer, "Add.")), 90)
    assert verdict.passed
    assert len(notes) == 1
    assert "sandbox-0 made no progress for" in notes[0]


def test_a_cluster_that_is_not_there_is_named(berry: Any) -> None:
    given = write(berry.folder / "p.jsonl", [MAJORITY])
    rows = write(berry.folder / "r.jsonl", [{"problem_id": "m", "response": "5"}])
    code, out = berry.run("verify", given, rows, "-o", "o.parquet", "--address", "127.0.0.1:1")
    assert code != 0
    assert "127.0.0.1:1 can't be reached" in out
    assert "Traceback" not in out
