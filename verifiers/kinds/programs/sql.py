"""Runs a query on the problem's database, in the sandbox, and compares its rows with those of the right one (`sql`).

    setup + response's query ─► sandbox ─► rows ─┐
    setup + the right query  ─► sandbox ─► rows ─┴─► compared here, in order or not ─► verdict

The two queries run in jobs of their own, so that the response's never sees the right one; the database is made in
memory, anew for each. Floats agree to 1e-9 of their size; NULL is NULL alone; text never equals a number.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from berry.sandboxes.base import Call, Job, JobOutcome, JobResult, SandboxError
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.extraction.code_blocks import find_program
from berry.verifiers.sandbox_limits import limits_of, reason_of
from berry.verifiers.specs.answers import SqlSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

MAX_ROWS = 100_000
MAX_UNPAIRED = 1_000
"""Rows that may lack an equal one before they are looked at in pairs."""
_SQLITE = f"""
import sqlite3

def rows_of(setup, query):
    connection = sqlite3.connect(":memory:")
    try:
        connection.executescript(setup)
    except (sqlite3.Error, sqlite3.Warning) as error:
        return {{"setup": str(error)}}
    try:
        cursor = connection.execute(query)
    except (sqlite3.Error, sqlite3.Warning) as error:
        return {{"error": str(error)}}
    if cursor.description is None:
        return {{"error": "it gives no rows"}}
    rows = cursor.fetchmany({MAX_ROWS} + 1)
    return {{"rows": [[_plain(v) for v in row] for row in rows], "columns": len(cursor.description)}}

def _plain(value):
    return "x'" + value.hex() + "'" if isinstance(value, bytes) else value
"""
_DUCKDB = f"""
import decimal
import duckdb
from berry.verifiers.duckdb_profile import connection

def rows_of(setup, query):
    try:
        connection.execute(setup or "SELECT 1")
    except duckdb.Error as error:
        return {{"setup": str(error)}}
    try:
        cursor = connection.execute(query)
    except duckdb.Error as error:
        return {{"error": str(error)}}
    if cursor.description is None:
        return {{"error": "it gives no rows"}}
    rows = cursor.fetchmany({MAX_ROWS} + 1)
    return {{"rows": [[_plain(v) for v in row] for row in rows], "columns": len(cursor.description)}}

def _plain(value):
    if isinstance(value, decimal.Decimal):
        return float(value) if value % 1 else int(value)
    if isinstance(value, bytes):
        return "x'" + value.hex() + "'"
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
"""
_KEYWORD = re.compile(r"\b(?:SELECT|WITH|VALUES|FROM)\b", re.IGNORECASE)


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:
    """Runs both queries and compares their rows."""
    spec = request.spec
    assert isinstance(spec, SqlSpec)
    query = find_query(request.response)
    if query is None:
        return verdict(Reason.NO_CODE)
    try:
        expected = spec.rows if spec.rows is not None else await _expected(spec, request, context)
        if isinstance(expected, Verdict):
            return expected
        result = await context.pool.run(_job(spec, query, request, context))
    except SandboxError as error:
        return verdict(Reason.MISSING_TOOL, note=str(error))
    if result.outcome is not JobOutcome.OK:
        return verdict(reason_of(result.outcome), answer=query, note=result.error)
    got = _value(result)
    if "setup" in got:
        return verdict(Reason.TESTS_BROKEN, note=f"setup did not run: {got['setup']}")
    if "error" in got:
        return verdict(Reason.RUNTIME_ERROR, answer=query, note=str(got["error"]))
    rows = got.get("rows")
    if not isinstance(rows, list):
        return verdict(Reason.SANDBOX_FAULT, note="the query's rows did not come back")
    if len(rows) > MAX_ROWS:
        return verdict(Reason.OUTPUT_LIMIT, answer=query, note=f"more than {MAX_ROWS} rows")
    if same_rows(rows, expected, ordered=spec.order == "kept", columns_ordered=spec.columns == "kept"):
        return verdict(Reason.CORRECT, answer=query, rows=len(rows))
    evidence = {"rows": len(rows), "expected_rows": len(expected), "got": rows[:3]}
    return verdict(Reason.WRONG_ANSWER, answer=query, **evidence)


def fault(spec: SqlSpec) -> str | None:
    """Why the right query can't be one; None where it can. Whether it runs is seen when it is first checked."""
    if spec.query is not None and not _KEYWORD.search(spec.query):
        return f"query {spec.query[:60]!r} is no SELECT"
    if spec.rows is not None and len({len(row) for row in spec.rows}) > 1:
        return "rows are not all of one length"
    return None


