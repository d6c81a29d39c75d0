"""Collects a column whose rows are lists, flat, and reads one back. A Python list for each row would be made only to be
taken apart again, and be looked at by the garbage collector meanwhile.

    NumberLists: ids, log-probabilities ─► arrow ─► arrays_of      Coded: lists of a few different values ─► arrow
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import pyarrow as pa

_TYPES = {"i": pa.int32(), "f": pa.float32(), "b": pa.int8()}
NUMBERS = {pa.list_(kind): code for code, kind in _TYPES.items()}
"""The code of Python's arrays by the type of the lists of such numbers."""


def lists_of(inner: pa.Array, ends: array[int], nulls: Sequence[int] = ()) -> pa.Array:
    """The lists that `inner` falls into at the offsets `ends`, of which the first is 0; null in the rows `nulls`."""
    offsets = pa.Array.from_buffers(pa.int32(), len(ends), [None, pa.py_buffer(ends)])
    mask = None
    if nulls:
        rows = bytearray(len(ends) - 1)
        for row in nulls:
            rows[row] = 1
        mask = pa.array(memoryview(rows).cast("?"), pa.bool_())
    return pa.ListArray.from_arrays(offsets, inner, mask=mask)


@dataclass(slots=True)
class NumberLists:
    """A column of lists of numbers. `code`: "i" for int32, "f" for float32, "b" for int8."""

    code: str
    flat: array[Any] = field(default_factory=lambda: array("b"))
    ends: array[int] = field(default_factory=lambda: array("i", (0,)))
    nulls: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.flat.typecode != self.code:
            self.flat = array(self.code, self.flat)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def add(self, parts: Iterable[Sequence[Any]]) -> None:
        """Adds a row, the numbers of all parts after each other."""
        flat = self.flat
        for part in parts:
            flat.extend(part)
        self.ends.append(len(flat))

    def add_null(self) -> None:
        """Adds a row without a list."""
        self.nulls.append(len(self))
        self.ends.append(len(self.flat))

    def arrow(self) -> pa.Array:
        """The column as Arrow has it; the numbers are not copied."""
        inner = pa.Array.from_buffers(_TYPES[self.code], len(self.flat), [None, pa.py_buffer(self.flat)])
        return lists_of(inner, self.ends, self.nulls)


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of lists whose elements are few different `values`: the lists hold their indices. Several columns may
    share `codes` and `ends`."""

    codes: array[int]
    ends: array[int]
    values: Sequence[Any]

    def __len__(self) -> int:
        return len(self.ends) - 1

    def arrow(self, kind: pa.ListType) -> pa.Array:
        """The column as Arrow has it, of list type `kind`."""
        codes = pa.Array.from_buffers(pa.int32(), len(self.codes), [None, pa.py_buffer(self.codes)])
        return lists_of(pa.array(self.values, type=kind.value_type).take(codes), self.ends)


def numbers_of(rows: Iterable[Sequence[Any] | None], code: str) -> NumberLists:
    """A column of these lists; None makes a null."""
    column = NumberLists(code)
    for row in rows:
        if row is None:
            column.add_null()
        else:
            column.add((row,))
    return column


def ends_of(rows: Iterable[Sequence[Any]]) -> array[int]:
    """Where each row's list ends in all of them joined; 0 first."""
    return array("i", (0, *accumulate(map(len, rows))))


def arrays_of(column: pa.ListArray, code: str) -> list[array[Any] | None]:
    """A column of lists of numbers as Python's compact arrays, one a row; None for a null."""
    numbers = memoryview(column.values.to_numpy(zero_copy_only=True))
    ends = column.offsets.to_pylist()
    is_null = column.is_null().to_pylist()
    found: list[array[Any] | None] = []
    for row, null in enumerate(is_null):
        found.append(None if null else array(code, numbers[ends[row] : ends[row + 1]].tobytes()))
    return found
