"""Weights say which problems they were trained on, and an evaluation counts those of its benchmarks among them."""

from __future__ import annotations

from pathlib import Path

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.rewards.model.card import Card
from berry.pipeline.stages.problems.sources import iter_problems
from berry.pipeline.stages.training.benchmark_overlap import overlap_lines
from berry.pipeline.stages.training.training_problems import NAME, training_problems


def config(count: int) -> RunConfig:
    raw = {
        "name": "test",
        "problems": [{"type": "synthetic", "count": count, "seed": 4}],
        "engine": {"type": "synthetic"},
    }
    return validate(raw, RunConfig, where="test")


def weights(folder: Path, files: dict[str, bytes]) -> str:
    folder.mkdir()
    card = Card(what="prm", version="prm-r0", backbone="fresh", vocabulary="v")
    (folder / "card.json").write_text(card.to_json())
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return str(folder)


def test_problems_that_the_weights_were_trained_on_are_counted(tmp_path: Path):
    run = config(20)
    every = list(iter_problems(run.problems))
    folder = weights(tmp_path / "prm", training_problems(run, {p.id for p in every[:12]}))
    benchmark = [("sums", p.text) for p in every[8:]]
    (line,) = overlap_lines(
        {"prm": folder}, [*benchmark, ("other", "Name the largest prime below one hundred, and why.")]
    )
    assert line.startswith("warning: 4 of 12 problems of sums overlap with the 12 that the prm was trained on")


def test_an_instruction_after_the_question_hides_no_overlap(tmp_path: Path):
    run = config(3)
    (first, *_) = iter_problems(run.problems)
    folder = weights(tmp_path / "prm", training_problems(run, {first.id}))
    asked = first.text + "\nPut the answer in a box."
    assert overlap_lines({"prm": folder}, [("sums", asked)])[0].startswith("warning: 1 of 1 problems")


def test_weights_that_do_not_say_are_told_apart(tmp_path: Path):
    old = weights(tmp_path / "old", {})
    (tmp_path / "published").mkdir()
    (line,) = overlap_lines({"prm": old, "generator": str(tmp_path / "published")}, [("sums", "1 + 1?")])
    assert "not known of the prm (prm-r0: its card is of before problems were kept" in line
    assert "the generator (weights without a card)" in line


def test_a_part_of_the_problems_is_never_taken_for_all():
    run = config(3)
    ids = {p.id for p in iter_problems(run.problems)}
    assert set(training_problems(run, ids)) == {NAME}
    assert training_problems(run, ids) == training_problems(run, ids)
    assert training_problems(run, {*ids, "gone"}) == {}
