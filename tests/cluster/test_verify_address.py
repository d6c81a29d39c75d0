"""`berry verify --address` on a real Ray cluster of two nodes, of which one dies meanwhile."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

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


def test_a_cluster_that_is_not_there_is_named(berry: Any) -> None:
    given = write(berry.folder / "p.jsonl", [MAJORITY])
    rows = write(berry.folder / "r.jsonl", [{"problem_id": "m", "response": "5"}])
    code, out = berry.run("verify", given, rows, "-o", "o.parquet", "--address", "127.0.0.1:1")
    assert code != 0
    assert "127.0.0.1:1 can't be reached" in out
    assert "Traceback" not in out
