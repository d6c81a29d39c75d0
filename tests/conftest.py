"""What tests of several folders share: an S3 API server, of which nothing leaves this machine, and one small run that
nothing happened to, for all that disturb one."""

from __future__ import annotations

import gc
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from berry.pipeline.config.run import RunConfig

settings.register_profile("untimed", deadline=None)  # an example that waited for a busy core has not failed
settings.load_profile("untimed")

os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's 15 starves actors beside the tests of other workers
# Threads of torch that spin take the cores of the tests beside them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
SERVER = Path(__file__).with_name("s3_server.py")
WARM = Path(__file__).with_name("warm.py")
TOGETHER: dict[str, tuple[str, ...]] = {
    "clusters that lose what they have": (
        "tests/cluster/test_elastic.py",
        "tests/cluster/test_faults.py",
        "tests/cluster/test_hangs.py",
    ),
    "clusters": ("tests/cluster/", "tests/deploy/"),
    "one engine": (
        "tests/engines/test_contract.py",
        "tests/engines/test_exported_logprobs.py",
        "tests/engines/test_recompute.py",
        "tests/engines/vllm/test_engine.py",
        "tests/engines/http/test_same_records.py",
    ),
    "vLLM without an engine": ("tests/engines/vllm/",),
}
"""Tests that one worker runs, by the first that fits: no more than two clusters are there at once, the real engine and
the real server are started once, and vLLM is imported once by those that look at it as it comes. Else a file is a
group."""

FIRST = (
    "tests/cluster/test_tool_kills.py",
    "tests/cluster/test_elastic.py",
    "tests/engines/test_contract.py",
    "tests/core/values/test_bias.py",
    "tests/models/",
    "tests/cluster/",
    "tests/runtime/driver/test_rounds.py",
    "tests/runtime/driver/test_many_kills.py",
    "tests/runtime/driver/test_lease_claims.py",
    "tests/sandboxes/test_limits.py",
    "tests/runtime/",
    "tests/engines/",
    "tests/cli/",
    "tests/stages/dataset/maintenance/test_compact.py",
    "tests/stages/training/",
    "tests/rewards/",
    "tests/sandboxes/",
    "tests/verifiers/",
    "tests/report/",
    "tests/docs/",
)
"""What takes long begins first, in this order, so that short files fill the workers' last minutes. One vLLM engine
comes before the others: what it compiles they find, where all of them at once would compile it each."""


