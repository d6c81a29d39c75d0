"""One run's tokens are drawn in one way: an engine with another runner or sampler may not join."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from berry.pipeline.engines.base import EngineInfo
from berry.pipeline.errors import EngineError, StorageError
from berry.pipeline.stages.rollout.engine_kind import refuse_mixture
from berry.pipeline.storage.files import locate

FIRST = EngineInfo("rollout-0", "org/model", 128, 8, 16, versions={"vllm": "0.32.0", "runner": "v2", "sampler": "S.a"})


def test_the_first_engine_says_how_and_others_must_be_like_it(tmp_path: Path) -> None:
    run = locate(tmp_path)
    refuse_mixture(run, FIRST)
    refuse_mixture(run, replace(FIRST, engine_id="rollout-1"))
    refuse_mixture(run, replace(FIRST, versions={"device": "cpu"}))  # it does not say: a server, say
    refuse_mixture(run, replace(FIRST, model="other", versions={"runner": "v1", "sampler": "S.a"}))
    other = replace(FIRST, engine_id="rollout-2", versions={"runner": "v1", "sampler": "S.a"})
    with pytest.raises(
        EngineError, match=r"rollout-2 draws tokens otherwise .*: runner v1 \(the run has v2\)\. "
    ) as told:
        refuse_mixture(run, other)
    note = tmp_path / "engines/org_model.json"
    assert str(note) in str(told.value)
    note.write_text("{")
    with pytest.raises(StorageError, match=r"org_model\.json is damaged .*: remove it"):
        refuse_mixture(run, FIRST)
