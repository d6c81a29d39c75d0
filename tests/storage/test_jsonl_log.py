"""JSON lines in parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from berry.pipeline.storage import jsonl_log
from berry.pipeline.storage.files import locate


def test_lines_come_back_in_order_over_parts_and_drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl_log, "PART_LINES", 3)
    location = locate(tmp_path)
    assert jsonl_log.read(location, "x") == []
    written = jsonl_log.JsonlLog(location, "x")
    for i in range(5):
        written.append([{"i": i}])
    jsonl_log.JsonlLog(location, "x").append([{"i": 5}])  # the next driver
    jsonl_log.JsonlLog(location, "xy").append([{"other": 1}])
    assert [row["i"] for row in jsonl_log.read(location, "x")] == list(range(6))
    assert len(list((tmp_path / "metrics").glob("x-*.jsonl"))) == 3
