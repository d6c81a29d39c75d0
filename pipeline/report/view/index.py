"""Finds problems of a run by name and by how they came out, however many there are, while it is still reading.

    committed files, one by one ─► one row a problem ─► a table in memory (DuckDB) ─► list, place of a problem

The table fills in the background in the order of the files; a question is answered from what is there, and says how far
the reading is. A row takes some tens of bytes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from berry.pipeline.errors import BerryError
from berry.pipeline.storage.run.directory import RunDir

if TYPE_CHECKING:
    import duckdb

    from berry.pipeline.storage.parquet.shard_files import ShardFile

PAGE = 100
FIRST_FILES = 4  # read before the first question is answered, or fewer that have a page of problems
STATES = {
    "": "true",
    "solved": "passed > 0",
    "unsolved": "checked > 0 and passed = 0",
    "mixed": "passed > 0 and passed < checked",
    "kept": "kept > 0",
    "unchecked": "checked < leaves",
}
"""What a filter of the page asks for, in SQL over the table's columns."""
_COLUMNS = ("problem_id", "lease", "verdict", "verdict_reason", "finish", "kept")
_ROWS = """select problem_id, {round}::integer, coalesce(min(lease), {first})::integer,
                  count(*) filter ({outcome} = 'pass')::integer,
                  count(*) filter ({outcome} in ('pass', 'wrong'))::integer,
                  count(*)::integer, count(*) filter (kept)::integer
           from _batch group by problem_id"""


@dataclass(frozen=True, slots=True)
class Place:
    """The lease in which a problem of a round was searched."""

    round_index: int
    lease: int


class ProblemIndex:
    """One row for each problem of each round. `close` ends the reading."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._begun = threading.Event()  # what there is at first has been read, or can't be
        self._going_on = threading.Event()
        self._going_on.set()
        self._fault: BerryError | OSError | None = None
        self._files: list[tuple[int, ShardFile]] = []
        self._read = 0
        self.unreadable: list[str] = []
        self._thread = threading.Thread(target=self._fill, name="index", daemon=True)
        self._thread.start()

    @property
    def progress(self) -> tuple[int, int]:
        """Files read, and files there were when the index was opened; both are 0 before they are listed."""
        return self._read, len(self._files)

    def wait(self) -> None:
        """Until everything has been read."""
        self._thread.join()

    def close(self) -> None:
        self._stop.set()
        self._going_on.set()
        self._thread.join()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No further file is read meanwhile: somebody waits for a tree."""
        self._going_on.clear()
        try:
            yield
        finally:
            self._going_on.set()

    def page(self, *, text: str = "", state: str = "", offset: int = 0, most: int = PAGE) -> dict[str, Any]:
        """`total` so far, and the rows from `offset` on. Raises KeyError for a state that is not there, StorageError
        where the run's files can't be listed."""
        where = f"contains(lower(problem), lower(?)) and ({STATES[state]})"
        self._wait_for_first()
        with self._lock:
            total = self._db.execute(f"select count(*) from problems where {where}", [text]).fetchone()
            rows = self._db.execute(
                f"select problem, round, passed, checked, leaves, kept from problems where {where} "
                f"order by rowid limit {int(most)} offset {int(offset)}",
                [text],
            ).fetchall()
        assert total is not None
        names = ("problem", "round", "passed", "checked", "leaves", "kept")
        read, of = self.progress
        return {"total": total[0], "rows": [dict(zip(names, row, strict=True)) for row in rows], "read": read, "of": of}

    def place(self, problem: str, round_index: int) -> Place | None:
        """None where it has not been read, or is not there. Raises StorageError as `page`."""
        self._wait_for_first()
        with self._lock:
            found = self._db.execute(
                "select round, lease from problems where problem = ? and round = ?", [problem, round_index]
            ).fetchone()
        return None if found is None else Place(*found)

    def _wait_for_first(self) -> None:
        self._begun.wait()
        if self._fault is not None:
            raise self._fault

    def _fill(self) -> None:
        """Reads the files, each by itself, so that a problem's file is known and a damaged one is passed over."""
        try:
            self._list()
            rows = 0
            for round_index, file in self._files:
                if self._stop.is_set():
                    break
                rows += self._take(round_index, file)
                self._read += 1
                if self._read >= FIRST_FILES or rows >= PAGE:
                    self._begun.set()
                self._going_on.wait()
        except (BerryError, OSError) as error:
            self._fault = error  # of whoever asks next
        finally:
            self._begun.set()

    def _list(self) -> None:
        """The empty table, and the files to fill it from."""
        import duckdb

        from berry.pipeline.storage.parquet import earlier_schemas
        from berry.pipeline.storage.parquet.shard_files import committed_files

        self._db: duckdb.DuckDBPyConnection = duckdb.connect()
        self._db.execute("set enable_progress_bar = false")
        self._db.execute(
            "create table problems (problem varchar, round integer, lease integer, passed integer, checked integer, "
            "leaves integer, kept integer)"
        )
        self._reader: duckdb.DuckDBPyConnection = duckdb.connect()
        self._earlier = int(self._run.versions().get("schema") or 1) <= earlier_schemas.LAST
        self._files = [(r, file) for r in self._run.rounds() for file in committed_files(self._run.location, r)]

    def _open(self, file: ShardFile, round_index: int) -> Any:
        """The rows of a file's trajectories, as DuckDB reads them."""
        from berry.pipeline import schema
        from berry.pipeline.storage.parquet.checked_read import EarlierTable, by_schema, read_columns

        if self._earlier and by_schema(self._run.location, [file], round_index)[1]:
            return EarlierTable(self._run.location, schema.COMMIT, [file], round_index)
        return read_columns(self._run.location, schema.COMMIT, file, round_index, _COLUMNS)

    def _take(self, round_index: int, file: ShardFile) -> int:
        """Adds a file's problems; how many."""
        import duckdb

        from berry.pipeline.storage.run.duckdb_views import OUTCOME

        try:
            self._reader.register("_batch", self._open(file, round_index))
            told = self._reader.execute(
                _ROWS.format(round=round_index, first=file.first, outcome=OUTCOME)
            ).to_arrow_table()
        except (BerryError, duckdb.Error, OSError) as error:
            self.unreadable.append(str(error).splitlines()[0])
            return 0
        with self._lock:
            self._db.register("_told", told)
            self._db.execute("insert into problems select * from _told")
            self._db.unregister("_told")
        return told.num_rows
