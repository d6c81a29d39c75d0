"""A run that goes on knows its problems without reading them, and reads them where anything may have changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import ProblemFileError
from berry.pipeline.stages.leases import recall
from berry.pipeline.stages.leases.partition import changed_problems, survey_run
from berry.pipeline.stages.leases.recall import NAME, remember, survey_or_recall
from berry.pipeline.stages.problems import asked
from berry.pipeline.storage.files import Location, locate
from berry.pipeline.storage.run.directory import RunDir

TEXT = "How many apples are left when seven of the twelve that lay there this morning were eaten?"


def write(path: Path, texts: list[str], answer: str = "5") -> None:
    rows = [{"id": f"p{i}", "prompt": t, "verifier": {"type": "math", "answer": answer}} for i, t in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def run_config(tmp_path: Path) -> Callable[..., RunConfig]:
    def made(**changes: Any) -> RunConfig:
        sources = [
            {"type": "file", "path": str(tmp_path / "p.jsonl")},
            {"type": "arithmetic", "count": 5, "seed": 2},
            {"type": "synthetic", "count": 4, "seed": 1},
        ]
        given: dict[str, Any] = {"name": "t", "engine": {"type": "synthetic"}, "problems": sources}
        return RunConfig.model_validate(given | changes)

    write(tmp_path / "p.jsonl", [f"What is {i} + 5?" for i in range(6)])
    return made


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[RunConfig]:
    """Every walk over all problems."""
    found: list[RunConfig] = []
    monkeypatch.setattr(recall, "survey_run", lambda config, fault: found.append(config) or survey_run(config, fault))
    return found


def begun(place: Location, config: RunConfig) -> None:
    for name, data in survey_or_recall(place, config, None)[1].items():
        place.put(name, data)


def test_what_is_recalled_is_what_was_found(
    tmp_path: Path, run_config: Callable[..., RunConfig], walks: list[RunConfig]
) -> None:
    place = locate(tmp_path / "run")
    begun(place, run_config())
    found, files = survey_or_recall(place, run_config(storage={"site": "a"}), None)
    assert len(walks) == 1
    assert found == survey_run(run_config(), None)
    assert files == {name: place.get(name) for name in (NAME, asked.NAME)}


def test_with_screening_the_same_problems_are_left_out(
    tmp_path: Path, run_config: Callable[..., RunConfig], walks: list[RunConfig]
) -> None:
    write(tmp_path / "p.jsonl", ["What is 5?", TEXT, "What is 7?"])
    write(tmp_path / "eval.jsonl", [TEXT])
    config = run_config(screening={"files": [str(tmp_path / "eval.jsonl")]})
    place = locate(tmp_path / "run")
    begun(place, config)
    found, _ = survey_or_recall(place, config, None)
    assert (len(walks), found.count, list(found.screening["overlapping"])) == (1, 11, ["p1"])
    write(tmp_path / "eval.jsonl", [TEXT, "What is 7 of the others?"])
    survey_or_recall(place, config, None)
    assert len(walks) == 2, "another evaluation set may leave out others"


@pytest.mark.parametrize(("text", "answer", "said"), [("that", "5", "the text of 1 (p5)"), ("5", "6", "the verifier")])
def test_the_same_ids_with_another_text_or_check_are_read_and_named(
    text: str, answer: str, said: str, tmp_path: Path, run_config: Callable[..., RunConfig], walks: list[RunConfig]
) -> None:
    place = locate(tmp_path / "run")
    begun(place, run_config())
    write(tmp_path / "p.jsonl", [f"What is {i} + {text if i == 5 else 5}?" for i in range(6)], answer)
    found, _ = survey_or_recall(place, run_config(), None)
    assert len(walks) == 2
    changed = changed_problems(RunDir(place), run_config(), found.asked)
    assert changed is not None
    assert said in changed.explain()


def test_a_damaged_or_missing_file_costs_a_walk_and_nothing_else(
    tmp_path: Path, run_config: Callable[..., RunConfig], walks: list[RunConfig]
) -> None:
    place = locate(tmp_path / "run")
    begun(place, run_config())
    whole = place.get(NAME), place.get(asked.NAME)
    assert whole[0] is not None
    assert whole[1] is not None
    for name, data in ((NAME, b"{"), (NAME, b"[]"), (asked.NAME, whole[1][:-8]), (asked.NAME, b"\0" * len(whole[1]))):
        place.put(name, data)
        found, files = survey_or_recall(place, run_config(), None)
        assert (found.count, tuple(files[name] for name in (NAME, asked.NAME))) == (15, whole)
        for kept, its in zip((NAME, asked.NAME), whole, strict=True):
            place.put(kept, its or b"")
    assert len(walks) == 5
    place.remove(NAME)
    remember(place, survey_or_recall(place, run_config(), None)[1])
    assert place.get(NAME) == whole[0], "a run of an earlier version learns it when it goes on"
    place.remove(NAME)
    place.remove(asked.NAME)
    remember(place, survey_or_recall(place, run_config(), None)[1])
    assert place.get(NAME) is None, "what it began with is not known"


def test_what_a_run_can_do_nothing_with_is_said_again(
    tmp_path: Path, run_config: Callable[..., RunConfig], walks: list[RunConfig]
) -> None:
    place = locate(tmp_path / "run")
    begun(place, run_config())
    with pytest.raises(ProblemFileError, match="problem 'p0': no tool"):
        survey_or_recall(place, run_config(), lambda problem: f"no tool for {problem.id}")
    assert len(walks) == 2
