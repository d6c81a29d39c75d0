from __future__ import annotations

import json
from pathlib import Path

import pytest

from berry.pipeline.config.sections.rewards import FreshBackbone, PretrainedBackbone, RewardTraining
from berry.pipeline.core.assignment.splits import Split
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.errors import InputError
from berry.pipeline.rewards.model.card import NAME, read_card
from berry.pipeline.rewards.training.examples import samples
from berry.pipeline.rewards.training.stored_rows import StoredRows
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.stages.training.reward_data import Collected, TrainingFiles, collect
from berry.pipeline.stages.training.reward_model import REPORT, train_reward
from berry.pipeline.storage.run.directory import RunDir

SETTINGS = RewardTraining(
    backbone=FreshBackbone(layers=1, hidden=16, heads=2, max_tokens=1024),
    epochs=1,
    evaluate_every=1.0,
    per_problem=4,
    heldout_share=0.3,
    validation_share=0.2,
)


@pytest.mark.slow
def test_a_run_becomes_a_model_with_card_report_and_picture(stored_run) -> None:
    run = stored_run(count=24)
    result = train_reward(run, "prm", SETTINGS)
    folder = Path(result.folder)
    assert {"model.safetensors", "config.json", NAME, REPORT, "calibration.png"} <= {p.name for p in folder.iterdir()}
    assert not Path(f"{folder}.training").exists()
    card = read_card(str(folder))
    assert card is not None
    assert card.synthetic
    assert card.runs == ("run",)
    assert card.rounds == (0,)
    assert card.vocabulary == "synthetic-digits"
    report = json.loads((folder / REPORT).read_text())
    assert {line["scorer"] for line in report["scorers"]} == {"prm", "prm_alone", "constant", "length"}
    assert card.blend is not None
    picks = {"prm_last", "prm_min", "prm_alone_last", "prm_alone_min"}
    assert {"random", "verifier", "majority", *picks} == set(report["best_of_n"])
    assert abs(report["truth"]["label_bias"]) < 5 * report["truth"]["standard_error"]
    again = train_reward(run, "prm", SETTINGS)
    assert again.reused
    assert again.report == report


@pytest.mark.slow
def test_it_finds_first_errors_that_neither_constant_nor_length_finds(stored_run) -> None:
    run = stored_run(count=140, tell=1.0, error_rate=(0.2, 0.4), filler_tokens=(0, 0))
    settings = SETTINGS.model_copy(update={"epochs": 6.0, "learning_rate": 5e-3, "batch_size": 8})
    lines = {line["scorer"]: line for line in train_reward(run, "prm", settings).report["scorers"]}
    for baseline in ("constant", "length"):
        assert lines["prm"]["truth_auc"] > lines[baseline]["truth_auc"] + 0.1
        assert lines["prm"]["truth_first_error_f1"] > lines[baseline]["truth_first_error_f1"] + 0.1


@pytest.mark.slow
def test_a_synthetic_run_gets_a_fresh_backbone_with_a_fresh_ones_learning_rate(stored_run) -> None:
    run = stored_run(count=16)
    settings = SETTINGS.model_copy(update={"backbone": None, "per_problem": 1, "min_each": 1})
    settings = settings.model_copy(update={"blend": False})
    card = train_reward(run, "prm", settings).card
    assert card.blend is None
    assert card.config["backbone"] == FreshBackbone().model_dump(mode="json")
    assert train_reward(run, "prm", settings).reused


@pytest.mark.slow
def test_a_backbone_with_another_tokenizer_reads_the_text(stored_run) -> None:
    run = stored_run(count=12)
    settings = SETTINGS.model_copy(
        update={"backbone": PretrainedBackbone(model="tiny-arithmetic"), "min_each": 2, "max_tokens": 2000}
    )
    notes: list[str] = []
    result = train_reward(run, "orm", settings, progress=lambda text, _share: notes.append(text))
    assert any("another tokenizer" in note for note in notes)
    assert result.card.vocabulary not in ("synthetic", "synthetic-digits")


