"""Orders what does not fit memory: files are shuffled, then their trees in a buffer, by a seed alone.

    files ─► shuffled ─► one by one into a buffer of so many trajectories ─► trees drawn from it ─► steps of training

Nothing is read for it but how much each tree holds. So an order can be gone through to any place at once, and every
process that trains has the same one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import floor

Place = tuple[int, int]
"""A file's number, and a tree's number in it."""


@dataclass(frozen=True)
class StepOrder:
    """The steps of a training and what each learns from.

    `sizes`: of each file, how many trajectories (or pairs) each of its trees holds; a tree of 0 is in no step.
    `step_size`: trajectories of a step, at least: whole trees are taken until so many are there. `buffer`:
    trajectories that are shuffled at once. `epochs`: passes over all of it, each in an order of its own; a last part of
    one is as much of its steps.
    """

    sizes: Sequence[Sequence[int]]
    step_size: int
    buffer: int
    seed: int
    epochs: float = 1.0

    @cached_property
    def total(self) -> int:
        """How many steps there are."""
        return sum(1 for _ in self.steps())

    @cached_property
    def steps_an_epoch(self) -> int:
        """Steps of the first epoch; others may differ by a few, since trees are not cut."""
        return sum(1 for _ in self._epoch(0))

    def steps(self) -> Iterator[list[Place]]:
        """The trees of each step, in order."""
        whole = floor(self.epochs)
        for epoch in range(whole):
            yield from self._epoch(epoch)
        if self.epochs > whole:
            last = list(self._epoch(whole))
            yield from last[: max(1, round(len(last) * (self.epochs - whole)))]

    def _epoch(self, epoch: int) -> Iterator[list[Place]]:
        """A last step of fewer than half goes to the one before."""
        waiting: list[Place] | None = None
        step: list[Place] = []
        held = 0
        for place in shuffled(self.sizes, buffer=self.buffer, seed=f"{self.seed}/{epoch}"):
            if held >= self.step_size:
                if waiting is not None:
                    yield waiting
                waiting, step, held = step, [], 0
            step.append(place)
            held += self.sizes[place[0]][place[1]]
        if waiting is not None and held * 2 < self.step_size:
            yield waiting + step
            return
        if waiting is not None:
            yield waiting
        if step:
            yield step


def shuffled(sizes: Sequence[Sequence[int]], *, buffer: int, seed: str) -> Iterator[Place]:
    """Every tree that holds something, once. A tree is at most so far from where its file came that the trees between
    fill the buffer; what all of them hold together is at most `buffer` and one file."""
    chance = random.Random(f"{seed}/order")
    files = [number for number, trees in enumerate(sizes) if any(trees)]
    chance.shuffle(files)
    held: list[Place] = []
    total = 0
    for file in files:
        for number, size in enumerate(sizes[file]):
            if size:
                held.append((file, number))
                total += size
        while total > buffer:
            place = _draw(held, chance)
            total -= sizes[place[0]][place[1]]
            yield place
    while held:
        yield _draw(held, chance)


def _draw(held: list[Place], chance: random.Random) -> Place:
    at = chance.randrange(len(held))
    held[at], held[-1] = held[-1], held[at]
    return held.pop()


def shares(places: Sequence[Place], sizes: Sequence[Sequence[int]], parts: int) -> list[list[Place]]:
    """Divides a step's trees among so many processes, as evenly as trees that are not cut allow."""
    loads = [0] * parts
    mine: list[list[Place]] = [[] for _ in range(parts)]
    for place in sorted(places, key=lambda place: -sizes[place[0]][place[1]]):
        least = loads.index(min(loads))
        loads[least] += sizes[place[0]][place[1]]
        mine[least].append(place)
    return mine
