"""Keeps labelled sequences in files of a training's work folder, so that no training holds them all in memory.

    RowWriter.add ─► ids.bin, labels.bin, index.bin, rows.json (written last) ─► StoredRows[a:b], read as it is asked

A label lies there with both weights that it may have (by its mass alone, and by the continuations behind it as well),
since which of them counts is known only when the last tree has been read (`examples.weigher`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import overload

import numpy as np

from berry.pipeline.rewards.training.examples import TrainingSequence

IDS, LABELS, INDEX, TOTALS = "ids.bin", "labels.bin", "index.bin", "rows.json"
_LABEL = np.dtype([("position", "<i4"), ("target", "<f4"), ("mass", "<f4"), ("visits", "<f4")])
_INDEX = np.dtype([("ids", "<i8"), ("labels", "<i8")])  # where a row ends, counted in numbers of each file


class RowWriter:
    """Writes rows one after the other: a context, at whose end they are whole."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TOTALS).unlink(missing_ok=True)
        self._folder = folder
        self._files = [(folder / name).open("wb") for name in (IDS, LABELS, INDEX)]
        self._ids = self._labels = 0
        self.rows = 0
        self.is_cut = False
        """Whether some label has a mass other than 1: then masses alone are the weights."""
        self._sums = {"mass": [0.0, 0.0], "visits": [0.0, 0.0]}  # of weights, on the good part and on the bad

    def add(self, by_mass: Sequence[TrainingSequence], by_visits: Sequence[TrainingSequence]) -> None:
        """Adds the same rows with their two weights."""
        for one, other in zip(by_mass, by_visits, strict=True):
            labels = np.zeros(len(one.positions), _LABEL)
            labels["position"], labels["target"] = one.positions, one.targets
            labels["mass"], labels["visits"] = one.weights, other.weights
            self._ids += len(one.ids)
            self._labels += len(labels)
            self.rows += 1
            self.is_cut = self.is_cut or any(weight != 1.0 for weight in one.weights)
            for name, sums in self._sums.items():
                sums[0] += float((labels[name] * labels["target"]).sum())
                sums[1] += float((labels[name] * (1 - labels["target"])).sum())
            written = (np.array(one.ids, "<i4"), labels, np.array([(self._ids, self._labels)], _INDEX))
            for file, values in zip(self._files, written, strict=True):
                file.write(values.tobytes())

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del error, trace
        for file in self._files:
            file.close()
        if kind is None:
            weight = "mass" if self.is_cut else "visits"
            good, bad = self._sums[weight]
            totals = {"rows": self.rows, "tokens": self._ids, "weight": weight, "good": good, "bad": bad}
            (self._folder / TOTALS).write_text(json.dumps(totals))


class StoredRows(Sequence[TrainingSequence]):
    """Rows that a RowWriter has written. `good`, `bad`: what the labels weigh in sum, by the parts of their targets;
    `tokens`: of all rows."""

    def __init__(self, folder: Path) -> None:
        totals = json.loads((folder / TOTALS).read_text())
        self._rows: int = totals["rows"]
        self._weight: str = totals["weight"]
        self.good: float = totals["good"]
        self.bad: float = totals["bad"]
        self.tokens: int = totals["tokens"]
        self._ids, self._labels, self._index = (os.open(folder / name, os.O_RDONLY) for name in (IDS, LABELS, INDEX))

    def __del__(self) -> None:
        for name in ("_ids", "_labels", "_index"):
            if name in self.__dict__:
                os.close(self.__dict__.pop(name))

    def __len__(self) -> int:
        return self._rows

    @overload
    def __getitem__(self, index: int) -> TrainingSequence: ...
    @overload
    def __getitem__(self, index: slice) -> list[TrainingSequence]: ...
    def __getitem__(self, index: int | slice) -> TrainingSequence | list[TrainingSequence]:
        if isinstance(index, int):
            if not -self._rows <= index < self._rows:
                raise IndexError(index)
            at = index % self._rows
            return self._read(at, at + 1)[0]
        start, stop, step = index.indices(self._rows)
        assert step == 1, "rows are read in stretches"
        return self._read(start, stop) if start < stop else []

    def _read(self, start: int, stop: int) -> list[TrainingSequence]:
        before = max(start - 1, 0)
        ends = _read(self._index, _INDEX, before, stop)
        if start == 0:
            ends = np.concatenate((np.zeros(1, _INDEX), ends))
        ids = _read(self._ids, np.dtype("<i4"), int(ends[0]["ids"]), int(ends[-1]["ids"]))
        labels = _read(self._labels, _LABEL, int(ends[0]["labels"]), int(ends[-1]["labels"]))
        made: list[TrainingSequence] = []
        for a, b in pairwise(ends):
            own = labels[a["labels"] - ends[0]["labels"] : b["labels"] - ends[0]["labels"]]
            made.append(
                TrainingSequence(
                    tuple(ids[a["ids"] - ends[0]["ids"] : b["ids"] - ends[0]["ids"]].tolist()),
                    tuple(own["position"].tolist()),
                    tuple(own["target"].tolist()),
                    tuple(own[self._weight].tolist()),
                )
            )
        return made


def _read(file: int, of: np.dtype, start: int, stop: int) -> np.ndarray:
    return np.frombuffer(os.pread(file, (stop - start) * of.itemsize, start * of.itemsize), of)
