"""`berry submit` to a Ray head with its job server, in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest
import yaml

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

BIN = Path(sys.executable).parent
TOKEN = "a" * 64  # Ray's clusters ask for one
ROW = {"prompt": "Start with 4. Then add 5. What is the result?", "verifier": {"type": "math", "answer": "9"}}


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Head(NamedTuple):
    """The addresses of a Ray head: of its dashboard, and that which drivers join."""

    dashboard: str
    address: str


JOINED = """
import sys
from berry.pipeline.runtime.cluster.connect import disconnect, join
join(sys.argv[1])
import ray
print(ray.get_runtime_context().gcs_address, ray.get(ray.remote(lambda: 2).remote()))
disconnect()
"""


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Head]:
    """A Ray head that wants a token, and ends with the test."""
    gcs, dashboard, agent = free_ports(3)
    ray_folder = tempfile.mkdtemp(prefix="ray-")  # short, for its sockets; not the one where others look for a cluster
    env = {
        **os.environ,
        "RAY_TMPDIR": ray_folder,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "RAY_USAGE_STATS_ENABLED": "0",
        "BERRY_CACHE": str(tmp_path / "cache"),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
    }
    words = [
        str(BIN / "ray"), "start", "--head", "--block", f"--port={gcs}", "--num-cpus=4", "--num-gpus=0",
        "--include-dashboard=true", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}",
        "--object-store-memory=100000000", "--disable-usage-stats",
    ]  # fmt: skip
    process = subprocess.Popen(
        words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True, cwd=tmp_path
    )
    address = f"http://127.0.0.1:{dashboard}"
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, "the Ray head ended"
            request = urllib.request.Request(f"{address}/api/version", headers={"Authorization": f"Bearer {TOKEN}"})
            try:
                urllib.request.urlopen(request, timeout=2).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "the Ray head did not come up"
                time.sleep(0.3)
        yield Head(address, f"127.0.0.1:{gcs}")
    finally:
        process.send_signal(signal.SIGTERM)  # `ray start --block` takes its processes with it
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(ray_folder, ignore_errors=True)


def berry(folder: Path, *words: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "berry", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=240,
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token},
    )


def test_a_submitted_run_is_done_on_the_cluster_and_again_is_resumed(head: Head, tmp_path: Path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "p.jsonl").write_text("".join(json.dumps({"id": f"p{i}", **ROW}) + "\n" for i in range(3)))
    config: dict[str, Any] = {
        "problems": [{"type": "file", "path": "p.jsonl"}],
        "engine": {"type": "synthetic"},
        "rollout": {
            "policy": {"type": "best_of_n", "n": 2},
            "step": {"type": "delimiter", "delimiters": ["\n"]},
        },
    }
    (here / "job.yaml").write_text(yaml.safe_dump(config))
    place = tmp_path / "shared" / "job"
    refused = berry(here, "submit", "job.yaml", "--address", head.dashboard, "--run", str(place), token="b" * 64)
    assert refused.returncode == 2, refused.stderr
    assert "RAY_AUTH_TOKEN" in refused.stderr
    assert "Traceback" not in refused.stderr
    refused = berry(here, "run", "job.yaml", "--address", head.address, "--run", str(place), token="b" * 64)
    assert refused.returncode == 2, refused.stderr
    said = refused.stderr.splitlines()[-1]
    assert said.startswith(f"berry: the cluster at {head.address} does not accept this machine's token: set RAY_AUTH")
    assert "gcs_client.cc" not in refused.stderr, "no text of Ray's C++"
    shutil.rmtree(place)
    done = berry(here, "submit", "job.yaml", "--address", head.dashboard, "--run", str(place))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "has succeeded" in done.stderr
    assert "SYNTHETIC" in done.stdout
    counts = duckdb.sql(f"select count(*), count(distinct problem_id) from '{place}/round=0/trajectories/*.parquet'")
    assert counts.fetchall() == [(6, 3)]
    again = berry(here, "submit", "job.yaml", "--address", head.dashboard, "--run", str(place), "--with-code")
    assert again.returncode == 0, again.stdout + again.stderr
    assert "nothing to do" in again.stdout
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    words = [sys.executable, "-c", JOINED, head.address]
    joined = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert joined.stdout.split() == [head.address, "2"], joined.stderr  # not the machine's own address in its place


def test_an_address_without_a_job_server_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        yaml.safe_dump({"engine": {"type": "synthetic"}, "problems": [{"type": "synthetic", "count": 2}]})
    )
    [port] = free_ports(1)
    done = berry(tmp_path, "submit", "job.yaml", "--address", f"http://127.0.0.1:{port}", "--run", "/shared/x")
    assert done.returncode == 2
    assert "no Ray job server" in done.stderr
    assert "Traceback" not in done.stderr
