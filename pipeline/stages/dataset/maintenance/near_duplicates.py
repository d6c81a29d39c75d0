"""Finds near-duplicates among the kept responses of a whole run, in bounded memory.

    kept rows ─► MinHash ─► a key a band ─► DuckDB: who shares a key with an earlier one ─► candidates
    candidates ─► their texts, read again ─► exact Jaccard >= threshold ─► Duplicate(of an earlier one)

What is held of a row between the two readings lies in a DuckDB database in a folder of this host: its keys, and the
numbers of its candidates. DuckDB's joins and groupings spill to that folder where they would take more memory than they
are given; they are why it is used. A response is a duplicate where it resembles the first of those it shares a key
with, itself dropped or not, so that the outcome depends on the order of the run alone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from berry.pipeline.core.prune.similarity import band_keys, band_layout, jaccard, shingles
from berry.pipeline.storage.parquet.lease_tables import open_lease
from berry.pipeline.storage.run.directory import RunDir

if TYPE_CHECKING:
    import duckdb

BATCH = 20_000  # rows whose keys are written at once
_COLUMNS = ("problem_id", "trajectory_id", "mode", "response")


@dataclass(frozen=True, slots=True)
class Likeness:
    """From which similarity responses are duplicates. `threshold`: Jaccard's, over runs of `words` words; responses of
    fewer than `min_words` are left alone, since they are alike by chance."""

    threshold: float = 0.8
    words: int = 3
    min_words: int = 32


class SimilarResponses:
    """The search over one run. `folder`: for the database; `memory`: what DuckDB may take, as in "2GB"."""

    def __init__(self, run: RunDir, likeness: Likeness, folder: Path, memory: str) -> None:
        self._run = run
        self._likeness = likeness
        self._database = Database(folder, memory, bands=band_layout(likeness.threshold)[0])
        self._starts: list[tuple[int, int, int]] = []  # number of a lease's first row, round, lease

    def find(self) -> Iterator[tuple[int, int, list[str]]]:
        """(round, lease, ids of the trajectories that are duplicates), of the leases that have any, in order. Raises
        StorageError where a file is damaged."""
        self._write_keys()
        self._database.find_candidates()
        self._write_texts()
        self._database.add_found(self._alike())
        return self._database.by_lease()

    def export(self, to: Path) -> None:
        """Writes what was found as Parquet: a duplicate a row, beside what it resembles."""
        self._database.export(to)

    def _write_keys(self) -> None:
        rows: list[tuple[int, int, int, str, str]] = []
        texts: list[str] = []
        modes: list[str] = []
        number = 0

        def flush() -> None:
            like = self._likeness
            keys = band_keys(texts, words=like.words, threshold=like.threshold, of=modes)
            self._database.add(rows, keys)
            for held in (rows, texts, modes):
                held.clear()

        for round_index in self._run.rounds():
            for lease in sorted(self._run.committed(round_index)):
                self._starts.append((number, round_index, lease))
                for row in self._kept(round_index, lease):
                    if len(row["response"].split()) >= self._likeness.min_words:
                        rows.append((number, round_index, lease, row["problem_id"], row["trajectory_id"]))
                        texts.append(row["response"])
                        modes.append(row["mode"] or "")
                    number += 1
                    if len(rows) == BATCH:
                        flush()
        if rows:
            flush()

    def _kept(self, round_index: int, lease: int) -> Iterator[dict[str, Any]]:
        for batch in open_lease(self._run.location, lease, round_index)["kept"].batches(_COLUMNS):
            for row in batch.to_pylist():
                yield {**row, "response": row["response"] or ""}

    def _write_texts(self) -> None:
        """Reads the responses of candidates again: of leases that have any."""
        at: int | None = None
        wanted: dict[int, None] = {}
        for number in self._database.candidates():
            lease = bisect_right(self._starts, (number, 1 << 30, 1 << 62)) - 1
            if lease != at and at is not None:
                self._database.add_texts(self._texts(at, wanted))
                wanted = {}
            at = lease
            wanted[number] = None
        if at is not None:
            self._database.add_texts(self._texts(at, wanted))

    def _texts(self, place: int, wanted: dict[int, None]) -> list[tuple[int, str]]:
        first, round_index, lease = self._starts[place]
        rows = enumerate(self._kept(round_index, lease), first)
        return [(number, row["response"]) for number, row in rows if number in wanted]

    def _alike(self) -> Iterator[tuple[int, int, float]]:
        words = self._likeness.words
        for number, other, text, of_other in self._database.pairs():
            similarity = jaccard(shingles(text, words), shingles(of_other, words))
            if similarity >= self._likeness.threshold:
                yield number, other, similarity


class Database:
    """The rows of a run by number, with the keys of their bands; who shares a key; who is alike."""

    def __init__(self, folder: Path, memory: str, *, bands: int) -> None:
        import duckdb  # 0.2 s to import: only where it is used

        self._bands = bands
        self._connection: duckdb.DuckDBPyConnection = duckdb.connect(str(folder / "duplicates.duckdb"))
        for setting in (f"memory_limit = '{memory}'", f"temp_directory = '{folder}'", "enable_progress_bar = false"):
            self._connection.execute(f"set {setting}")
        self._connection.execute("set preserve_insertion_order = false")  # a table that is made takes less memory then
        self._run("create table kept (number bigint, round integer, lease bigint, problem varchar, trajectory varchar)")
        for band in range(bands):
            self._run(f"create table band_{band} (number bigint, key ubigint)")
        self._run("create table shared (number bigint, other bigint)")
        self._run("create table texts (number bigint, text varchar)")
        self._run("create table found (number bigint, other bigint, similarity double)")

    def add(self, rows: Sequence[tuple[int, int, int, str, str]], keys: NDArray[np.uint64]) -> None:
        """Takes rows (number, round, lease, problem, trajectory) with their keys, shape (rows, bands)."""
        self._insert("kept", rows, ("number", "round", "lease", "problem", "trajectory"))
        self.add_keys(np.fromiter((row[0] for row in rows), np.int64, len(rows)), keys)

    def add_keys(self, numbers: NDArray[np.int64], keys: NDArray[np.uint64]) -> None:
        """Takes the keys of rows by their numbers."""
        for band in range(self._bands):
            self._put(f"band_{band}", pa.table({"number": numbers, "key": np.ascontiguousarray(keys[:, band])}))

    def find_candidates(self) -> int:
        """Finds for each row the first rows with which it shares a key, band by band. Returns how many pairs."""
        for band in range(self._bands):
            self._run(
                f"""insert into shared select b.number, first.number from band_{band} b join (
                      select key, min(number) as number from band_{band} group by key having count(*) > 1
                    ) first on b.key = first.key where b.number <> first.number"""
            )
            self._run(f"drop table band_{band}")
        self._run("create table candidates as select distinct number, other from shared")
        self._run("drop table shared")
        (count,) = self._run("select count(*) from candidates").fetchone() or (0,)
        return count

    def candidates(self) -> Iterator[int]:
        """The numbers of all rows that are in a pair, in order."""
        query = "select number from candidates union select other from candidates order by 1"
        for (number,) in self._rows(query):
            yield number

    def add_texts(self, texts: Sequence[tuple[int, str]]) -> None:
        """Takes the responses of rows by their numbers."""
        self._insert("texts", texts, ("number", "text"))

    def pairs(self) -> Iterator[tuple[int, int, str, str]]:
        """(row, an earlier one, the texts of both) of all candidates, in no order."""
        yield from self._rows(
            """select c.number, c.other, a.text, b.text from candidates c
               join texts a on a.number = c.number join texts b on b.number = c.other"""
        )

    def add_found(self, found: Iterable[tuple[int, int, float]]) -> None:
        """Takes the pairs that are alike: (row, an earlier one, similarity)."""
        names = ("number", "other", "similarity")
        batch: list[tuple[int, int, float]] = []
        for one in found:
            batch.append(one)
            if len(batch) == BATCH:
                self._insert("found", batch, names)
                batch = []
        self._insert("found", batch, names)

    def by_lease(self) -> Iterator[tuple[int, int, list[str]]]:
        """(round, lease, trajectories that are like an earlier one), in order."""
        yield from self._rows(
            """select round, lease, list(trajectory) from kept
               where number in (select number from found) group by round, lease order by round, lease"""
        )

    def export(self, to: Path) -> None:
        """Writes each row that is like an earlier one as Parquet, beside the first that it is like."""
        self._run(
            f"""copy (
              select a.round, a.problem as problem_id, a.trajectory as trajectory_id, b.round as of_round,
                     b.problem as of_problem_id, b.trajectory as of_trajectory_id, f.similarity
              from (select number, min(other) as other, arg_min(similarity, other) as similarity from found
                    group by number) f
              join kept a on a.number = f.number join kept b on b.number = f.other order by f.number
            ) to '{to}' (format parquet, compression zstd)"""
        )

    def _rows(self, query: str) -> Iterator[tuple[Any, ...]]:
        """A batch in memory at a time, on a cursor of its own: others are asked meanwhile."""
        reader = self._connection.cursor().execute(query).fetch_record_batch(BATCH)
        for batch in reader:
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    def _insert(self, table: str, rows: Sequence[tuple[Any, ...]], names: Sequence[str]) -> None:
        if rows:
            self._put(table, pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))))

    def _put(self, table: str, given: pa.Table) -> None:
        self._connection.register("given", given)
        self._run(f"insert into {table} select * from given")
        self._connection.unregister("given")

    def _run(self, statement: str) -> duckdb.DuckDBPyConnection:
        return self._connection.execute(statement)
