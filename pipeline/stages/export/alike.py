"""Gathers the trajectories of a tree that say the same, in 24 bytes a trajectory.

(text digest, trajectory, leaf) … ─► Alike.groups ─► the places of each group, by first appearance
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

import numpy as np

from berry.pipeline.stages.export.base import text_digest


class Alike:
    """Trajectories by what they say. `rows`: their numbers among the tree's; `leaves`: the numbers of the nodes with
    which they end; each by place, in the order in which they were added."""

    def __init__(self) -> None:
        self.rows, self.leaves = array("i"), array("i")
        self._digests = bytearray()

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, row: int, leaf: str, texts: Sequence[str]) -> None:
        """Adds one, which says `texts`."""
        self.rows.append(row)
        self.leaves.append(int(leaf))
        self._digests += text_digest(*texts)

    def groups(self) -> Iterator[Sequence[int]]:
        """The places of those that say the same, ascending; groups by their first."""
        halves = np.frombuffer(bytes(self._digests), np.uint64).reshape(-1, 2)
        order = np.lexsort((halves[:, 1], halves[:, 0]))  # stable: places ascend within a group
        is_first = np.any(halves[order][1:] != halves[order][:-1], axis=1)
        starts = np.concatenate(([0], np.flatnonzero(is_first) + 1)) if len(order) else order
        ends = np.append(starts[1:], len(order))
        for at in np.argsort(order[starts]):
            yield order[starts[at] : ends[at]].tolist()
