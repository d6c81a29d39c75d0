"""Weights on an object store are on this host before they are used: whole, once, and anew when they change there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.engines import models
from berry.pipeline.errors import ConfigError
from berry.pipeline.rewards.model import resolve
from berry.pipeline.storage.files import Location, locate
from berry.pipeline.storage.weight_cache import cached_copy, upload

TINY = Path(__file__).resolve().parents[1] / "models" / "tiny-arithmetic"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BERRY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_model_by_its_url_is_the_model(s3: Any) -> None:
    upload(TINY, locate(s3.url("weights")), "tiny", last="config.json")
    folder = models.resolve(s3.url("weights/tiny"))
    assert contents(Path(folder)) == contents(TINY)
    assert models.is_local(s3.url("weights/tiny"))
    assert resolve.resolve(s3.url("weights/tiny"), key="rewards.prm.model") == folder


def test_a_copy_is_made_once_and_again_when_the_weights_change(s3: Any, tmp_path: Path) -> None:
    location = locate(s3.url("weights/m"))
    location.put("model.safetensors", b"old")
    location.put("card.json", b"{}")
    first = cached_copy(location.url, tmp_path, last="card.json")
    s3.faults()
    assert cached_copy(location.url, tmp_path, last="card.json") == first
    assert s3.counts()["requests"] == 1, "a listing says that nothing has changed"
    location.put("model.safetensors", b"newer")
    second = cached_copy(location.url, tmp_path, last="card.json")
    assert second is not None
    assert (second / "model.safetensors").read_bytes() == b"newer"


def test_a_copy_that_fails_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    location = locate("memory://weights/half")
    for name in ("a", "b", "card.json"):
        location.put(name, b"x")
    read = Location.read

    def breaks(self: Location, name: str, using: Any) -> Any:
        if name == "b":
            raise ConfigError("the network is gone")
        return read(self, name, using)

    monkeypatch.setattr(Location, "read", breaks)
    with pytest.raises(ConfigError, match="gone"):
        cached_copy(location.url, tmp_path, last="card.json")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_model_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"engine\.model: memory://nothing/here has no config\.json"):
        models.resolve("memory://nothing/here")
