"""Reads the trees of one step after the other, each file when its first tree is due, and forgets those that were used.

    TreeSource (files) ─► StepReader.read(step) ─► the trees of the step, this process's share of them

In memory are the trees of the files that lie in the shuffle's buffer. A training that goes on at step n reads no file
whose trees were all used before.
"""

from __future__ import annotations

from collections.abc import Iterator

from berry.pipeline.rewards.policy.examples import PolicyTree, TreeSource
from berry.pipeline.rewards.training.step_order import Place, StepOrder, shares


class StepReader:
    """The steps of a training, read in order. `part`: this process's number and how many there are: each reads the
    files and keeps its share of every step."""

    def __init__(self, source: TreeSource, order: StepOrder, part: tuple[int, int] = (0, 1)) -> None:
        self._source = source
        self._order = order
        self._part = part
        self._begin()

    def _begin(self) -> None:
        self._next = 0
        self._steps: Iterator[list[Place]] = self._order.steps()
        self._due: dict[int, set[int]] = {}  # of files that were begun: trees that are not used yet
        self._open: dict[int, dict[int, PolicyTree]] = {}

    def read(self, number: int) -> list[PolicyTree]:
        """The trees of a step, numbered from 0. Raises StorageError."""
        if number < self._next:
            self._begin()
        while self._next < number:
            self._forget(self._following())
        places = self._following()
        rank, processes = self._part
        mine = places if processes == 1 else shares(places, self._order.sizes, processes)[rank]
        trees = [self._tree(place) for place in mine]
        self._forget(places)
        return trees

    def _following(self) -> list[Place]:
        self._next += 1
        places = next(self._steps)
        for file, _ in places:
            if file not in self._due:
                self._due[file] = {number for number, size in enumerate(self._order.sizes[file]) if size}
        return places

    def _tree(self, place: Place) -> PolicyTree:
        file, number = place
        if file not in self._open:
            due = self._due[file]
            self._open[file] = {n: tree for n, tree in self._source.read(file).items() if n in due}
        return self._open[file][number]

    def _forget(self, places: list[Place]) -> None:
        for file, number in places:
            self._due[file].discard(number)
            self._open.get(file, {}).pop(number, None)
            if not self._due[file]:
                del self._due[file]
                self._open.pop(file, None)
