"""What is told of a tree's leaves, taken apart by the rows of an export."""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable
from itertools import pairwise

import pyarrow as pa
import pytest

from berry.pipeline.stages.dataset.reading import read_trees
from berry.pipeline.stages.dataset.stored_rows import TrajectoryRows
from berry.pipeline.stages.export.tree_leaves import REWARDS, TreeLeaves
from berry.pipeline.stages.training.step_labels import ending_of
from berry.pipeline.storage.parquet import lease_tables
from berry.pipeline.storage.parquet.lease_tables import LeaseTable, open_lease
from berry.pipeline.storage.run.directory import RunDir


@pytest.mark.parametrize("rows", [1, 7, 256])
def test_leaves_that_are_stored_in_any_order_stand_in_their_row(
    stored_run: Callable[..., RunDir], monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(lease_tables, "BATCH_ROWS", rows)
    run = stored_run(count=1, policy={"type": "fixed", "branching": [4, 5]})
    [tree] = read_trees(run)
    table = open_lease(run.location, 0, 0)["trajectories"].read()
    order = list(range(table.num_rows))
    random.Random(4).shuffle(order)
    shuffled = LeaseTable("trajectories", {}, table.num_rows, table.take(pa.array(order)))
    stored = TrajectoryRows(shuffled, [(0, table.num_rows)], tree.tree)
    ends = array("i", (int(row["leaf"]) for row in stored))
    ends[3] = -1  # as if no tree was grown for it
    starts = [0, 6, 7, 19, len(tree.tree)]
    leaves = TreeLeaves(stored, ends, starts[:-1])
    for row, (start, stop) in enumerate(pairwise(starts)):
        wanted = [(end, told) for end, told in zip(ends, stored, strict=True) if start <= end < stop]
        found = leaves.of(row, 2).to_pylist()
        assert [leaf["segment"] for leaf in found] == [end - start + 2 for end, _ in wanted]
        assert [leaf["trajectory_id"] for leaf in found] == [told["trajectory_id"] for _, told in wanted]
        assert [leaf["outcome"] for leaf in found] == [ending_of(told) for _, told in wanted]
        assert [leaf["reward"] for leaf in found] == [REWARDS.get(ending_of(told)) for _, told in wanted]
