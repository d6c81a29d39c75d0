"""The tiny model with a tool on a real engine: what `make tools` says, and that what is stored is what it read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from berry.pipeline.config.sections.rollout.tools import PythonTool
from berry.pipeline.engines.models import resolve
from berry.pipeline.engines.text.tokens import Tokens
from berry.pipeline.records import Message
from berry.pipeline.stages.dataset.reading import read_trees
from berry.pipeline.storage.run.directory import open_run

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("tools")
    words = [
        sys.executable,
        "-P",
        "tests/benchmarks/tool_worth.py",
        "--out",
        str(out),
        "--local",
        "problems.0.count=24",
    ]
    done = subprocess.run(
        words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "The tool is worth +" in done.stdout
    return out


def test_the_model_is_better_by_15_points_with_its_tool_on_the_same_problems(made: Path) -> None:
    with_tool, without = json.loads((made / "tools.json").read_text())
    assert with_tool["values"].keys() == without["values"].keys()
    gains = [value - without["values"][problem] for problem, value in with_tool["values"].items()]
    assert len(gains) == 24
    assert sum(gains) / len(gains) >= 0.15
    assert with_tool["calls"]["a_trajectory"] >= 1
    assert without["calls"] is None
    assert (made / "tree.png").stat().st_size > 1000


def test_what_the_model_was_given_is_what_the_template_makes_of_the_conversation(made: Path) -> None:
    tokens = Tokens(resolve("tiny-tool"), arguments={"tools": [PythonTool().description]})
    compared = 0
    for stored in read_trees(open_run(str(made / "with"))):
        for row in stored.trajectories:
            path = stored.tree.path(stored.tree[row["leaf"]])
            last = max((i for i, node in enumerate(path) if node.given is not None), default=None)
            if last is None:
                continue
            ids, turns = list(stored.tree.prompt_ids), list[Message](stored.messages)
            for node in path[: last + 1]:
                ids += node.tokens
                text = node.text or ""
                if node.given is None:
                    if turns[-1]["role"] == "assistant":  # a step after a step: the turn goes on
                        text = turns.pop()["content"] + text
                    turns.append({"role": "assistant", "content": text})
                    if tokens.tokenizer.encode(node.text or "", add_special_tokens=False) != list(node.tokens):
                        break  # the model has spelled in other tokens what has one of its own
                else:
                    said = text.strip().removeprefix("<result>").removesuffix("</result>")
                    turns.append({"role": "tool", "content": said})
            else:
                compared += 1
                assert tokens.encode(turns) == ids
    assert compared > 100
