"""Adds their texts to the DuckDB view of trajectories: `response`, `steps` and `path`, read from the nodes.

duckdb_views.connect ─► connect ─► trajectories with response, steps, path        only what a query names is read
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.assignment.modes import rollout_of
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.stages.dataset.steps import split_texts
from berry.pipeline.storage.parquet import checked_read
from berry.pipeline.storage.run import duckdb_views
from berry.pipeline.storage.run.directory import RunDir

if TYPE_CHECKING:
    import duckdb

LEASES = 8  # whose nodes are held at once
_ARGUMENTS = ["INTEGER", "INTEGER", "VARCHAR", "INTEGER"]
_CALL = "({}.round, {}.lease, {}.problem_id, {}.leaf)".replace("{}", "stored_trajectories")
_Texts = dict[tuple[str, int], tuple[int | None, str]]  # problem, node ─► parent, text


def connect(run: RunDir) -> duckdb.DuckDBPyConnection:
    """An in-memory DuckDB over the run, as `duckdb_views.connect` makes it, whose trajectories have their texts. `path`
    has the nodes from the first segment to the leaf."""
    connection = duckdb_views.connect(run)
    texts = _NodeTexts(run)
    make: Any = connection.create_function  # its types know no names of types
    for name, one, returns in (
        ("berry_path", texts.path, "INTEGER[]"),
        ("berry_response", texts.response, "VARCHAR"),
        ("berry_steps", texts.steps, "VARCHAR[]"),
    ):
        make(name, one, _ARGUMENTS, returns)  # a row a call: in its calls by column DuckDB 1.5 lost characters
    columns = (
        f"* exclude (response), berry_path{_CALL} as path, coalesce(response, berry_response{_CALL}) as response, "
        f"berry_steps{_CALL} as steps"
    )
    for name in duckdb_views.LEAVES:
        connection.execute(duckdb_views.view_of_leaves(name, columns))
    return connection


class _NodeTexts:
    """The texts of nodes, of the leases that were asked for last."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._config: RunConfig | None = None
        self._held: OrderedDict[tuple[int, int], _Texts] = OrderedDict()
        self._lock = threading.Lock()

    def path(self, round_index: int, lease: int, problem_id: str, leaf: int) -> list[int]:
        return [number for number, _ in self._path(round_index, lease, problem_id, leaf)]

    def response(self, round_index: int, lease: int, problem_id: str, leaf: int) -> str:
        return "".join([text for _, text in self._path(round_index, lease, problem_id, leaf)])

    def steps(self, round_index: int, lease: int, problem_id: str, leaf: int) -> list[str]:
        if self._config is None:
            self._config = stored_config(self._run)
        rollout = rollout_of(self._config, problem_id)
        texts = [text for _, text in self._path(round_index, lease, problem_id, leaf)]
        return split_texts(texts, rollout.step, rollout.thinking)

    def _path(self, round_index: int, lease: int, problem_id: str, leaf: int) -> Sequence[tuple[int, str]]:
        nodes = self._nodes(round_index, lease)
        path: list[tuple[int, str]] = []
        at = leaf
        while (found := nodes[problem_id, at])[0] is not None:
            path.append((at, found[1]))
            at = found[0]
        path.reverse()
        return path

    def _nodes(self, round_index: int, lease: int) -> _Texts:
        with self._lock:
            held = self._held.pop((round_index, lease), None)
            if held is None:
                table = checked_read.read_tables(self._run.location, lease, round_index)["nodes"]
                columns = (table[name].to_pylist() for name in ("problem_id", "node", "parent", "text"))
                held = {
                    (problem, node): (parent, text or "") for problem, node, parent, text in zip(*columns, strict=True)
                }
            self._held[round_index, lease] = held
            if len(self._held) > LEASES:
                self._held.popitem(last=False)
            return held