def group_of(nodeid: str) -> str:
    """The tests that one worker runs together: those of TOGETHER, else those of one file."""
    file = nodeid.partition("::")[0]
    return next((name for name, places in TOGETHER.items() if file.startswith(places)), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """For `--dist loadscope`: xdist's own scheduler by these groups (its loadgroup does nothing under pytest 9.2)."""
    if config.getoption("dist") != "loadscope":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collects no garbage while tests are collected, and leaves what they import out of it from then on: of each
    worker's first twelve seconds of computing it took four."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest groups first; workers take them in this order."""
    items.sort(key=lambda item: next((i for i, place in enumerate(FIRST) if item.nodeid.startswith(place)), len(FIRST)))


class Started:
    """A command of `berry` in a process and session of its own; the part of `subprocess.Popen` that tests use."""

    def __init__(self, server: str, words: tuple[str, ...], folder: Path, env: dict[str, str]) -> None:
        read, write = os.pipe()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(server)
        order = json.dumps({"words": words, "cwd": str(folder), "env": env}).encode() + b"\n"
        sent = socket.send_fds(self._server, [order], [write])
        self._server.sendall(order[sent:])
        os.close(write)
        self._said = self._server.makefile("r")
        self.pid: int = json.loads(self._said.readline())["pid"]
        self.stdout = os.fdopen(read)
        self.returncode: int | None = None
        self.peak_bytes = 0  # of its memory, when it has ended

    def poll(self) -> int | None:
        if self.returncode is None and select.select([self._server], [], [], 0)[0]:
            ended = json.loads(self._said.readline())
            self.returncode, self.peak_bytes = ended["returncode"], ended["peak_bytes"]
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None and not select.select([self._server], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("berry", timeout or 0)
        code = self.poll()
        assert code is not None
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """All that it and its children wrote, when they have ended."""
        got: list[str] = []
        reading = threading.Thread(target=lambda: got.append(self.stdout.read()), daemon=True)
        reading.start()
        reading.join(timeout)
        if reading.is_alive():
            raise subprocess.TimeoutExpired("berry", timeout or 0)
        self.wait(timeout)
        return got[0], None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


@pytest.fixture(scope="session")
def start_berry() -> Iterator[Callable[..., Started]]:
    """start_berry(folder, *words, env={}) -> a `Started`."""
    place = tempfile.mkdtemp(prefix="berry-")  # short, for the socket
    server = subprocess.Popen(
        [sys.executable, str(WARM), f"{place}/s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    yield lambda folder, *words, env: Started(f"{place}/s", words, folder, env)
    server.kill()
    server.wait()
    shutil.rmtree(place, ignore_errors=True)


@dataclass(frozen=True)
class ObjectStore:
    """A bucket of its own on a server that others share."""

    endpoint: str
    bucket: str

    env: dict[str, str]
    """What a process needs to reach it."""

    def url(self, name: str) -> str:
        return f"s3://{self.bucket}/{name}"

    def faults(self, **faults: Any) -> None:
        """`error_rate`: share of requests that fail; `delay_s`: mean wait; `signed_only`: none without credentials."""
        httpx.put(f"{self.endpoint}/-/faults", content=json.dumps(faults)).raise_for_status()

    def counts(self) -> dict[str, int]:
        """Requests since the last change of faults: in all, failed, unsigned."""
        return httpx.get(f"{self.endpoint}/-/faults").json()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    process = subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    port = process.stdout.readline().strip()
    assert port.isdigit(), "the S3 server did not start: is moto installed? (make setup)"
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def store_env(s3_server: str) -> dict[str, str]:
    """What a process needs to reach the server."""
    return {
        "AWS_ENDPOINT_URL": s3_server,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@pytest.fixture
def s3(s3_server: str, store_env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A bucket, and this process's environment set to reach it."""
    store = ObjectStore(s3_server, f"berry-{uuid.uuid4().hex[:12]}", store_env)
    for name, value in store.env.items():
        monkeypatch.setenv(name, value)
    httpx.put(f"{s3_server}/{store.bucket}").raise_for_status()
    yield store
    store.faults()


@pytest.fixture(scope="session")
def value_model() -> Callable[..., str]:
    """value_model(folder, version, seed=1) -> a PRM that has learned nothing, over the synthetic engine's tokens."""
    import torch

    from berry.pipeline.config.sections.rewards import FreshBackbone
    from berry.pipeline.rewards.model.card import NAME, Card
    from berry.pipeline.rewards.model.loading import fresh

    def make(folder: Path, version: str, seed: int = 1) -> str:
        model = fresh(FreshBackbone(layers=1, hidden=16, heads=2, max_tokens=512), vocabulary_size=512, seed=seed)
        with torch.no_grad():
            next(model.head.parameters()).normal_(std=2.0, generator=torch.Generator().manual_seed(seed))
        model.inner.save_pretrained(folder)
        card = Card(what="prm", version=version, backbone="fresh", vocabulary="synthetic-digits", synthetic=True)
        (folder / NAME).write_text(card.to_json())
        return str(folder)

    return make


JOB: dict[str, Any] = {
    "problems": [{"type": "synthetic", "count": 24, "seed": 3}],
    "engine": {"type": "synthetic"},
    "rollout": {
        "policy": {"type": "fixed", "branching": [3, 2]},
        "step": {"type": "delimiter", "delimiters": ["\n"]},
    },
}


class Quiet:
    """A display that keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def phase(self, text: str) -> None: ...

    def update(self, view: Any) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture(scope="session")
def quiet() -> Quiet:
    return Quiet()


@pytest.fixture(scope="session")
def make_run(quiet: Quiet) -> Callable[[Path, dict[str, Any]], Path]:
    """make_run(folder, configuration) -> the run that it made in this process; paths are relative to the folder."""
    from berry.pipeline.cli.loading import load_run
    from berry.pipeline.runtime.driver.outcome import Launch
    from berry.pipeline.runtime.driver.run import run

    def make(folder: Path, raw: dict[str, Any]) -> Path:
        (folder / "job.yaml").write_text(json.dumps(raw))  # JSON is YAML
        run(load_run(str(folder / "job.yaml"), []), Launch(run_dir=str(folder / "run"), local=True), quiet)
        return folder / "run"

    return make


@pytest.fixture(scope="session")
def job() -> Callable[..., RunConfig]:
    """The configuration of a run of 24 problems, 144 trajectories, in 6 leases."""
    from berry.pipeline.config.reading.loading import validate
    from berry.pipeline.config.run import RunConfig

    def make(**changes: Any) -> RunConfig:
        return validate({"name": "job", **JOB, **changes}, RunConfig, where="test")

    return make


@pytest.fixture(scope="session")
def rows() -> Callable[[str], list[tuple[Any, ...]]]:
    """rows(place) -> what a run made of its problems, whatever happened to it on the way."""
    from berry.pipeline.stages.dataset.text_views import connect
    from berry.pipeline.storage.run.directory import open_run

    query = "select trajectory_id, response, verdict, kept from trajectories order by 1"
    return lambda place: connect(open_run(place)).execute(query).fetchall()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, job: Any, quiet: Any, rows: Any) -> list[tuple[Any, ...]]:
    """The rows of `job()` where nothing happens to it."""
    from berry.pipeline.runtime.driver.outcome import Launch
    from berry.pipeline.runtime.driver.run import run

    place = str(tmp_path_factory.mktemp("whole") / "run")
    assert run(job(), Launch(place, local=True), quiet).finished
    found = rows(place)
    assert len(found) == 144
    return found


@pytest.fixture(autouse=True, scope="session")
def limits_as_given() -> Iterator[None]:
    """Wall limits of sandboxes are those that a test gives, however busy this host is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
        yield
