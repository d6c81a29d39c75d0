from __future__ import annotations

from typing import Any

import pytest

from berry.pipeline.config.sections.rounds import PolicyTraining
from berry.pipeline.core.splits import Split
from berry.pipeline.stages.dataset.text_views import connect
from berry.pipeline.stages.training.sft_examples import collect_examples

SPLIT = Split(heldout_share=0.4, validation_share=0.1)


def test_the_generator_learns_from_training_problems_alone(stored_run) -> None:
    found = collect_examples(stored_run(count=30), PolicyTraining(), SPLIT, rounds=[0])
    learned = {problem for problem, _ in found}
    assert len(learned) > 5
    assert all(SPLIT.part(problem) == "train" for problem in learned)


@pytest.mark.parametrize(("learn_from", "where"), [("kept", "kept"), ("all", "finish = 'stop'")])
def test_lessons_are_distinct_answers_of_the_wanted_kind(stored_run, learn_from: Any, where) -> None:
    run = stored_run(count=12)
    found = collect_examples(run, PolicyTraining(learn_from=learn_from, per_problem=100), SPLIT, rounds=[0])
    rows = connect(run).execute(f"select distinct problem_id, response from trajectories where {where}").fetchall()
    expected = sum(SPLIT.part(row[0]) == "train" for row in rows)
    assert len(found) == len(set(found)) == expected > 0


def test_most_and_per_problem_draw_the_same_for_the_same_seed(stored_run) -> None:
    run = stored_run(count=12)
    settings = PolicyTraining(learn_from="all", per_problem=3, most=10, seed=4)
    found = collect_examples(run, settings, SPLIT, rounds=[0])
    assert len(found) == 10
    assert found == collect_examples(run, settings, SPLIT, rounds=[0])
    assert found != collect_examples(run, settings.model_copy(update={"seed": 5}), SPLIT, rounds=[0])
    everything = collect_examples(run, settings.model_copy(update={"most": None}), SPLIT, rounds=[0])
    assert set(found) < set(everything)
    assert max([problem for problem, _ in everything].count(p) for p, _ in everything) == 3
