"""Finds problems of a run by name and by how they came out, however many there are, while it is still reading.

    committed files, one by one ─► one row a problem ─► a table in memory (DuckDB) ─► list, place of a problem

The table fills in the background in the order of the files; a question is answered from what is there, and says how far
the reading is. A row takes some tens of bytes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from berry.pipeline import schema
from berry.pipeline.errors import BerryError
from berry.pipeline.storage.parquet import earlier_schemas
from berry.pipeline.storage.parquet.checked_read import EarlierTable, by_schema, scan
from berry.pipeline.storage.parquet.shard_files import ShardFile, committed_files
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.duckdb_views import OUTCOME

if TYPE_CHECKING:
    import duckdb

FIRST_FILES = 4  # read before the first page is shown
PAGE = 100
STATES = {
    "": "true",
    "solved": "passed > 0",
    "unsolved": "checked > 0 and passed = 0",
    "mixed": "passed > 0 and passed < checked",
    "kept": "kept > 0",
    "unchecked": "checked < leaves",
}
"""What a filter of the page asks for, in SQL over the table's columns."""
_ROWS = f"""select problem_id, {{round}}::integer, coalesce(min(lease), {{first}})::integer,
                  count(*) filter ({OUTCOME} = 'pass')::integer,
                  count(*) filter ({OUTCOME} in ('pass', 'wrong'))::integer,
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
        import duckdb

        self._run = run
        self._db: duckdb.DuckDBPyConnection = duckdb.connect()
        self._db.execute("set enable_progress_bar = false")
        self._db.execute(
            "create table problems (problem varchar, round integer, lease integer, passed integer, checked integer, "
            "leaves integer, kept integer)"
        )
        self._reader: duckdb.DuckDBPyConnection = duckdb.connect()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self.unreadable: list[str] = []
        self._files = [(r, file) for r in run.rounds() for file in committed_files(run.location, r)]
        self._earlier = int(run.versions().get("schema") or 1) <= earlier_schemas.LAST
        self._read = 0
        self._some(FIRST_FILES)
        self._thread = threading.Thread(target=self._rest, name="index", daemon=True)
        self._thread.start()

    @property
    def progress(self) -> tuple[int, int]:
        """Files read, and files there were when the index was opened."""
        return self._read, len(self._files)

    def wait(self) -> None:
        """Until everything has been read."""
        self._thread.join()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def page(self, *, text: str = "", state: str = "", offset: int = 0, most: int = PAGE) -> dict[str, Any]:
        """`total` so far, and the rows from `offset` on. Raises KeyError for a state that is not there."""
        where = f"contains(lower(problem), lower(?)) and ({STATES[state]})"
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
        """None where it has not been read, or is not there."""
        with self._lock:
            found = self._db.execute(
                "select round, lease from problems where problem = ? and round = ?", [problem, round_index]
            ).fetchone()
        return None if found is None else Place(*found)

    def _rest(self) -> None:
        while self._read < len(self._files) and not self._stop.is_set():
            self._some(1)

    def _some(self, count: int) -> None:
        """Reads the next files, each by itself, so that a problem's file is known and a damaged one is passed over."""
        for round_index, file in self._files[self._read : self._read + count]:
            self._take(round_index, file)
            self._read += 1

    def _open(self, file: ShardFile, round_index: int) -> Any:
        """The rows of a file's trajectories, as DuckDB reads them."""
        if self._earlier and by_schema(self._run.location, [file], round_index)[1]:
            return EarlierTable(self._run.location, schema.COMMIT, [file], round_index)
        return scan(self._run.location, schema.COMMIT, [file], round_index)

    def _take(self, round_index: int, file: ShardFile) -> None:
        import duckdb

        try:
            self._reader.register("_batch", self._open(file, round_index))
            told = self._reader.execute(_ROWS.format(round=round_index, first=file.first)).to_arrow_table()
        except (BerryError, duckdb.Error, OSError) as error:
            self.unreadable.append(str(error).splitlines()[0])
            return
        with self._lock:
            self._db.register("_told", told)
            self._db.execute("insert into problems select * from _told")
            self._db.unregister("_told")
