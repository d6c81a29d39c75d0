"""The same problems and seeds through vLLM in the actor, `vllm serve` and SGLang's dialect: the same records."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.cluster]

MAX_MODEL_LEN = 127  # what a server of 128 leaves for prompt and response
VLLM = {
    "type": "vllm",
    "model": "tiny-arithmetic",
    "dtype": "float32",
    "max_model_len": MAX_MODEL_LEN + 1,
    "max_num_seqs": 32,
    "kv_cache_gib": 0.25,
    "threads": 1,
    "reproducible": True,
}
OF_THE_ENGINE = {"engine_id", "model", "verify_ms", "evidence"}  # who made it and how long a check took
TABLES = ("nodes", "trajectories", "kept")


def http(url: str, dialect: str) -> dict[str, Any]:
    return {
        "type": "http",
        "url": url,
        "dialect": dialect,
        "model": "tiny",
        "tokenizer": "tiny-arithmetic",
        "max_model_len": MAX_MODEL_LEN,
        "max_num_seqs": 32,
        "logprobs_mode": "processed_logprobs",
    }


def config(engine: dict[str, Any]) -> dict[str, Any]:
    return {
        "seed": 5,
        "problems": [{"type": "arithmetic", "count": 6, "seed": 9}],
        "engine": engine,
        "rollout": {
            "policy": {"type": "fixed", "branching": [3, 2]},
            "step": {"type": "delimiter", "delimiters": ["\n"]},
            "sampling": {"temperature": 1.0, "max_tokens": 100},
        },
        "pruning": [{"type": "verdict"}],
        "report": False,
    }


def rows(run: Path, table: str) -> list[dict[str, Any]]:
    """A table of a run in the order of its problems, without what is of the engine alone."""
    (shard,) = (run / "round=0" / table).glob("*.parquet")
    found = pq.read_table(shard).to_pylist()
    for row in found:
        for name in OF_THE_ENGINE & row.keys():
            del row[name]
        for segment in row.get("segments") or ():
            del segment["engine_id"]
    return sorted(found, key=lambda row: (row["problem_id"], row.get("node", row.get("leaf"))))


def without_logprobs(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in ("logprobs", "logprob_sum")}


@pytest.mark.timeout(900)
def test_three_ways_to_one_model_give_the_same_records(
    tmp_path: Path, start_berry: Callable[..., Any], server_url: str, sglang_url: str
):
    ways = {"actor": VLLM, "serve": http(server_url, "vllm"), "sglang": http(sglang_url, "sglang")}
    for name, engine in ways.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(config(engine)))
        process = start_berry(tmp_path, "run", str(path), env=dict(os.environ))
        out, _ = process.communicate(timeout=280)
        assert process.returncode == 0, out
    for table in TABLES:
        expected = rows(tmp_path / "runs/actor", table)
        assert expected
        for name in ("serve", "sglang"):
            found = rows(tmp_path / "runs" / name, table)
            assert [without_logprobs(row) for row in found] == [without_logprobs(row) for row in expected], (
                name,
                table,
            )
            for row, wanted in zip(found, expected, strict=True):
                assert np.allclose(row.get("logprobs") or [], wanted.get("logprobs") or [], atol=1e-4), (name, table)
