"""Tells of each leaf of a tree what trainers on whole trees read, row by row of an export.

    trajectories, some rows at a time ─► TreeLeaves: a temporary file ─► TreeLeaves.of: the leaves of one row

A tree that is cut into rows (formats/tree.py) has the leaves of one of them in memory, whatever order they are stored
in. Up to `IN_MEMORY_BYTES` the file is no file but memory; it has no name, and lies where `TMPDIR` says.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from tempfile import SpooledTemporaryFile

import numpy as np
import pyarrow as pa

from berry.pipeline.records import Ending, ending
from berry.pipeline.stages.dataset.node_contents import IN_MEMORY_BYTES
from berry.pipeline.stages.dataset.stored_rows import TrajectoryRows

REWARDS = {Ending.PASS: 1.0, Ending.WRONG: 0.0}
LEAF = pa.struct(
    [
        ("segment", pa.int32()),
        ("trajectory_id", pa.string()),
        ("verdict", pa.string()),
        ("outcome", pa.string()),  # records.Ending: what is neither right nor wrong apart
        ("reward", pa.float32()),  # 1 right, 0 wrong, null where it is neither
        ("answer", pa.string()),
        ("kept", pa.bool_()),
        ("drop_reason", pa.string()),
        ("orm", pa.float64()),
    ]
)
_MADE = ("segment", "outcome", "reward")
_STORED = tuple(field.name for field in LEAF.fields if field.name not in _MADE)
_OF_OUTCOME = ("verdict", "verdict_reason", "finish")


class TreeLeaves:
    """The leaves of one tree, by the row of the export that they stand in."""

    def __init__(self, trajectories: TrajectoryRows, ends: array[int], starts: Sequence[int]) -> None:
        """`ends`: the segment of the whole tree in which each trajectory ends, -1 of one without a tree; `starts`: the
        first segment of each row, ascending."""
        self._starts = starts
        self._file = SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115
        self._pieces: list[list[int]] = [[] for _ in starts]
        places, at, written = np.frombuffer(ends, np.int32), 0, 0
        with pa.ipc.new_file(pa.PythonFile(self._file, "w"), pa.schema(LEAF.fields)) as writer:
            for batch in trajectories.batches((*_STORED, *_OF_OUTCOME)):
                segments = places[at : at + batch.num_rows]
                at += batch.num_rows
                rows = np.searchsorted(starts, segments, side="right") - 1  # -1: no tree
                told = _told(batch, segments)
                for row in np.unique(rows[rows >= 0]):
                    writer.write_batch(told.take(pa.array(np.flatnonzero(rows == row))))
                    self._pieces[row].append(written)
                    written += 1

    def __del__(self) -> None:
        self._file.close()

    def of(self, row: int, above: int) -> pa.StructArray:
        """Structs of `LEAF`, in the order in which they are stored; `above`: segments of the row before its first."""
        with pa.ipc.open_file(pa.PythonFile(self._file, "r")) as reader:
            pieces = [reader.get_batch(number) for number in self._pieces[row]]
        segments, *columns = pa.Table.from_batches(pieces, schema=pa.schema(LEAF.fields)).combine_chunks().columns
        moved = pa.array(segments.to_numpy() + np.int32(above - self._starts[row]), pa.int32())
        return pa.StructArray.from_arrays([moved, *(c.combine_chunks() for c in columns)], fields=LEAF.fields)


def _told(batch: pa.RecordBatch, segments: np.ndarray) -> pa.RecordBatch:
    """Of some trajectories, the columns of `LEAF`."""
    outcomes = [ending(*told) for told in zip(*(batch[name].to_pylist() for name in _OF_OUTCOME), strict=True)]
    made = {
        "segment": pa.array(segments),
        "outcome": pa.array(outcomes, pa.string()),
        "reward": pa.array([REWARDS.get(outcome) for outcome in outcomes], pa.float32()),
    }
    columns = [made[f.name] if f.name in made else batch[f.name].cast(f.type) for f in LEAF.fields]
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema(LEAF.fields))
