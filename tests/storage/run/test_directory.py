"""Damaged files of a run directory are one clear error that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from berry.pipeline.errors import StorageError
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.run.directory import RunDir


@pytest.mark.parametrize("content", ["a: [1\n b: {", "[]", ""], ids=["no YAML", "a list", "empty"])
def test_a_damaged_run_yaml_names_the_file_and_the_remedy(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.yaml").write_text(content)
    with pytest.raises(StorageError, match=r"run.yaml: is damaged \(.*\); put it back from a copy, or start a new run"):
        RunDir(locate(tmp_path)).config()


@pytest.mark.parametrize("content", ["", "[1]", "{"], ids=["empty", "a list", "cut"])
def test_damaged_versions_and_metrics_name_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "metrics").mkdir()
    for name in ("versions.json", "metrics/run.json"):
        (tmp_path / name).write_text(content)
    with pytest.raises(StorageError, match=r"versions.json: is damaged"):
        RunDir(locate(tmp_path)).versions()
    with pytest.raises(StorageError, match=r"metrics/run.json: is damaged"):
        RunDir(locate(tmp_path)).metrics("run")


def test_what_was_never_written_is_no_damage(tmp_path: Path) -> None:
    run = RunDir(locate(tmp_path))
    assert (run.config(), run.versions(), run.metrics("run")) == (None, {}, None)
