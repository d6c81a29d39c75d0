"""What is told of a host before a run starts on it."""

from __future__ import annotations

from typing import Any

import pytest

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.placement import place_actors
from berry.pipeline.runtime.driver import expectations
from berry.pipeline.stages.problems.sources import Survey

CONFIG = validate(
    {"name": "t", "engine": {"type": "synthetic"}, "problems": [{"type": "synthetic", "count": 2}]},
    RunConfig,
    where="test",
)


def test_a_language_without_its_tools_is_told_before_the_start(monkeypatch: pytest.MonkeyPatch, quiet: Any) -> None:
    monkeypatch.setattr(expectations, "missing_tools", lambda name, _: {"rust": ["rustc"]}.get(name, []))
    survey = Survey(9, {"stdio": 9}, "", languages={"cpp": 4, "rust": 3, "python": 2})
    quiet.notes.clear()
    expectations.say_missing_tools(CONFIG, survey, quiet)
    (note,) = quiet.notes
    assert note.startswith("note: 3 problems are checked by programs in rust, for which this host lacks rustc: their")


@pytest.mark.parametrize(("cores", "told"), [(0.5, True), (4096.0, False)])
def test_fewer_cores_than_the_actors_take_are_told(
    monkeypatch: pytest.MonkeyPatch, quiet: Any, cores: float, told: bool
) -> None:
    monkeypatch.setattr(expectations.cgroup, "cores", lambda: cores)
    monkeypatch.setattr(expectations.os, "cpu_count", lambda: 4)
    quiet.notes.clear()
    expectations.say_cores(place_actors(CONFIG.cluster), quiet)
    assert any("0.5 of 4 cores may be used here; the run's actors take" in note for note in quiet.notes) == told
