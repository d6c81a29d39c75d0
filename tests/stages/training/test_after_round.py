from __future__ import annotations

from pathlib import Path

import pytest

from berry.pipeline.config.sections.rounds import SftTraining
from berry.pipeline.stages.training.after_round import _starts_from
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.weights_file import RunWeights, Weights


@pytest.mark.parametrize(
    ("start", "trained", "expected"),
    [
        ("base", False, "tiny"),
        ("base", True, "tiny"),
        ("latest", False, "tiny"),
        ("latest", True, "round=0/weights/policy"),
    ],
)
def test_a_fine_tuning_starts_where_it_is_told_to(tmp_path: Path, start, trained: bool, expected: str) -> None:
    now = RunWeights(1, Weights("round=0/weights/policy", "policy-r0") if trained else None, {})
    found = _starts_from(RunDir(locate(tmp_path)), "tiny", SftTraining(start=start), now)
    assert found.endswith(expected)


def test_by_default_it_is_the_base_with_the_trajectories_of_all_rounds() -> None:
    assert SftTraining().start == "base"
    assert SftTraining().learns_from_all_rounds
    assert not SftTraining(start="latest").learns_from_all_rounds, "it has learned from them already"
    assert SftTraining(start="latest", all_rounds=True).learns_from_all_rounds
    assert not SftTraining(all_rounds=False).learns_from_all_rounds
