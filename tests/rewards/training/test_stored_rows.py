"""Rows in files: they come back as they were written, in any stretch, with the one weight that counts."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from berry.pipeline.rewards.training.examples import TrainingSequence, weight_of
from berry.pipeline.rewards.training.stored_rows import TOTALS, RowWriter, StoredRows


def rows(count: int, weight: float) -> list[TrainingSequence]:
    """Rows of other lengths, with up to three labels each; a half, so that float32 holds it."""
    drawn = random.Random(0)
    made: list[TrainingSequence] = []
    for _ in range(count):
        ids = tuple(drawn.randrange(200_000) for _ in range(drawn.randrange(3, 9)))
        labels = drawn.randrange(1, 4)
        made.append(TrainingSequence(ids, tuple(range(labels)), (0.5,) * labels, (weight,) * labels))
    return made


def test_any_stretch_is_read_back_and_labels_are_added_up(tmp_path: Path) -> None:
    given = rows(20, 1.0)
    by_visits = rows(20, weight_of(4))
    with RowWriter(tmp_path) as writer:
        for at in range(0, 20, 5):
            writer.add(given[at : at + 5], by_visits[at : at + 5])
    stored = StoredRows(tmp_path)
    assert len(stored) == 20
    assert list(stored) == stored[:] == by_visits, "no branch was cut: continuations count"
    for start, stop in ((0, 1), (3, 11), (19, 40), (7, 7)):
        assert stored[start:stop] == by_visits[start:stop]
    assert stored[-1] == by_visits[-1]
    assert stored.tokens == sum(len(row.ids) for row in given)
    labels = sum(len(row.positions) for row in given)
    assert stored.good == stored.bad == pytest.approx(labels * weight_of(4) / 2)


def test_a_mass_that_is_not_one_makes_masses_the_weights_of_all(tmp_path: Path) -> None:
    plain, cut = rows(2, 1.0), rows(2, 4.0)
    with RowWriter(tmp_path) as writer:
        writer.add(plain, rows(2, 2.0))
        writer.add(cut, cut)
    assert list(StoredRows(tmp_path)) == [*plain, *cut]


def test_rows_that_were_not_written_to_the_end_are_none(tmp_path: Path) -> None:
    with RowWriter(tmp_path) as writer:
        writer.add(rows(1, 1.0), rows(1, 1.0))
    with pytest.raises(RuntimeError), RowWriter(tmp_path):
        raise RuntimeError("the disk is full")
    assert not (tmp_path / TOTALS).exists()
    with pytest.raises(FileNotFoundError):
        StoredRows(tmp_path)
