from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from berry.pipeline.config.sections.rewards import RewardTraining
from berry.pipeline.config.sections.rounds import Rounds, SftTraining
from berry.pipeline.core.assignment.splits import Split, draw, split_of
from berry.pipeline.core.search.audit import is_unpruned
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.errors import InputError
from berry.pipeline.rewards.policy.examples import every_tree
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.stages.export.export import ExportRequest, export
from berry.pipeline.stages.training.policy_trees import collect_trees
from berry.pipeline.stages.training.reward_data import check_split, collect
from berry.pipeline.storage.run.directory import RunDir


def test_shares_are_met_and_parts_stay_put() -> None:
    split = Split(heldout_share=0.2, validation_share=0.1)
    parts = Counter(split.part(f"p{i}") for i in range(20_000))
    assert abs(parts["heldout"] / 20_000 - 0.2) < 0.015
    assert abs(parts["validation"] / 20_000 - 0.1) < 0.015
    assert draw("p7") == draw("p7") != draw("p7", seed=1)


def test_a_larger_share_only_adds_to_what_is_held_out() -> None:
    small = {f"p{i}" for i in range(500) if Split(0.1).part(f"p{i}") == "heldout"}
    large = {f"p{i}" for i in range(500) if Split(0.3).part(f"p{i}") == "heldout"}
    assert small < large


@pytest.fixture
def run(stored_run: Callable[..., RunDir]) -> RunDir:
    return stored_run(count=40)


def test_everything_that_learns_or_is_exported_goes_by_one_split(run: RunDir, tmp_path) -> None:
    import pyarrow.parquet as pq

    config = stored_config(run)
    split = split_of(config)
    speaks = vocabulary.of_engine(config.engine)
    splits = collect(run, config, RewardTraining(), speaks, rounds=[0], progress=lambda *_: None).sample
    rewards = {
        "train": {p.problem_id for p in splits.train},
        "validation": {p.problem_id for p in splits.validation},
        "heldout": {p.problem_id for p in splits.heldout},
    }
    assert all(rewards.values())
    done = export(run, ExportRequest("orm"), str(tmp_path / "out"))
    exported = {name: set(pq.read_table(path)["problem_id"].to_pylist()) for name, path in done.files.items()}
    assert exported == rewards
    generator = {tree.problem_id for tree in list(every_tree(collect_trees(run, SftTraining(), split, rounds=[0])))}
    assert generator <= rewards["train"]
    assert len(generator) > 5


@pytest.mark.parametrize("form", ["sft", "dpo", "prm", "pairs", "rl"])
def test_every_export_keeps_the_parts_apart(run: RunDir, tmp_path, form: str) -> None:
    import pyarrow.parquet as pq

    split = split_of(stored_config(run))
    done = export(run, ExportRequest(form), str(tmp_path / form))
    seen = 0
    for part, path in done.files.items():
        ids = set(pq.read_table(path)["problem_id"].to_pylist())
        seen += len(ids)
        assert {split.part(problem) for problem in ids} <= {part}
    assert seen > 5


def test_audits_and_rounds_are_of_problems_that_nothing_learns_from(stored_run: Callable[..., RunDir]) -> None:
    cut = {"cut": {"below": 0.3, "speculative": False}, "audit_share": 0.1}
    for rounds in (1, 2):
        config = stored_config(stored_run(f"r{rounds}", count=4, rollout=cut, rounds=rounds))
        unpruned = {f"p{i}" for i in range(2000) if is_unpruned(config, f"p{i}")}
        assert {split_of(config).part(family) for family in unpruned} == {"heldout"}


def test_a_training_by_another_split_than_the_generator_s_is_refused(run: RunDir) -> None:
    config = stored_config(run)
    other = RewardTraining(split_seed=5)
    check_split(config, other)  # no generator has learned from this run
    taught = config.model_copy(update={"rounds": Rounds(count=2, policy=SftTraining())})
    check_split(taught, RewardTraining(epochs=1))
    with pytest.raises(InputError, match="split_seed 5 would hold others out"):
        check_split(taught, other)
