"""Defines the Arrow schemas of a run's Parquet files (design, section 4; docs/data.md).

nodes          one row a tree segment: its token delta, its text and its values; the only place where they lie
trajectories   one row a leaf, kept or dropped, with the reason; its text is that of the nodes above its leaf
kept           what a trainer reads: one self-contained row a kept trajectory, each text once

Nodes are numbered within their problem, parents before children and siblings by sample, the root 0. A new column raises
VERSION and stands in ADDED, so that files of earlier versions are read with nulls for it; a column that is there keeps
its name, type and meaning. What versions 1 to 5 wrote is read by `storage.parquet.earlier_schemas`.
"""

from __future__ import annotations

import pyarrow as pa

VERSION = 11

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
        ("lease", pa.int32()),  # the problems that were handed out and committed together
        ("problem_id", pa.string()),
        ("node", pa.int32()),
        ("parent", pa.int32()),  # null: the root, whose tokens are the prompt
        ("depth", pa.int32()),
        ("token_ids", pa.list_(pa.int32())),  # -1: a token that a hosted API counted and gave no id of
        ("text", pa.string()),
        ("finish", pa.string()),
        ("logprobs", pa.list_(pa.float32())),  # nats, one a token: with what probability it was drawn
        ("logprob_sum", pa.float64()),  # nats; null where `logprobs` says it
        ("mean_entropy", pa.float32()),  # nats a token
        ("prm", pa.float32()),
        ("engine_id", pa.string()),
        ("weights_version", pa.string()),
        ("seed", pa.int64()),
        ("messages", pa.list_(MESSAGE)),  # of a root: what its tokens are, as sampled under
        ("sample", pa.int32()),
        ("weight", pa.float64()),
        ("value", pa.float64()),
        ("value_low", pa.float32()),
        ("value_high", pa.float32()),
        ("value_n", pa.int32()),
        ("value_mass", pa.float64()),
        ("value_kind", pa.string()),
        ("reached", pa.bool_()),
        (
            "role",
            pa.string(),
        ),  # assistant: sampled; tool: given, without log-probabilities. Before version 7: assistant
        ("call_outcome", pa.string()),  # of what a tool said: how the call above it ended
        ("call_ms", pa.float32()),
        ("nondeterministic", pa.bool_()),  # its session was rebuilt, and earlier calls said something else
        ("mode", pa.string()),  # that its problem was searched in; null: the run has none
        ("template_args", pa.string()),  # of a root: JSON, what the template was given beside `messages`
        (
            "inner_prm",
            pa.list_(pa.float32()),
        ),  # PRM's values at steps that end inside the segment; `prm`: at its end
        ("model", pa.string()),  # that grew its tree
        ("problem", pa.string()),  # of a root: JSON, the problem as it was asked, with its verifier
    ]
)

TRAJECTORIES = pa.schema(
    [
        ("lease", pa.int32()),
        ("trajectory_id", pa.string()),
        ("problem_id", pa.string()),
        ("leaf", pa.int32()),  # a node; null: no tree was grown
        ("response", pa.string()),  # null, as nearly always: the text of the nodes from the root to the leaf
        ("answer", pa.string()),
        ("verdict", pa.string()),
        ("verdict_reason", pa.string()),
        ("evidence", pa.string()),  # JSON
        ("verify_ms", pa.float32()),
        ("orm", pa.float32()),
        ("prm_min", pa.float32()),
        ("prm_last", pa.float32()),
        ("prm_prod", pa.float32()),
        ("n_tokens", pa.int32()),
        ("n_new_tokens", pa.int32()),
        ("finish", pa.string()),
        ("kept", pa.bool_()),
        ("drop_reason", pa.string()),
        ("variant_of", pa.string()),  # the problem that this one was made from: what splits go by
        ("mode", pa.string()),
        ("model", pa.string()),
    ]
)

KEPT = pa.schema(
    [
        ("lease", pa.int32()),
        ("trajectory_id", pa.string()),
        ("problem_id", pa.string()),
        ("leaf", pa.int32()),
        ("source", pa.string()),
        ("variant_of", pa.string()),
        ("messages", pa.list_(MESSAGE)),
        ("response", pa.string()),
        ("step_ends", pa.list_(pa.int32())),  # characters of `response` at which its steps end; the last is its length
        ("prm_scores", pa.list_(pa.float32())),
        ("orm", pa.float32()),
        ("verdict", pa.string()),
        ("answer", pa.string()),
        ("prompt_token_ids", pa.list_(pa.int32())),  # null, as the next two, where a hosted API gave text alone
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),  # nats, one a token of `token_ids`
        ("segments", pa.list_(SEGMENT)),  # cover `token_ids`, in order
        ("model", pa.string()),
        ("synthetic", pa.bool_()),
        ("engine_id", pa.string()),
        ("weights_version", pa.string()),
        ("seed", pa.int64()),
        ("template_hash", pa.string()),  # of the chat template that made prompt_token_ids of messages
        ("template_args", pa.string()),  # JSON, what the template was given beside the messages
        ("step_values", pa.list_(pa.float64())),
        ("step_lows", pa.list_(pa.float32())),
        ("step_highs", pa.list_(pa.float32())),
        ("step_counts", pa.list_(pa.int32())),
        ("step_weights", pa.list_(pa.float64())),
        ("step_kinds", pa.list_(pa.string())),
        ("step_reached", pa.list_(pa.bool_())),
        ("mode", pa.string()),
    ]
)

TABLES: dict[str, pa.Schema] = {"nodes": NODES, "kept": KEPT, "trajectories": TRAJECTORIES}
"""In the order in which a lease's files are written; the last one is the commit."""
COMMIT = "trajectories"

STEP_COLUMNS = ("step_values", "step_lows", "step_highs", "step_counts", "step_weights", "step_kinds", "step_reached")
ADDED: dict[int, dict[str, tuple[str, ...]]] = {
    7: {"nodes": ("role", "call_outcome", "call_ms", "nondeterministic")},
    8: {"nodes": ("mode", "template_args"), "trajectories": ("mode",), "kept": ("mode",)},
    9: {"nodes": ("inner_prm",)},
    10: {"nodes": ("model",), "trajectories": ("model",)},
    11: {"nodes": ("problem",)},
}
"""The columns that each version after the sixth brought, by table."""


def as_of(table: str, version: int) -> pa.Schema:
    """The schema in which `version`, 6 or later, wrote a table: today's without the columns that came later."""
    later = {name for v, tables in ADDED.items() if v > version for name in tables.get(table, ())}
    return pa.schema([field for field in TABLES[table] if field.name not in later])
