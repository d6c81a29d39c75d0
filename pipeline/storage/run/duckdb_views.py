"""Opens a run's Parquet files as DuckDB views: `nodes`, `trajectories`, `kept`, each with a `round` column.

`completions` are the trajectories that were drawn only to label prefixes (`berry annotate`); they are not among
`trajectories`.

`trajectories` has a column `outcome` too, that keeps apart what a plain `fail` does not: pass, wrong, no_answer,
truncated, unverifiable, unchecked (`records.Ending`).

Committed leases only, each once: a shard whose commit file is missing is not there yet. The texts of trajectories lie
in `nodes`; `stages.dataset.text_views` adds them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from berry.pipeline import schema
from berry.pipeline.records import UNANSWERED, DropReason, Ending, Finish
from berry.pipeline.storage.parquet import checked_read, earlier_schemas, shard_files
from berry.pipeline.storage.run.directory import RunDir

if TYPE_CHECKING:
    import duckdb

_REASONS = ", ".join(f"'{reason}'" for reason in sorted(UNANSWERED))
OUTCOME = f"""case
    when verdict is null and finish = '{Finish.LENGTH}' then '{Ending.TRUNCATED}'
    when verdict is null then '{Ending.UNCHECKED}'
    when verdict = 'unverifiable' then '{Ending.UNVERIFIABLE}'
    when verdict_reason in ({_REASONS}) then '{Ending.NO_ANSWER}'
    when verdict = 'pass' then '{Ending.PASS}' else '{Ending.WRONG}' end"""
STEPS = "list_transform(step_ends, (e, i) -> response[coalesce(step_ends[i - 1], 0) + 1 : e])"
_SUM = "coalesce(logprob_sum, list_sum(logprobs)::double)"
_DERIVED = {
    "nodes": f"* replace ({_SUM} as logprob_sum)",
    "kept": f"*, {STEPS} as steps, list_sum(logprobs)::double as logprob_sum",
}


LEAVES = {"trajectories": "is distinct from", "completions": "="}
"""The views of leaves: those of the run, and those that `berry annotate` added to give labels."""


def view_of_leaves(name: str, columns: str) -> str:
    """The statement that makes one of LEAVES of the stored trajectories."""
    chosen = f"where drop_reason {LEAVES[name]} '{DropReason.ANNOTATION}'"
    return f"create or replace view {name} as select {columns}, {OUTCOME} as outcome from stored_trajectories {chosen}"


def connect(run: RunDir) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB over the run; reads as it is asked, on any filesystem. Beside the views there are the tables
    as they are stored, `stored_nodes` and so on."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("set enable_progress_bar = false")
    selects: dict[str, list[str]] = {table: [] for table in schema.TABLES}
    for round_index in run.rounds():
        for name, source in _sources(run, round_index):
            view = f"_{name}_{round_index}_{len(selects[name])}"
            connection.register(view, source)
            selects[name].append(f"select *, {round_index} as round from {view}")
    for table, arrow_schema in schema.TABLES.items():
        if not selects[table]:
            connection.register(f"_{table}", arrow_schema.empty_table())
            selects[table].append(f"select *, 0 as round from _{table}")
        connection.execute(f"create view stored_{table} as {' union all '.join(selects[table])}")
    for table in ("nodes", "kept"):
        connection.execute(f"create view {table} as select {_DERIVED[table]} from stored_{table}")
    for name in LEAVES:
        connection.execute(view_of_leaves(name, "* exclude (response)"))
    return connection


def _sources(run: RunDir, round_index: int) -> list[tuple[str, Any]]:
    """What DuckDB reads of a round, by table: files of today's schema, and those of earlier ones."""
    files, earlier = shard_files.committed_files(run.location, round_index), []
    if int(run.versions().get("schema") or 1) <= earlier_schemas.LAST:
        files, earlier = checked_read.by_schema(run.location, files, round_index)
    found: list[tuple[str, Any]] = []
    for table in schema.TABLES:
        if files:
            found.append((table, checked_read.scan(run.location, table, files, round_index)))
        if earlier:
            found.append((table, checked_read.EarlierTable(run.location, table, earlier, round_index)))
    return found
