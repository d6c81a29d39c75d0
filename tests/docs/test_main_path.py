"""docs/architecture.md lists every file that a problem or its result passes on its way from a command to its commit."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import berry
from berry.pipeline.core.events import Generate, Segment, Verified
from berry.pipeline.records import Problem, Trajectory
from berry.pipeline.stages.dataset.tables import Tables
from berry.pipeline.stages.leases.lease import Lease, LeaseReport
from berry.pipeline.stages.rollout.ports import Grown

ROOT = Path(__file__).resolve().parents[2]
CARRIED = (Problem, Lease, Generate, Segment, Verified, Grown, Trajectory, Tables, LeaseReport)
MOST_FILES, MOST_OF_A_CHECK = 16, 5
IN_ONE_PROCESS = {
    "pipeline/runtime/actors/rollout_handle.py": "pipeline/runtime/actors/local_worker.py",
    "pipeline/runtime/actors/rollout_actor.py": "pipeline/runtime/actors/local_worker.py",
    "pipeline/core/search/POLICY.py": "pipeline/core/search/best_of_n.py",
    "pipeline/engines/vllm/engine.py": "pipeline/engines/synthetic/engine.py",
}
RECORDS = {"pipeline/records.py", "pipeline/stages/leases/lease.py"}  # where what is carried is declared
BESIDE = {  # outside the core and the verifiers: what a file on the way looks something up in
    "pipeline/runtime/driver/totals.py",
    "pipeline/stages/checking/question.py",
    "pipeline/stages/problems/files.py",
    "pipeline/stages/rollout/journal.py",
    "pipeline/stages/rollout/texts.py",
}


def tables() -> list[list[str]]:
    page = (ROOT / "docs" / "architecture.md").read_text().partition("## The files on the way")[2].partition("\n## ")[0]
    return [re.findall(r"^\| \d+ \| `([^`]+)`", part, re.M) for part in page.split("|---|---|---|")[1:]]


def carries(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(isinstance(one, CARRIED) for one in value[:1])
    return isinstance(value, CARRIED)


def test_the_list_is_the_way_that_a_run_takes(tmp_path: Path, make_run: Callable[[Path, dict[str, Any]], Path]) -> None:
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
            if any(map(carries, values)):
                carrying.add(file)

    problem = '{"id": "p", "prompt": "Start with 4. Then add 5. What is the result?", '
    (tmp_path / "p.jsonl").write_text(problem + '"verifier": {"type": "math", "answer": "9"}}\n')
    raw = {
        "problems": [{"type": "file", "path": "p.jsonl"}],
        "engine": {"type": "synthetic"},
        "rollout": {"policy": {"type": "best_of_n", "n": 2}},
        "report": False,
        "storage": {"compact": False},
    }
    before = sys.getprofile()
    threading.setprofile(look)
    sys.setprofile(look)
    try:
        place = make_run(tmp_path, raw)
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    assert len(list(berry.Run(str(place)).trajectories())) == 2
    listed = {IN_ONE_PROCESS.get(file, file) for file in tables()[0]} - {"pipeline/cli/run.py"}
    assert listed - called == set()
    on_the_way = {f for f in carrying if f.startswith("pipeline/") and not f.startswith("pipeline/core/")} - RECORDS
    assert on_the_way - listed == BESIDE


def test_the_ways_are_short_and_their_files_there() -> None:
    run, check = tables()
    assert 12 < len(run) <= MOST_FILES
    assert 3 < len(check) <= MOST_OF_A_CHECK
    for file in (*run, *check):
        assert re.search(r"[A-Z]{4}", file) or (ROOT / file).is_file(), file
