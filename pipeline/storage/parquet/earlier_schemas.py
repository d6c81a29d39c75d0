"""The schemas that earlier releases wrote, 1 to 5, and how their rows are read as those of today's.

    nodes, kept, trajectories of one lease, as stored ─► today ─► the same with the columns of `schema.TABLES`

Up to version 5 ids were random-looking strings, and a response was stored with its trajectory and step by step as well.
Here nodes get their numbers in the order in which they lie, a trajectory its leaf's, and steps become their ends.
Version 1 stored plain shares of all leaves below a node (`visits`, `value_soft`, `value_hard`); they are values of the
kind `pooled`. Columns that a version did not have are null.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import pyarrow as pa

from berry.pipeline import schema
from berry.pipeline.records import ValueKind
from berry.pipeline.schema import MESSAGE, SEGMENT

LAST = 5

_NODES = pa.schema(
    [
        ("problem_id", pa.string()),
        ("node_id", pa.string()),
        ("parent_id", pa.string()),
        ("depth", pa.int32()),
        ("token_ids", pa.list_(pa.int32())),
        ("text", pa.string()),
        ("logprob_sum", pa.float64()),
        ("mean_entropy", pa.float64()),
        ("finish", pa.string()),
        ("prm", pa.float64()),
        ("visits", pa.int32()),
        ("value_soft", pa.float64()),
        ("value_hard", pa.bool_()),
        ("engine_id", pa.string()),
        ("weights_version", pa.string()),
        ("seed", pa.int64()),
        ("logprobs", pa.list_(pa.float32())),  # nats, one a token: with what probability it was drawn
        ("messages", pa.list_(MESSAGE)),  # of a root: what its tokens are, as sampled under
        ("sample", pa.int32()),
        ("weight", pa.float64()),
        ("value", pa.float64()),
        ("value_low", pa.float64()),
        ("value_high", pa.float64()),
        ("value_n", pa.int32()),
        ("value_mass", pa.float64()),
        ("value_kind", pa.string()),
        ("reached", pa.bool_()),
    ]
)

_TRAJECTORIES = pa.schema(
    [
        ("trajectory_id", pa.string()),
        ("problem_id", pa.string()),
        ("leaf", pa.string()),
        ("path", pa.list_(pa.string())),
        ("response", pa.string()),
        ("answer", pa.string()),
        ("verdict", pa.string()),
        ("verdict_reason", pa.string()),
        ("evidence", pa.string()),  # JSON
        ("verify_ms", pa.float64()),
        ("orm", pa.float64()),
        ("prm_min", pa.float64()),
        ("prm_last", pa.float64()),
        ("prm_prod", pa.float64()),
        ("n_tokens", pa.int32()),
        ("n_new_tokens", pa.int32()),
        ("finish", pa.string()),
        ("kept", pa.bool_()),
        ("drop_reason", pa.string()),
        ("variant_of", pa.string()),  # the problem that this one was made from: what splits go by
    ]
)

_KEPT = pa.schema(
    [
        ("trajectory_id", pa.string()),
        ("problem_id", pa.string()),
        ("source", pa.string()),
        ("variant_of", pa.string()),
        ("messages", pa.list_(MESSAGE)),
        ("response", pa.string()),
        ("steps", pa.list_(pa.string())),
        ("step_labels_soft", pa.list_(pa.float64())),
        ("step_labels_hard", pa.list_(pa.bool_())),
        ("prm_scores", pa.list_(pa.float64())),
        ("orm", pa.float64()),
        ("verdict", pa.string()),
        ("answer", pa.string()),
        ("prompt_token_ids", pa.list_(pa.int32())),
        ("token_ids", pa.list_(pa.int32())),
        ("logprob_sum", pa.float64()),
        ("model", pa.string()),
        ("synthetic", pa.bool_()),
        ("engine_id", pa.string()),
        ("weights_version", pa.string()),
        ("seed", pa.int64()),
        ("logprobs", pa.list_(pa.float32())),  # nats, one a token of `token_ids`
        ("segments", pa.list_(SEGMENT)),  # cover `token_ids`, in order
        ("template_hash", pa.string()),  # of the chat template that made prompt_token_ids of messages
        ("template_args", pa.string()),  # JSON, what the template was given beside the messages
        ("step_values", pa.list_(pa.float64())),
        ("step_lows", pa.list_(pa.float64())),
        ("step_highs", pa.list_(pa.float64())),
        ("step_counts", pa.list_(pa.int32())),
        ("step_weights", pa.list_(pa.float64())),
        ("step_kinds", pa.list_(pa.string())),
        ("step_reached", pa.list_(pa.bool_())),
    ]
)

_TABLES = {"nodes": _NODES, "kept": _KEPT, "trajectories": _TRAJECTORIES}

_VALUES = ("sample", "weight", "value", "value_low", "value_high", "value_n", "value_mass", "value_kind", "reached")
_STEPS = ("step_values", "step_lows", "step_highs", "step_counts", "step_weights", "step_kinds", "step_reached")
_ADDED: dict[int, dict[str, tuple[str, ...]]] = {
    2: {"nodes": ("logprobs",), "kept": ("logprobs",)},
    3: {"nodes": ("messages",), "kept": ("segments", "template_hash", "template_args")},
    4: {"nodes": _VALUES, "kept": _STEPS},
    5: {"trajectories": ("variant_of",)},
}
"""The columns that each version after the first brought, by table."""


Rows = list[dict[str, Any]]


def as_of(table: str, version: int) -> pa.Schema:
    """The schema in which `version`, 1 to 5, wrote a table."""
    later = {name for v, tables in _ADDED.items() if v > version for name in tables.get(table, ())}
    return pa.schema([field for field in _TABLES[table] if field.name not in later])


def today(tables: Mapping[str, pa.Table], lease: int) -> dict[str, pa.Table]:
    """The files of one lease, as versions 1 to 5 wrote them, with today's columns. A leaf or a parent that names a node
    that is not there becomes -1."""
    nodes = tables["nodes"].to_pylist()
    numbers: dict[str, dict[str, int]] = {}
    for row in nodes:
        of_problem = numbers.setdefault(row["problem_id"], {})
        of_problem.setdefault(row["node_id"], len(of_problem))
    texts = {(row["problem_id"], row["node_id"]): row["text"] or "" for row in nodes}
    trajectories = tables["trajectories"].to_pylist()
    leaves = {row["trajectory_id"]: _leaf(row, numbers) for row in trajectories}
    made = {
        "nodes": [_node(row, numbers[row["problem_id"]]) for row in nodes],
        "kept": [_kept(row, leaves.get(row["trajectory_id"])) for row in tables["kept"].to_pylist()],
        "trajectories": [{**row, **_text_once(row, leaves[row["trajectory_id"]], texts)} for row in trajectories],
    }
    return {name: _table(rows, schema.TABLES[name], lease) for name, rows in made.items()}


def _table(rows: Rows, arrow_schema: pa.Schema, lease: int) -> pa.Table:
    columns = [
        pa.array([lease] * len(rows) if f.name == "lease" else [row.get(f.name) for row in rows], f.type)
        for f in arrow_schema
    ]
    return pa.Table.from_arrays(columns, schema=arrow_schema)


def _node(row: dict[str, Any], numbers: Mapping[str, int]) -> dict[str, Any]:
    parent = row["parent_id"]
    made = {
        **row,
        "node": numbers[row["node_id"]],
        "parent": None if parent is None else numbers.get(parent, -1),
        "logprob_sum": row["logprob_sum"] if row.get("logprobs") is None else None,
    }
    if row.get("sample") is None and row["visits"] and row["value_soft"] is not None:
        pooled = {"value": row["value_soft"], "value_n": row["visits"], "value_mass": 1.0, "reached": row["value_hard"]}
        made |= {**pooled, "value_kind": ValueKind.POOLED.value}
    return made


def _leaf(row: dict[str, Any], numbers: Mapping[str, Mapping[str, int]]) -> int | None:
    if not row["leaf"] and not row["path"]:
        return None
    return numbers.get(row["problem_id"], {}).get(row["leaf"], -1)


def _text_once(row: dict[str, Any], leaf: int | None, texts: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """The leaf, and the response where it is another text than that of the nodes along the path."""
    joined = "".join([texts.get((row["problem_id"], node), "") for node in row["path"] or ()])
    return {"leaf": leaf, "response": None if (row["response"] or "") == joined else row["response"]}


def _kept(row: dict[str, Any], leaf: int | None) -> dict[str, Any]:
    made = {**row, "leaf": leaf, "step_ends": list(accumulate(map(len, row["steps"] or ())))}
    if row.get("step_values") is None and row["step_labels_soft"] is not None:
        kinds = [None if label is None else ValueKind.POOLED.value for label in row["step_labels_soft"]]
        made |= {"step_values": row["step_labels_soft"], "step_reached": row["step_labels_hard"], "step_kinds": kinds}
    return made
