"""Gives the rows of a committed lease as every consumer reads them, whatever version of the schema they were stored in.

    three tables with today's columns ─► read_lease ─► LeaseRows(nodes, kept, trajectories), all in memory
    lease_tables.open_lease           ─► kept_rows ─► kept rows, a batch in memory at a time

Rows are dictionaries with the columns of `schema.TABLES`, and with what these leave to be derived: nodes have `node_id`
and `parent_id`, their numbers as text, and `logprob_sum`; trajectories have `path`, the ids of the nodes from the first
segment to the leaf, and `response`, the text along it; kept rows have `steps`, the texts of `response` between
`step_ends`, and `logprob_sum`. A trajectory's `leaf` is the id of its node, "" without a tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pyarrow as pa

from berry.pipeline.errors import StorageError
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.parquet import checked_read
from berry.pipeline.storage.parquet.lease_tables import LeaseTable

Row = dict[str, Any]
Key = tuple[str, str]  # problem, node


@dataclass(slots=True)
class LeaseRows:
    """The rows of one lease. `marks`: by table, what its files say of it."""

    nodes: list[Row] = field(default_factory=list)
    kept: list[Row] = field(default_factory=list)
    trajectories: list[Row] = field(default_factory=list)
    marks: dict[str, dict[str, str]] = field(default_factory=dict)


def read_lease(location: Location, lease: int, round_index: int) -> LeaseRows:
    """Reads a committed lease. Raises StorageError, which names the command that says more, where a file is damaged."""
    stored = checked_read.read_shards(location, lease, round_index)
    made = rows_of(checked_read.as_today(stored, lease))
    made.marks = {table: shard.marks for table, shard in stored.items()}
    return made


def rows_of(tables: Mapping[str, pa.Table]) -> LeaseRows:
    """The rows of tables with today's columns. Raises StorageError for a trajectory whose path has a gap."""
    nodes = node_rows(tables["nodes"])
    by_key = {(row["problem_id"], row["node_id"]): row for row in nodes}
    trajectories = [_trajectory(row, by_key) for row in tables["trajectories"].to_pylist()]
    kept = [kept_row(row, lambda row: logprob_sum_of(row, by_key)) for row in tables["kept"].to_pylist()]
    return LeaseRows(nodes, kept, trajectories)


def kept_rows(tables: Mapping[str, LeaseTable]) -> Iterator[Row]:
    """The kept rows of a lease in order. Nodes are read where kept rows lack log-probabilities. Raises StorageError."""
    nodes: dict[Key, Row] = {}

    def sum_of(row: Row) -> float | None:
        if not nodes:
            of_sums = tables["nodes"].read(["problem_id", "node", "parent", "logprobs", "logprob_sum"])
            nodes.update({(node["problem_id"], node["node_id"]): node for node in node_rows(of_sums)})
        return logprob_sum_of(row, nodes)

    for batch in tables["kept"].batches():
        for row in batch.to_pylist():
            yield kept_row(row, sum_of)


def node_rows(table: pa.Table) -> list[Row]:
    """The rows of the table `nodes` in today's form."""
    return [_node(row) for row in table.to_pylist()]


def path_of(problem_id: str, leaf: str, nodes: Mapping[Key, Row]) -> list[Row]:
    """The rows of the nodes from the first segment to a leaf, the root left out. Raises StorageError where one is not
    there."""
    path: list[Row] = []
    at: str | None = leaf
    while at is not None:
        row = nodes.get((problem_id, at))
        if row is None or len(path) > len(nodes):
            missing = f"problem {problem_id}: node {at} above leaf {leaf} is not there"
            raise StorageError(f"{missing}; `berry check` says more")
        path.append(row)
        at = row["parent_id"]
    path.reverse()
    return path[1:]


def response_of(row: Row, path: Sequence[Row]) -> str:
    """The response of a trajectory as it is stored: its own, where it has one, else the text of its nodes."""
    return "".join([node["text"] or "" for node in path]) if row["response"] is None else row["response"]


def steps_of(response: str, ends: list[int]) -> list[str]:
    """The texts of a response between the ends of its steps."""
    return [response[start:end] for start, end in pairwise([0, *ends])]


def _node(row: Row) -> Row:
    number, above = row.pop("node"), row.pop("parent")
    row["node_id"], row["parent_id"] = str(number), None if above is None else str(above)
    if row["logprobs"] is not None:
        row["logprob_sum"] = sum(row["logprobs"])
    return row


def _trajectory(row: Row, nodes: Mapping[Key, Row]) -> Row:
    if row["leaf"] is None:
        row |= {"leaf": "", "path": [], "response": None}
        return row
    row["leaf"] = str(row["leaf"])
    path = path_of(row["problem_id"], row["leaf"], nodes)
    row["path"] = [node["node_id"] for node in path]
    row["response"] = response_of(row, path)
    return row


def kept_row(row: Row, logprob_sum: Callable[[Row], float | None]) -> Row:
    """A row of `kept` with what follows from it. `logprob_sum` gives the sum of one that has no log-probabilities."""
    row["leaf"] = "" if row["leaf"] is None else str(row["leaf"])
    row["steps"] = steps_of(row["response"] or "", row["step_ends"] or [])
    row["logprob_sum"] = sum(row["logprobs"]) if row["logprobs"] is not None else logprob_sum(row)
    return row


def logprob_sum_of(row: Row, nodes: Mapping[Key, Row]) -> float | None:
    """The sum that the nodes along a kept row's path say; None where one says none."""
    sums = [node["logprob_sum"] for node in path_of(row["problem_id"], row["leaf"], nodes)] if row["leaf"] else []
    return sum(sums) if sums and None not in sums else None
