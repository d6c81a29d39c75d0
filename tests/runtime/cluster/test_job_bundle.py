"""What goes along with a submitted job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from berry.pipeline.cli.loading import load_run
from berry.pipeline.errors import ConfigError
from berry.pipeline.runtime.cluster import job_bundle

ROW = {"prompt": "What is 4 + 5?", "verifier": {"type": "math", "answer": "9"}}


def loaded(folder: Path, problems: list[dict[str, Any]]) -> Any:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({"engine": {"type": "synthetic"}, "problems": problems}))
    return load_run(str(path), [])


def test_local_problem_files_go_along_by_content_and_urls_do_not(tmp_path: Path) -> None:
    (tmp_path / "my p.jsonl").write_text(json.dumps({"id": "a", **ROW}))
    config = loaded(tmp_path, [{"type": "synthetic", "count": 2}, {"type": "file", "path": "my p.jsonl"}])
    (tmp_path / "out").mkdir()
    packed = job_bundle.pack(config, tmp_path / "out", run_dir="s3://bucket/runs/it's")
    [copied] = (tmp_path / "out" / "problems").glob("*/my p.jsonl")
    assert f"problems.1.path=\"$d\"/'{copied.parent.name}/my p.jsonl'" in packed.entrypoint
    assert "problems.0" not in packed.entrypoint
    assert "'s3://bucket/runs/it'\"'\"'s'" in packed.entrypoint
    stored = yaml.safe_load((tmp_path / "out" / "job.yaml").read_text())
    assert stored["cluster"]["roles"], "the whole configuration, shipped files resolved"


def test_a_problem_file_too_large_to_go_along_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "p.jsonl").write_text(json.dumps({"id": "a", **ROW}))
    monkeypatch.setattr(job_bundle, "MOST_BYTES", 10)
    with pytest.raises(ConfigError, match="put them on a store"):
        job_bundle.pack(loaded(tmp_path, [{"type": "file", "path": "p.jsonl"}]), tmp_path, run_dir="/shared/x")


def test_a_run_directory_of_the_submitting_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match="every node of the cluster sees"):
        job_bundle.check_run_dir("runs/demo")
