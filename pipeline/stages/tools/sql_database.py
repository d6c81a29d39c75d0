"""Runs in the jail: a database in memory and the statements that a model has run on it. Only its text leaves here.

begin(dialect, setup, access, max_rows) ─► call(statement) ─► a table as text, or an exception that the model reads
"""

from __future__ import annotations

from typing import Any

CELL_CHARS = 100
_READS = ("table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list")

_state: dict[str, Any] = {}


class Refused(Exception):
    """Raised for a statement that may not be run."""


def begin(dialect: str, setup: str, access: str, max_rows: int) -> None:
    """Makes the database. Raises what the engine says of a setup that it can't run."""
    _state["max_rows"] = max_rows
    _state["run"] = (_sqlite if dialect == "sqlite" else _duckdb)(setup, read_only=access == "read")


def call(statement: str) -> str:
    """Runs one statement; returns its first rows as a table."""
    cursor = _state["run"](statement.strip().rstrip(";").strip())
    if cursor.description is None:
        return "(done; no rows)"
    rows = cursor.fetchmany(_state["max_rows"] + 1)
    return _table([column[0] for column in cursor.description], rows, _state["max_rows"])


def _sqlite(setup: str, *, read_only: bool) -> Any:
    import sqlite3

    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(setup)
    allowed = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE)
    barred = (sqlite3.SQLITE_ATTACH, sqlite3.SQLITE_DETACH)

    def may(action: int, name: str | None, *_: Any) -> int:
        if action == sqlite3.SQLITE_PRAGMA:
            fine = (name or "").lower() in _READS
        else:
            fine = action in allowed if read_only else action not in barred
        return sqlite3.SQLITE_OK if fine else sqlite3.SQLITE_DENY

    def run(statement: str) -> Any:
        try:
            return connection.execute(statement)
        except sqlite3.DatabaseError as error:
            if "not authorized" in str(error):
                raise Refused("the database is read-only" if read_only else "this may not be done here") from None
            raise

    connection.set_authorizer(may)
    return run


def _duckdb(setup: str, *, read_only: bool) -> Any:
    import duckdb

    from berry.verifiers.duckdb_profile import connection

    if setup.strip():
        connection.execute(setup)

    def run(statement: str) -> Any:
        statements = connection.extract_statements(statement)
        if len(statements) != 1:
            raise Refused(f"one statement at a time, not {len(statements)}")
        kind = statements[0].type
        if read_only and kind not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
            raise Refused("the database is read-only")
        return connection.execute(statement)

    return run


def _table(names: list[str], rows: list[Any], most: int) -> str:
    lines = [names, *([_cell(value) for value in row] for row in rows[:most])]
    widths = [max(len(line[i]) for line in lines) for i in range(len(names))]
    text = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    count = f"{most} rows, and there are more" if len(rows) > most else f"{len(rows)} row{'s' * (len(rows) != 1)}"
    return "\n".join([*text, f"({count})"])


def _cell(value: Any) -> str:
    if value is None:
        return "NULL"
    text = "x'" + value.hex() + "'" if isinstance(value, bytes) else str(value).replace("\n", "\\n")
    return text if len(text) <= CELL_CHARS else text[: CELL_CHARS - 1] + "…"
