"""A large round's files are merged in a process of its own; what is wrong with them is told as by the driver itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from berry.pipeline.api.runs import Run
from berry.pipeline.errors import StorageError
from berry.pipeline.runtime.driver.merge_process import FEW_TOKENS, merge_after_round
from berry.pipeline.storage.run.directory import open_run

STORED = Path(__file__).parents[2] / "stored" / "run-0.1.0"


@pytest.mark.slow
async def test_a_large_round_is_merged_elsewhere_or_the_error_is_told(tmp_path: Path) -> None:
    place = shutil.copytree(STORED, tmp_path / "run")
    run = open_run(str(place))
    before = list(Run(str(place)).trajectories())
    shards = sorted((place / "round=0" / "nodes").iterdir())
    whole = shards[0].read_bytes()
    shards[0].write_bytes(whole[:-9])
    with pytest.raises(StorageError, match=f"is damaged: .*{shards[0].name}.*`berry check` says more"):
        await merge_after_round(run, 0, generated=FEW_TOKENS + 1)
    shards[0].write_bytes(whole)
    await merge_after_round(run, 0, generated=FEW_TOKENS + 1)
    assert len(list((place / "round=0" / "nodes").iterdir())) == 1 < len(shards)
    assert list(Run(str(place)).trajectories()) == before
