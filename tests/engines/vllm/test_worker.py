"""The watch that ends vLLM's processes with the process that started them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from berry.pipeline.engines.vllm import worker

WATCHED = "import berry.pipeline.engines.vllm.worker, time; print('ready', flush=True); time.sleep(60)"


def start(owner: int, host: str = os.uname().nodename) -> subprocess.Popen[str]:
    environment = {**os.environ, worker.OWNER: f"{owner}@{host}"}
    return subprocess.Popen([sys.executable, "-c", WATCHED], env=environment, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("reaped", [True, False])
def test_it_ends_soon_after_its_owner_was_killed(reaped: bool):
    owner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    with start(owner.pid) as watched:
        assert watched.stdout is not None
        assert watched.stdout.readline() == "ready\n"
        assert watched.poll() is None
        owner.kill()
        if reaped:
            owner.wait()
        assert watched.wait(20) == -9
    owner.wait()


def test_a_part_on_another_node_is_left_to_ray():
    owner = subprocess.Popen(["true"])
    owner.wait()
    with start(owner.pid, "elsewhere") as watched:
        assert watched.stdout is not None
        assert watched.stdout.readline() == "ready\n"
        assert watched.poll() is None
        watched.kill()


def test_it_does_not_start_under_an_owner_that_is_gone():
    owner = subprocess.Popen(["true"])
    owner.wait()
    with start(owner.pid) as watched:
        assert watched.wait(20) == -9
