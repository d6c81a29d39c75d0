"""Which copy of Berry a submitted job runs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ray._private.runtime_env.packaging import create_package
from typer.testing import CliRunner

from berry.pipeline.cli import app
from berry.pipeline.runtime.cluster import submit
from berry.pipeline.runtime.display import STARTING_RAY

CONFIG = {"engine": {"type": "synthetic"}, "problems": [{"type": "synthetic", "count": 2}]}


class JobServer:
    """Takes jobs as Ray's job server does, and remembers what they bring along."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.status = "RUNNING"
        self.logs = ["reading problems\n", f"{STARTING_RAY}\n"]

    def submit_job(self, **job: Any) -> str:
        self.taken.append(job)
        return "job-1"

    def get_job_status(self, job: str) -> Any:
        assert job == "job-1"
        return SimpleNamespace(value=self.status)

    def get_job_logs(self, job: str) -> str:
        assert job == "job-1"
        return "".join(self.logs)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> JobServer:
    server = JobServer()
    monkeypatch.setattr(submit, "_client", lambda _address: server)
    return server


def submitted(server: JobServer, folder: Path, *options: str) -> dict[str, Any]:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    words = ["submit", str(path), "--run", "s3://bucket/runs/demo", "--no-follow", *options]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return server.taken[-1]["runtime_env"]


def test_a_job_that_nobody_follows_is_waited_for_until_it_has_accepted_its_configuration(
    server: JobServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(CONFIG))
    words = ["submit", str(path), "--run", "s3://bucket/runs/demo", "--no-follow"]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, "job job-1 goes on" in done.output) == (0, True), done.output
    server.status, server.logs = "FAILED", ["berry: s3://bucket: there is no such bucket\n"]
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, "no such bucket" in done.output) == (4, True), done.output
    monkeypatch.setattr(submit, "ACCEPTED_WITHIN_S", 0.0)
    server.status, server.logs = "PENDING", []
    done = CliRunner().invoke(app, words)
    assert (done.exit_code, "job-1 is still pending: the cluster has not begun it" in done.output) == (0, True)


def test_without_the_flag_the_clusters_own_copy_is_used(server: JobServer, tmp_path: Path) -> None:
    assert "py_modules" not in submitted(server, tmp_path)


@pytest.mark.slow
def test_with_code_sends_a_copy_that_runs_by_itself(server: JobServer, tmp_path: Path) -> None:
    [module] = submitted(server, tmp_path, "--with-code", "--env", "A=1")["py_modules"]
    assert server.taken[-1]["runtime_env"]["env_vars"] == {"A": "1"}
    archive, sent = tmp_path / "sent.zip", tmp_path / "sent"
    create_package(module, archive, include_gitignore=True, include_parent_dir=True)  # as Ray packs a py_module
    zipfile.ZipFile(archive).extractall(sent)
    assert sorted(path.name for path in sent.iterdir()) == ["berry"]
    script = (
        "import berry, berry.pipeline.cli, berry.verifiers, berry.sandboxes as s; print(berry.__file__, s.__file__)"
    )
    env = {**os.environ, "PYTHONPATH": str(sent)}  # as Ray's workers find a py_module
    found = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True, env=env)
    assert found.stdout.split() == [str(sent / "berry" / "__init__.py"), str(sent / "berry/sandboxes/__init__.py")]
