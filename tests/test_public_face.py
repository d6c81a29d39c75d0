"""The names of `berry` itself: what their examples say is run, and each does what it promises."""

from __future__ import annotations

import asyncio
import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import berry
from berry.pipeline.api import reward as reward_module
from berry.pipeline.api import runs
from berry.pipeline.api import verify as verify_module
from berry.pipeline.errors import ConfigError, InputError, StorageError

ROOT = Path(__file__).resolve().parents[1]


def test_examples_of_the_docstrings_are_true(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    results = [doctest.testmod(module) for module in (verify_module, reward_module, runs)]
    assert sum(result.failed for result in results) == 0
    assert sum(result.attempted for result in results) >= 6


def test_every_public_name_is_there_and_documented() -> None:
    for name in berry.__all__:
        value = getattr(berry, name)
        assert name == "__version__" or (value.__doc__ or "").strip(), name
    with pytest.raises(AttributeError, match=r"has no attribute 'verfy' .*verify"):
        getattr(berry, "verfy")  # noqa: B009


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, berry; heavy = {'pydantic', 'pyarrow', 'ray', 'torch', 'vllm', 'berry.pipeline'}"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; print(sorted(heavy & sys.modules.keys()))"], capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_a_wrong_answer_fails_and_what_is_no_verifier_is_refused() -> None:
    assert not berry.verify("The answer is \\boxed{41}.", {"type": "math", "answer": "42"}).passed
    with pytest.raises(InputError, match="verifier"):
        berry.verify("42", {"type": "maths", "answer": "42"})


def test_a_reward_is_one_or_zero_or_unknown() -> None:
    spec = {"type": "math", "answer": "42"}
    assert [berry.reward(f"\\boxed{{{n}}}", spec) for n in (42, 41)] == [1.0, 0.0]
    with pytest.raises(InputError, match="verifier"):
        berry.reward("42", {"type": "maths", "answer": "42"})


def test_code_is_verified_in_a_sandbox_also_where_an_event_loop_runs() -> None:
    spec = {"type": "python_function", "entry_point": "add", "cases": [{"args": [1, 2], "expected": 3}]}

    async def from_a_notebook() -> bool:
        return berry.verify("```python\ndef add(a, b):\n    return a + b\n```", spec).passed

    assert asyncio.run(from_a_notebook())


def test_a_run_is_started_from_python_and_read_back(tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(
        "problems: [{type: synthetic, count: 6, seed: 3}]\n"
        "engine: {type: synthetic}\n"
        "rollout: {policy: {type: best_of_n, n: 4}}\n"
        "storage: {lease_problems: 3}\n"
    )
    done = berry.run(str(config), "seed=5", place=str(tmp_path / "run"), local=True)
    assert done.config.seed == 5
    assert done.rounds == [0]
    rows = list(done.trajectories())
    assert len(rows) == 24
    kept = list(done.kept())
    assert [row["trajectory_id"] for row in kept] == [row["trajectory_id"] for row in rows if row["kept"]]
    assert {tree.problem_id for tree in done.trees()} == {row["problem_id"] for row in rows}
    assert len(list(berry.Run(str(tmp_path / "run")).trajectories(rounds=[0]))) == 24
    with pytest.raises(ConfigError, match="overrides go with a path"):
        berry.run(done.config, "seed=6")


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="holds no run"):
        berry.Run(str(tmp_path))
