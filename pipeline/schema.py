"""Defines the Arrow schemas of a run's Parquet files (design, section 4).

A new column raises VERSION and stands in ADDED, so that files of earlier versions are read with nulls for it; a column
that is there keeps its name, type and meaning. Version 1 stored plain shares of all leaves below a node (`visits`,
`value_soft`, `value_hard`, `step_labels_soft`, `step_labels_hard`); they are null since, and read as values of the kind
`pooled`.

nodes          one row a tree segment: the token delta and its values
trajectories   one row a leaf, kept or dropped, with the reason
kept           what a trainer reads: one self-contained row a kept trajectory
"""

from __future__ import annotations

import pyarrow as pa

VERSION = 5

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
SEGMENT = pa.struct(
    [
        ("start", pa.int32()),  # token offset in the response
        ("tokens", pa.int32()),
        ("role", pa.string()),
        ("weights_version", pa.string()),
        ("engine_id", pa.string()),
        ("trainable", pa.bool_()),
    ]
)

NODES = pa.schema(
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

TRAJECTORIES = pa.schema(
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

KEPT = pa.schema(
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

TABLES: dict[str, pa.Schema] = {"nodes": NODES, "kept": KEPT, "trajectories": TRAJECTORIES}
"""In the order in which a lease's files are written; the last one is the commit."""
COMMIT = "trajectories"

_VALUES = ("sample", "weight", "value", "value_low", "value_high", "value_n", "value_mass", "value_kind", "reached")
STEP_COLUMNS = ("step_values", "step_lows", "step_highs", "step_counts", "step_weights", "step_kinds", "step_reached")
ADDED: dict[int, dict[str, tuple[str, ...]]] = {
    2: {"nodes": ("logprobs",), "kept": ("logprobs",)},
    3: {"nodes": ("messages",), "kept": ("segments", "template_hash", "template_args")},
    4: {"nodes": _VALUES, "kept": STEP_COLUMNS},
    5: {"trajectories": ("variant_of",)},
}
"""The columns that each version after the first brought, by table."""


def as_of(table: str, version: int) -> pa.Schema:
    """The schema in which `version` wrote a table: today's without the columns that came later."""
    later = {name for v, tables in ADDED.items() if v > version for name in tables.get(table, ())}
    return pa.schema([field for field in TABLES[table] if field.name not in later])