def test_nothing_is_ever_trained_on_what_is_held_out(stored_run) -> None:
    splits = _collected(stored_run(count=20), SETTINGS).sample
    by_part = {name: {p.problem_id for p in getattr(splits, name)} for name in ("train", "validation", "heldout")}
    assert all(by_part.values())
    for name, problems in by_part.items():
        for problem in problems:
            assert Split(0.3, 0.2).part(problem) == name


def _collected(run: RunDir, settings: RewardTraining, files: TrainingFiles | None = None) -> Collected:
    config = stored_config(run)
    speaks = vocabulary.of_engine(config.engine)
    return collect(run, config, settings, speaks, rounds=[0], progress=lambda _t, _s: None, files=files)


def test_rows_in_files_are_those_of_all_paths_whatever_is_in_memory(stored_run, tmp_path: Path) -> None:
    run = stored_run(count=20)
    small = SETTINGS.model_copy(update={"sample_size": 5})
    with TrainingFiles(tmp_path / "rows", tmp_path / "validation", "prm", small, run) as files:
        found = _collected(run, small, files)
    whole = _collected(run, SETTINGS)
    assert found.problems == whole.problems
    assert (found.trajectories, found.labels) == (whole.trajectories, whole.labels)
    assert whole.trajectories == len(whole.sample.train) == found.passed + found.failed
    for name, folder in (("train", "rows"), ("validation", "validation")):
        paths = getattr(whole.sample, name)
        wanted = samples(paths, what="prm", targets="soft", min_visits=1, weigh_by_visits=True)
        stored = list(StoredRows(tmp_path / folder))
        assert sorted(row.ids for row in stored) == sorted(row.ids for row in wanted)
        assert {row.ids: row.positions for row in stored} == {row.ids: row.positions for row in wanted}
        weight = sum(sum(row.weights) for row in stored)
        assert weight == pytest.approx(sum(sum(row.weights) for row in wanted), rel=1e-5)
        few = getattr(found.sample, name)
        assert 0 < len(few) <= 5
        assert {path.trajectory_id for path in few} < {path.trajectory_id for path in paths}, "whole trees, drawn by id"


def test_reading_ends_with_the_most_that_are_wanted(stored_run) -> None:
    run = stored_run(count=40)
    found = _collected(run, SETTINGS.model_copy(update={"most": 20}))
    assert 20 <= found.trajectories < 20 + SETTINGS.per_problem
    assert found.trajectories < _collected(run, SETTINGS).trajectories


# ---- bad input -----------------------------------------------------------------------------------------------------


def test_one_problem_is_too_few(stored_run) -> None:
    with pytest.raises(InputError, match=r"verdicts are of 1 problem"):
        train_reward(stored_run(count=1), "prm", SETTINGS)


def test_a_single_class_teaches_nothing(stored_run) -> None:
    run = stored_run(count=20, error_rate=(1.0, 1.0), repair_rate=(0.0, 0.0), hard_share=0.0)
    with pytest.raises(InputError, match=r"too few passing trajectories .* 0 pass"):
        train_reward(run, "orm", SETTINGS)


def test_no_problem_in_a_share_is_said_so(stored_run) -> None:
    run = stored_run(count=6)
    settings = SETTINGS.model_copy(update={"heldout_share": 0.0001, "min_each": 1})
    with pytest.raises(InputError, match="raise heldout_share"):
        train_reward(run, "prm", settings)


def test_visits_that_no_step_has(stored_run) -> None:
    with pytest.raises(InputError, match="lower min_visits"):
        train_reward(stored_run(count=20), "prm", SETTINGS.model_copy(update={"min_visits": 1000, "min_each": 1}))


def test_where_branches_were_cut_no_threshold_chooses_among_labels(stored_run) -> None:
    run = stored_run(count=20, rollout={"cut": {"below": 0.3, "spare": 0.3, "speculative": False}})
    with pytest.raises(InputError, match=r"min_visits 2: branches of .* were cut"):
        train_reward(run, "prm", SETTINGS.model_copy(update={"min_visits": 2, "min_each": 1}))


def test_a_run_without_a_commit_has_nothing_to_teach(stored_run) -> None:
    run = stored_run(count=2)
    run.location.remove_folder("round=0/trajectories")
    with pytest.raises(InputError, match="nothing is committed"):
        train_reward(run, "prm", SETTINGS)
