"""Columns that are collected flat hold the rows that pa.array makes of the same lists."""

from __future__ import annotations

from array import array

import pyarrow as pa
import pytest

from berry.pipeline.storage.parquet.list_columns import Coded, NumberLists, ends_of, lists_of, numbers_of


@pytest.mark.parametrize(
    ("code", "kind", "rows"),
    [
        ("i", pa.list_(pa.int32()), [[1, 2], [], None, [3]]),
        ("f", pa.list_(pa.float32()), [None, [0.5, -0.25], None]),
        ("i", pa.list_(pa.int32()), []),
        ("f", pa.list_(pa.float32()), [[]]),
    ],
)
def test_numbers_are_the_lists_they_were_added_as(code: str, kind: pa.DataType, rows: list[list[float] | None]) -> None:
    column = numbers_of(rows, code)
    assert len(column) == len(rows)
    made = column.arrow()
    made.validate(full=True)
    assert made == pa.array(rows, kind)


def test_a_row_of_numbers_joins_its_parts() -> None:
    column = NumberLists("i")
    column.add([array("i", (1, 2)), (), [3]])
    column.add(())
    assert column.arrow().to_pylist() == [[1, 2, 3], []]


def test_coded_lists_hold_the_values_of_their_codes() -> None:
    rows = [[0, 2], [], [1, 1, 0]]
    column = Coded(array("i", (0, 2, 1, 1, 0)), ends_of(rows), ["a", None, "b"])
    assert len(column) == 3
    assert column.arrow(pa.list_(pa.string())).to_pylist() == [["a", "b"], [], [None, None, "a"]]


def test_no_codes_are_no_rows() -> None:
    empty = Coded(array("i"), ends_of([]), [])
    assert empty.arrow(pa.list_(pa.float64())) == pa.array([], pa.list_(pa.float64()))


def test_lists_that_are_null_hide_nothing_of_their_neighbours() -> None:
    made = lists_of(pa.array([1, 2, 3]), array("i", (0, 2, 2, 3)), nulls=[1])
    assert made.to_pylist() == [[1, 2], None, [3]]
