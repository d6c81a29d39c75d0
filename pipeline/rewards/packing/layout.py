"""Lays sequences that share prefixes out as one, depth first, so that each shared token stands there once.

    sequences                     packed                      position   parent   end
    a b c d                       a b c d e f                 0 1 2 3    -1 0 1 2   6 6 4 4
    a b e          ─► sort ─►                                 2           1         5
    a b f                                                     2           1         6

Token t may look at token u where u <= t < end[u]: depth first, all that continues u lies in one piece behind it. The
number that a causal model computes at a token depends on the tokens before it alone, so that nothing is lost by
computing it once: what each of the sequences adds to a loss there is added up.
Sequences that share nothing may lie in one pack too: none looks at another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from berry.pipeline.errors import ResourceError

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pack:
    """R rows of T tokens for one pass; a packed tree has one row, padded sequences a row each. Tokens are numbered row
    by row.

    `ids`, `positions` [R, T]: what the model reads. `parents` [R·T]: number of the token before, -1 for a first one.
    `ends` [T]: of a packed row, the number behind the last token that continues this one; None for padded rows, whose
    `lengths` [R] say where padding begins. `members`: which of the given sequences are here, and `places` of each the
    numbers of its tokens.
    """

    ids: Ints
    positions: Ints
    parents: Ints
    ends: Ints | None
    lengths: Ints
    members: tuple[int, ...]
    places: tuple[Ints, ...]

    @property
    def computed(self) -> int:
        """Tokens that the model computes, padding left out."""
        return int(self.lengths.sum())

    def add_up(self, values: Sequence[Floats]) -> Floats:
        """Sums numbers a token of the member sequences by the token of the pack that they share, [R·T]."""
        total = np.zeros(self.ids.size, np.float32)
        for places, of in zip(self.places, values, strict=True):
            total[places] += of
        return total

    def take(self, values: Sequence[Floats]) -> Floats:
        """Numbers that sequences sharing a token agree on, by token of the pack, [R·T]."""
        total = np.zeros(self.ids.size, np.float32)
        for places, of in zip(self.places, values, strict=True):
            total[places] = of
        return total


def pack(sequences: Sequence[Ints], budget: int, *, keys: Sequence[Ints] | None = None) -> list[Pack]:
    """Packs of at most `budget` tokens that hold every sequence once.

    Where they don't fit one pack they are cut between two sequences, at the branches where the least is repeated.
    `keys` [a token]: tokens are shared while these are equal; by default their ids. Raises ResourceError where a
    sequence is longer than the budget.
    """
    keys = sequences if keys is None else keys
    longest = max(map(len, sequences), default=0)
    if longest > budget:
        raise ResourceError(f"a sequence of {longest} tokens does not fit a pack of {budget}")
    order = depth_first(keys)
    shared = [0, *(_shared(keys[a], keys[b]) for a, b in pairwise(order))]
    return [_lay_out(sequences, order[a:b], shared[a:b]) for a, b in _cuts(sequences, order, shared, budget)]


def pad(sequences: Sequence[Ints]) -> Pack:
    """The sequences side by side, padded on the right: the plain batch, which every causal model reads."""
    lengths = np.array([len(s) for s in sequences], np.int64)
    longest = int(lengths.max())
    ids = np.zeros((len(sequences), longest), np.int64)
    for row, sequence in zip(ids, sequences, strict=True):
        row[: len(sequence)] = sequence
    numbers = np.arange(ids.size, dtype=np.int64).reshape(ids.shape)
    parents = numbers - 1
    parents[:, 0] = -1
    return Pack(
        ids=ids,
        positions=np.broadcast_to(np.arange(longest, dtype=np.int64), ids.shape),
        parents=parents.reshape(-1),
        ends=None,
        lengths=lengths,
        members=tuple(range(len(sequences))),
        places=tuple(row[:length] for row, length in zip(numbers, lengths, strict=True)),
    )


def depth_first(sequences: Sequence[Ints]) -> list[int]:
    """Numbers of the sequences, those beside each other that share the longest prefixes."""
    # Big-endian bytes sort as the numbers do, and a prefix before what continues it.
    return sorted(range(len(sequences)), key=lambda i: sequences[i].astype(">i8").tobytes())


def packed_tokens(sequences: Sequence[Ints]) -> int:
    """Tokens of the sequences with each shared prefix once."""
    order = [sequences[i] for i in depth_first(sequences)]
    return sum(map(len, order)) - sum(_shared(a, b) for a, b in pairwise(order))


def _shared(a: Ints, b: Ints) -> int:
    """Length of the common prefix."""
    n = min(len(a), len(b))
    differ = np.flatnonzero(a[:n] != b[:n])
    return int(differ[0]) if len(differ) else n


def _cuts(sequences: Sequence[Ints], order: list[int], shared: list[int], budget: int) -> Iterator[tuple[int, int]]:
    """Stretches of the order that fit a pack each: those with the fewest repeated tokens, then the fewest packs."""
    best: list[tuple[int, int]] = [(0, 0)]
    begins: list[int] = []
    for stop in range(1, len(order) + 1):
        size, found, begin = 0, None, stop - 1
        for start in range(stop - 1, -1, -1):
            # The first of a pack stands there whole; what it shared with the one before is computed again.
            whole = size + len(sequences[order[start]])
            if whole <= budget:
                again, packs = best[start]
                cost = (again + shared[start], packs + 1)
                if found is None or cost < found:
                    found, begin = cost, start
            size = whole - shared[start]
            if size > budget:
                break
        assert found is not None, "a sequence alone fits"
        best.append(found)
        begins.append(begin)
    stretches, stop = [], len(order)
    while stop:
        stretches.append((begins[stop - 1], stop))
        stop = begins[stop - 1]
    yield from reversed(stretches)


def _lay_out(sequences: Sequence[Ints], order: list[int], shared: list[int]) -> Pack:
    ids: list[Ints] = []
    parents: list[Ints] = []
    positions: list[Ints] = []
    places: list[Ints] = []
    at = 0
    for number, member in enumerate(order):
        common = shared[number] if number else 0
        sequence = sequences[member]
        new = np.arange(at, at + len(sequence) - common, dtype=np.int64)
        place = np.concatenate((places[-1][:common], new)) if number else new
        before = np.concatenate((place[common - 1 : common] if common else np.array([-1]), new[:-1]))
        ids.append(sequence[common:])
        parents.append(before[: len(new)])
        positions.append(np.arange(common, len(sequence), dtype=np.int64))
        places.append(place)
        at += len(new)
    ends = np.arange(1, at + 1, dtype=np.int64)
    above = np.concatenate(parents)
    for token in range(at - 1, -1, -1):  # what continues a token continues its parent
        if above[token] >= 0:
            ends[above[token]] = max(ends[above[token]], ends[token])
    return Pack(
        ids=np.concatenate(ids)[None, :],
        positions=np.concatenate(positions)[None, :],
        parents=above,
        ends=ends,
        lengths=np.array([at], np.int64),
        members=tuple(order),
        places=tuple(places),
    )
