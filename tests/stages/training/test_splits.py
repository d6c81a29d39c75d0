from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from berry.pipeline.config.sections.rewards import RewardTraining
from berry.pipeline.config.sections.rounds import PolicyTraining
from berry.pipeline.core.splits import Split, draw, split_of, split_of_stored
from berry.pipeline.engines import vocabulary
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.stages.export.export import ExportRequest, export
from berry.pipeline.stages.training.reward_data import collect
from berry.pipeline.stages.training.sft_examples import collect_examples
from berry.pipeline.storage.dataset import RunDir


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
    assert split == split_of_stored(run.config() or {})
    speaks = vocabulary.of_engine(config.engine)
    splits, _ = collect(run, config, RewardTraining(), speaks, rounds=[0], progress=lambda *_: None)
    rewards = {
        "train": {p.problem_id for p in splits.train},
        "validation": {p.problem_id for p in splits.validation},
        "heldout": {p.problem_id for p in splits.heldout},
    }
    assert all(rewards.values())
    done = export(run, ExportRequest("orm"), str(tmp_path / "out"))
    exported = {name: set(pq.read_table(path)["problem_id"].to_pylist()) for name, path in done.files.items()}
    assert exported == rewards
    generator = {problem for problem, _ in collect_examples(run, PolicyTraining(), split, rounds=[0])}
    assert generator <= rewards["train"]
    assert len(generator) > 5
