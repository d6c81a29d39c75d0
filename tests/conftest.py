"""An S3 API server for whoever asks for one; nothing of it leaves this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

SERVER = Path(__file__).with_name("s3_server.py")


@dataclass(frozen=True)
class ObjectStore:
    """A bucket of its own on a server that others share."""

    endpoint: str
    bucket: str

    @property
    def env(self) -> dict[str, str]:
        """What a process needs to reach it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

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


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A bucket, and this process's environment set to reach it."""
    store = ObjectStore(s3_server, f"berry-{uuid.uuid4().hex[:12]}")
    for name, value in store.env.items():
        monkeypatch.setenv(name, value)
    httpx.put(f"{s3_server}/{store.bucket}").raise_for_status()
    yield store
    store.faults()
