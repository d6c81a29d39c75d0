"""A run whose environment answers a real model on Ray: episodes of several turns from the command line to the files."""

from __future__ import annotations

import json
from typing import Any

import pytest

from berry.pipeline.stages.problems.arithmetic import draw

TEACHER = """
class Teacher:
    '''Asks a sum until it is right, twice at most.'''
    def __init__(self, problem, seed):
        self.problem, self.asked = problem, 1
    def turn(self, said):
        right = said.strip().split("\\n")[-1] == self.problem["meta"]["answer"]
        if right or self.asked == 2:
            return {"reward": float(right), "asked": self.asked}
        self.asked += 1
        return self.problem["prompt"]
"""
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}{{ eos_token }}"
    "{% else %}{{ m.content }}\n{% endif %}{% endfor %}"
)
LEAVES = (
    "select verdict, evidence from '{}/trajectories/*.parquet' where drop_reason is null or drop_reason in "
    "('wrong', 'duplicate')"
)


def write_problems(berry: Any) -> dict[str, Any]:
    rows = [
        {"id": p.id, "prompt": p.prompt, "verifier": {"type": "environment"}, "meta": {"answer": p.verifier.answer}}  # type: ignore[union-attr]
        for p in draw(4, 3)
    ]
    (berry.folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (berry.folder / "teacher.py").write_text(TEACHER)
    return {"type": "file", "path": "sums.jsonl"}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_real_model_plays_episodes_on_ray(berry: Any) -> None:
    config = berry.config(
        problems=[write_problems(berry)],
        engine={
            "type": "vllm",
            "model": "tiny-arithmetic",
            "max_model_len": 256,
            "max_num_seqs": 8,
            "chat_template": TEMPLATE,
        },
        rollout={
            "policy": {"type": "fixed", "branching": [3, 2]},
            "sampling": {"max_tokens": 160},
            "environment": {"target": "teacher.py:Teacher"},
        },
        pruning=[{"type": "verdict"}],
    )
    code, out = berry.run("run", str(config), timeout_s=500)
    assert code == 0, out
    roles = dict(berry.query("runs/job", "select role, count(*) from '{}/nodes/*.parquet' group by 1"))
    assert roles["user"] > 0, "some sum was wrong at first"
    rows = [(verdict, json.loads(evidence)) for verdict, evidence in berry.query("runs/job", LEAVES)]
    assert rows
    for verdict, evidence in rows:
        assert evidence["turns"] == evidence["asked"]
        assert (verdict == "pass") is (evidence["reward"] == 1.0)
    assert "turns" in out
    code, out = berry.run("reverify", "runs/job")
    assert code != 0
    assert "its verdicts are those of rollout.environment" in out


def test_what_can_not_work_is_refused_before_anything_starts(berry: Any) -> None:
    problems = [write_problems(berry)]
    code, out = berry.run("run", str(berry.config(problems=problems)), "--local")
    assert code != 0
    assert "rollout.environment is not set, and 4 problems have a verifier of type environment" in out
    for target, said in (
        ("teacher.py:Techer", "rollout.environment target 'teacher.py:Techer': teacher.py has no class Techer"),
        ("none.py:Teacher", "can't read"),
    ):
        rollout = {"environment": {"target": target}}
        code, out = berry.run("run", str(berry.config(problems=problems, rollout=rollout)), "--local")
        assert code != 0
        assert said in out
    (berry.folder / "teacher.py").write_text(TEACHER.replace("self.asked += 1", "raise KeyError('asked')"))
    rollout = {"environment": {"target": "teacher.py:Teacher"}}
    code, out = berry.run("run", str(berry.config(problems=problems, rollout=rollout)), "--local")
    assert code != 0
    assert "can't answer an empty first turn of problem" in out
    assert not (berry.folder / "runs/job/nodes").exists()