def find_query(response: str) -> str | None:
    """The last block in SQL, else the last, else the whole text, if it is a query; its closing semicolon is cut."""
    text = (find_program(response, "sql") or "").strip().rstrip(";").strip()
    return text if _KEYWORD.search(text) else None


async def _expected(spec: SqlSpec, request: CheckRequest, context: VerifierContext) -> list[list[Any]] | Verdict:
    assert spec.query is not None
    result = await context.pool.run(_job(spec, spec.query.rstrip().rstrip(";"), request, context))
    if result.outcome is not JobOutcome.OK:
        reason = reason_of(result.outcome)
        note = f"the right query did not run: {result.outcome} {result.error or ''}"
        return verdict(reason if reason.retryable else Reason.TESTS_BROKEN, note=note)
    value = _value(result)
    if "error" in value or not isinstance(value.get("rows"), list):
        return verdict(
            Reason.TESTS_BROKEN, note=f"the right query did not run: {value.get('setup') or value.get('error')}"
        )
    return value["rows"]


def _job(spec: SqlSpec, query: str, request: CheckRequest, context: VerifierContext) -> Job:
    return Job(
        source=_SQLITE if spec.dialect == "sqlite" else _DUCKDB,
        entry_point="rows_of",
        calls=(Call((spec.setup, query), {}),),
        profile=("sqlite3",) if spec.dialect == "sqlite" else ("berry.verifiers.duckdb_profile",),
        limits=limits_of(spec, context.config),
        key=request.key or request.problem_id,
    )


def _value(result: JobResult) -> dict[str, Any]:
    value = result.cases[0].value if result.cases else None
    return value if isinstance(value, dict) else {"error": "no rows"}


def same_rows(
    rows: Sequence[Sequence[Any]], expected: Sequence[Sequence[Any]], *, ordered: bool, columns_ordered: bool
) -> bool:
    """Whether two results are the same rows: in order or as a bag; likewise the columns of each row."""
    if len(rows) != len(expected):
        return False
    ours, theirs = ([tuple(_key(v) for v in row) for row in side] for side in (rows, expected))
    if not columns_ordered:
        ours, theirs = ([tuple(sorted(row)) for row in side] for side in (ours, theirs))
    if ordered:
        return ours == theirs or all(_alike(a, b) for a, b in zip(ours, theirs, strict=True))
    mine, wanted = Counter(ours) - Counter(theirs), Counter(theirs) - Counter(ours)
    if mine.total() > MAX_UNPAIRED:
        return False
    left = list(wanted.elements())
    for row in mine.elements():
        match = next((other for other in left if _alike(row, other)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _alike(a: Sequence[tuple[str, str]], b: Sequence[tuple[str, str]]) -> bool:
    """Whether two rows are the same but for floats that ten digits round apart, as 0.12345678905 and its neighbour."""
    if len(a) != len(b):
        return False
    pairs = zip(a, b, strict=True)
    return all(
        x == y
        or (x[0] == y[0] == "number" and "." in x[1] + y[1] and math.isclose(float(x[1]), float(y[1]), rel_tol=1e-9))
        for x, y in pairs
    )


def _key(value: Any) -> tuple[str, str]:
    """A value as something to compare and to sort by: its kind, and itself to ten digits."""
    if value is None:
        return ("null", "")
    if isinstance(value, bool):
        return ("number", str(int(value)))
    if isinstance(value, int):
        return ("number", str(value))
    if isinstance(value, float):
        if math.isfinite(value) and value == int(value) and abs(value) < 2**53:
            return ("number", str(int(value)))
        return ("number", f"{value:.10g}")
    return ("text", str(value))
