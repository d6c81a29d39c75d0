"""`berry view`: lists, searches and opens trees of any size of run, to who has the token, reading alone."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from berry.pipeline.cli import main
from berry.pipeline.errors import StorageError
from berry.pipeline.report.view.index import ProblemIndex
from berry.pipeline.report.view.server import TreeServer
from berry.pipeline.stages.dataset.maintenance.compact import compact
from berry.pipeline.storage.parquet import shard_files
from berry.pipeline.storage.parquet.shard_files import ShardFile
from berry.pipeline.storage.run.directory import open_run

STORED = Path(__file__).resolve().parents[2] / "stored" / "run-0.1.0"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, make_run: Any) -> Path:
    folder = tmp_path_factory.mktemp("made")
    raw = {
        "problems": [{"type": "synthetic", "count": 150, "seed": 3}],
        "engine": {"type": "synthetic"},
        "rollout": {"policy": {"type": "fixed", "branching": [3]}, "step": {"type": "delimiter", "delimiters": ["\n"]}},
        "storage": {"lease_problems": 5, "compact": False},
    }
    make_run(folder, raw)
    return folder / "run"


@pytest.fixture
def view(made: Path) -> Iterator[TreeServer]:
    shown = TreeServer(open_run(str(made)))
    shown.index.wait()
    yield shown
    shown.index.close()


@pytest.fixture
def client(view: TreeServer) -> TestClient:
    client = TestClient(view.app, base_url="http://127.0.0.1")
    assert client.get("/", params={"token": view.token}).status_code == 200
    return client


def test_pages_of_the_list_and_filters(client: TestClient):
    first = client.get("/api/list").json()
    assert first["total"] == 150
    assert len(first["rows"]) == 100
    assert first["read"] == first["of"] == 30
    second = client.get("/api/list", params={"offset": 100}).json()
    names = [row["problem"] for row in (*first["rows"], *second["rows"])]
    assert len(set(names)) == 150
    by_state = {s: client.get("/api/list", params={"state": s}).json() for s in ("solved", "unsolved", "mixed")}
    assert by_state["solved"]["total"] + by_state["unsolved"]["total"] == 150
    assert all(0 < row["passed"] < row["checked"] for row in by_state["mixed"]["rows"])
    one = client.get("/api/list", params={"text": names[7].upper()}).json()
    assert names[7] in [row["problem"] for row in one["rows"]]


def test_every_tree_opens_and_agrees_with_the_list(client: TestClient):
    for row in client.get("/api/list", params={"offset": 60}).json()["rows"][:10]:
        tree = client.get("/api/tree", params={"problem": row["problem"], "round": row["round"]}).json()
        leaves = [node["leaf"] for node in tree["nodes"] if node["leaf"]]
        assert tree["problem"] == row["problem"]
        assert len(leaves) == row["leaves"]
        assert sum(leaf["verdict"] == "pass" for leaf in leaves) == row["passed"]
        assert sum(leaf["outcome"] in ("pass", "wrong") for leaf in leaves) == row["checked"]


def test_a_tree_is_the_same_from_a_merged_file(client: TestClient, made: Path, tmp_path: Path):
    shutil.copytree(made, tmp_path / "run")
    merged = open_run(str(tmp_path / "run"))
    compact(merged)
    view = TreeServer(merged)
    view.index.wait()
    assert view.index.progress[1] < 30
    other = TestClient(view.app, base_url="http://127.0.0.1")
    other.get("/", params={"token": view.token})
    for row in client.get("/api/list", params={"offset": 145}).json()["rows"]:
        asked = {"problem": row["problem"], "round": row["round"]}
        assert other.get("/api/tree", params=asked).json() == client.get("/api/tree", params=asked).json()
    view.index.close()


def test_who_has_no_token_sees_nothing(view: TreeServer):
    bare = TestClient(view.app, base_url="http://127.0.0.1")
    for path in ("/", "/api/list", "/api/tree?problem=x"):
        assert bare.get(path).status_code == 403
        assert bare.get(path, params={"token": "wrong"}).status_code == 403
    other = TestClient(view.app, base_url="http://evil.example")  # a name that was bound to this address
    assert other.get("/", params={"token": view.token}).status_code == 400
    assert TestClient(view.app, base_url="http://127.0.0.1").post("/", params={"token": view.token}).status_code == 405


def test_what_is_not_there_is_said(client: TestClient):
    assert client.get("/api/tree", params={"problem": "none"}).json()["error"] == "none is not in round 0"
    assert client.get("/api/list", params={"state": "x"}).status_code == 400
    assert client.get("/api/list", params={"offset": "-1"}).status_code == 400
    assert client.get("/api/tree", params={"problem": "none", "round": "x"}).status_code == 400


def test_a_damaged_file_is_passed_over_and_told(made: Path, tmp_path: Path):
    shutil.copytree(made, tmp_path / "run")
    shard = sorted((tmp_path / "run" / "round=0" / "trajectories").iterdir())[2]
    shard.write_bytes(shard.read_bytes()[:-40])
    index = ProblemIndex(open_run(str(tmp_path / "run")))
    index.wait()
    assert index.page()["total"] == 145
    assert len(index.unreadable) == 1
    assert shard.name in index.unreadable[0]
    index.close()


def test_files_that_cannot_be_listed_are_told_to_who_asks(made: Path, monkeypatch: pytest.MonkeyPatch):
    def refused(*_: object) -> list[ShardFile]:
        raise StorageError("bucket: access denied")

    monkeypatch.setattr(shard_files, "committed_files", refused)
    view = TreeServer(open_run(str(made)))
    client = TestClient(view.app, base_url="http://127.0.0.1")
    assert client.get("/", params={"token": view.token}).status_code == 200
    for path in ("/api/list", "/api/tree?problem=x"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["error"]) == (500, "bucket: access denied")
    view.index.close()


def test_the_tokenizer_is_loaded_for_the_first_tree_alone(made: Path):
    loaded: list[int] = []
    view = TreeServer(open_run(str(made)), load_token_ends=lambda: loaded.append(1))
    client = TestClient(view.app, base_url="http://127.0.0.1")
    client.get("/", params={"token": view.token})
    rows = client.get("/api/list").json()["rows"]
    assert loaded == []
    for row in rows[:2]:
        assert client.get("/api/tree", params={"problem": row["problem"]}).status_code == 200
    assert loaded == [1]
    view.index.close()


def test_a_run_of_an_earlier_version_is_shown(tmp_path: Path):
    shutil.copytree(STORED, tmp_path / "run")
    view = TreeServer(open_run(str(tmp_path / "run")))
    view.index.wait()
    client = TestClient(view.app, base_url="http://127.0.0.1")
    client.get("/", params={"token": view.token})
    row = client.get("/api/list").json()["rows"][0]
    assert client.get("/api/tree", params={"problem": row["problem"], "round": row["round"]}).json()["nodes"]
    view.index.close()


def test_bad_input_is_one_line(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for words, message in (([str(made), "--port", str(port)], "is in use"), ([str(tmp_path)], "no run")):
            monkeypatch.setattr("sys.argv", ["berry", "view", *words])
            with pytest.raises(SystemExit) as ended:
                main()
            assert ended.value.code not in (0, None)
            told = capsys.readouterr().err
            assert message in told
            assert len(told.splitlines()) == 1


@pytest.mark.slow
def test_the_command_serves_until_ctrl_c(made: Path):
    words = [sys.executable, "-m", "berry", "view", str(made)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:")
            answer = httpx.get(address, timeout=60)
            assert answer.status_code == 200
            assert "treeBrowser" in answer.text
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
