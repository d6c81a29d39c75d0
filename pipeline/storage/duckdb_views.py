"""Opens a run's Parquet files as DuckDB views: `nodes`, `trajectories`, `kept`, each with a `round` column.

`completions` are the trajectories that were drawn only to label prefixes (`berry annotate`); they are not among
`trajectories`.

`trajectories` has a column `outcome` too, that keeps apart what a plain `fail` does not: pass, wrong, no_answer,
truncated, unverifiable, unchecked (`records.Ending`).

Committed leases only: a shard whose commit file is missing is not there yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from berry.pipeline import schema
from berry.pipeline.records import UNANSWERED, DropReason, Ending, Finish
from berry.pipeline.storage import checked_read
from berry.pipeline.storage.dataset import RunDir

if TYPE_CHECKING:
    import duckdb

_REASONS = ", ".join(f"'{reason}'" for reason in sorted(UNANSWERED))
_OUTCOME = f"""case
    when verdict is null and finish = '{Finish.LENGTH}' then '{Ending.TRUNCATED}'
    when verdict is null then '{Ending.UNCHECKED}'
    when verdict = 'unverifiable' then '{Ending.UNVERIFIABLE}'
    when verdict_reason in ({_REASONS}) then '{Ending.NO_ANSWER}'
    when verdict = 'pass' then '{Ending.PASS}' else '{Ending.WRONG}' end"""


def connect(run: RunDir) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB over the run; reads as it is asked, on any filesystem."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("set enable_progress_bar = false")
    for table, arrow_schema in schema.TABLES.items():
        selects = []
        for round_index in run.rounds():
            leases = sorted(run.committed(round_index))
            if not leases:
                continue
            source = checked_read.scan(run.location, table, leases, round_index)
            connection.register(f"_{table}_{round_index}", source)
            selects.append(f"select *, {round_index} as round from _{table}_{round_index}")
        if not selects:
            connection.register(f"_{table}", arrow_schema.empty_table())
            selects.append(f"select *, 0 as round from _{table}")
        rows = " union all ".join(selects)
        if table != "trajectories":
            connection.execute(f"create view {table} as select * from ({rows})")
            continue
        for name, condition in (("trajectories", "is distinct from"), ("completions", "=")):
            chosen = f"where drop_reason {condition} '{DropReason.ANNOTATION}'"
            connection.execute(f"create view {name} as select *, {_OUTCOME} as outcome from ({rows}) {chosen}")
    return connection
