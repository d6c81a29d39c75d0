"""Opens a run's Parquet files as DuckDB views: `nodes`, `trajectories`, `kept`, each with a `round` column.

Committed leases only: a shard whose commit file is missing is not there yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from berry.pipeline import schema
from berry.pipeline.storage import checked_read
from berry.pipeline.storage.dataset import RunDir

if TYPE_CHECKING:
    import duckdb


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
        connection.execute(f"create view {table} as {' union all '.join(selects)}")
    return connection
