"""docs/architecture.md lists every file that a problem or its result passes on its way from a command to its commit,
and every file that a check passes on its way to the sandboxes."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import berry
from berry.pipeline.core.events import Generate, Segment, Verified
from berry.pipeline.records import Problem, Trajectory
from berry.pipeline.stages.dataset.tables import Tables
from berry.pipeline.stages.leases.lease import Lease, LeaseReport
from berry.pipeline.stages.rollout.commands.ports import Grown
from berry.sandboxes.base import Job, JobResult
from berry.verifiers.base import Verdict
from berry.verifiers.checker import CheckerConfig, CheckRequest
from berry.verifiers.specs.union import StdioSpec

ROOT = Path(__file__).resolve().parents[2]
CARRIED = (Problem, Lease, Generate, Segment, Verified, Grown, Trajectory, Tables, LeaseReport)
CHECKED = (CheckRequest, Job, JobResult, Verdict)
MOST_FILES, MOST_OF_A_CHECK = 16, 5
IN_ONE_PROCESS = {
    "pipeline/runtime/actors/rollout_handle.py": "pipeline/runtime/actors/local_worker.py",
    "pipeline/runtime/actors/rollout_actor.py": "pipeline/runtime/actors/local_worker.py",
    "pipeline/core/search/policies/POLICY.py": "pipeline/core/search/policies/best_of_n.py",
    "pipeline/engines/vllm/engine.py": "pipeline/engines/synthetic/engine.py",
}
RECORDS = {  # where what is carried is declared
    "pipeline/records.py",
    "pipeline/stages/leases/lease.py",
    "verifiers/base.py",
}
BESIDE = {  # outside the core and the verifiers: what a file on the way looks something up in, or tells
    "pipeline/runtime/driver/background.py",
    "pipeline/runtime/driver/totals.py",
    "pipeline/stages/checking/question.py",
    "pipeline/stages/leases/escalation.py",
    "pipeline/stages/leases/reports.py",
    "pipeline/stages/problems/asked.py",
    "pipeline/stages/problems/files.py",
    "pipeline/stages/rollout/journal.py",
}


def tables() -> list[list[str]]:
    page = (ROOT / "docs" / "architecture.md").read_text().partition("## The files on the way")[2].partition("\n## ")[0]
    return [re.findall(r"^\| \d+ \| `([^`]+)`", part, re.M) for part in page.split("|---|---|---|")[1:]]


def carries(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, list | tuple):
        return isinstance(next(iter(value), None), kinds)
    return isinstance(value, kinds)


@contextmanager
def watched(kinds: tuple[type, ...]) -> Iterator[tuple[set[str], set[str]]]:
    """The files of which a function is called while this is open; and those that are given, or give, one of `kinds`."""
    called: set[str] = set()
    carrying: set[str] = set()
    home = str(ROOT) + "/"

    def look(frame: Any, event: str, value: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(home):
            return
        file = code.co_filename.removeprefix(home).removeprefix("berry/")
        called.add(file)
        if file not in carrying:
            inputs = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            values = [frame.f_locals.get(name) for name in inputs] if event == "call" else [value]
            if any(carries(one, kinds) for one in values):
                carrying.add(file)

    before = sys.getprofile()
    threading.setprofile(look)
    sys.setprofile(look)
    try:
        yield called, carrying
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


def test_the_list_is_the_way_that_a_run_takes(tmp_path: Path, make_run: Callable[[Path, dict[str, Any]], Path]) -> None:
    problem = '{"id": "p", "prompt": "Start with 4. Then add 5. What is the result?", '
    (tmp_path / "p.jsonl").write_text(problem + '"verifier": {"type": "math", "answer": "9"}}\n')
    raw = {
        "problems": [{"type": "file", "path": "p.jsonl"}],
        "engine": {"type": "synthetic"},
        "rollout": {"policy": {"type": "best_of_n", "n": 2}},
        "report": False,
        "storage": {"compact": False},
    }
    with watched(CARRIED) as (called, carrying):
        place = make_run(tmp_path, raw)
    assert len(list(berry.Run(str(place)).trajectories())) == 2
    listed = {IN_ONE_PROCESS.get(file, file) for file in tables()[0]} - {"pipeline/cli/run.py"}
    assert listed - called == set()
    on_the_way = {f for f in carrying if f.startswith("pipeline/") and not f.startswith("pipeline/core/")} - RECORDS
    assert on_the_way - listed == BESIDE


async def test_the_list_of_a_check_is_the_way_that_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the client to a real sandbox; the call between processes alone is left out."""
    import ray

    from berry.pipeline.runtime.actors.sandbox_actor import SandboxActor
    from berry.pipeline.runtime.actors.sandbox_client import SandboxEndpoint, VerifyClient

    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "a"))
    actor = SandboxActor(CheckerConfig(slots=1))
    handle = SimpleNamespace(check=SimpleNamespace(remote=actor.check))
    spec = StdioSpec.model_validate({"cases": [{"stdin": "3\n", "stdout": "6\n"}]})
    response = "```python\nprint(2 * int(input()))\n```"
    try:
        await actor.start()
        with watched(CHECKED) as (_, carrying):
            found = await VerifyClient([SandboxEndpoint("s0", handle, 1, "a")], "a").verify(
                CheckRequest("p", spec, response)
            )
    finally:
        await actor.stop()
    assert found.passed
    stdio = "verifiers/kinds/programs/stdio.py"
    listed = {stdio if file == "verifiers/kinds/KIND.py" else file for file in tables()[1]}
    assert {file for file in carrying if file.startswith(("pipeline/", "verifiers/"))} - RECORDS == listed


def test_the_ways_are_short_and_their_files_there() -> None:
    run, check = tables()
    assert 12 < len(run) <= MOST_FILES
    assert 3 < len(check) <= MOST_OF_A_CHECK
    for file in (*run, *check):
        assert re.search(r"[A-Z]{4}", file) or (ROOT / file).is_file(), file
