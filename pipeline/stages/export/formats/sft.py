"""Exports responses to imitate: one row a kept trajectory.

TRL: `prompt` and `completion` messages. verl: `messages`. OpenRLHF: `input`, `output`. `--from trajectories` gives
every trajectory that a verifier passed, those that a pruning rule dropped among them. Responses with turns of tools or
of an environment are `messages` for TRL and verl and `input` for OpenRLHF, with `tools`. `--tokens` has `labels` as TRL
and transformers read them, -100 for what is not to be learned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from berry.pipeline.records import Finish
from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.export.base import (
    IDS,
    LOGPROBS,
    MASK,
    MESSAGES,
    ExportContext,
    ExportFormat,
    Layout,
    Origin,
    Sampled,
    as_conversation,
    assistant,
    layout,
    origin_of,
    sampled_of,
    sampled_of_kept,
)
from berry.pipeline.stages.export.turns import Conversations, ToolsKind
from berry.verifiers.base import Outcome


@dataclass(frozen=True, slots=True)
class SftRecord:
    """A response to imitate. `orm`: its score in [0, 1] where there is a model that gives one."""

    origin: Origin
    sampled: Sampled
    orm: float | None


def records(stored: StoredTree, context: ExportContext) -> Iterator[SftRecord]:
    """One for each kept trajectory, or for each that passed."""
    if context.source == "kept":
        for row in stored.kept:
            ended = row["leaf"] in stored.tree and stored.tree[row["leaf"]].finish is Finish.STOP
            sampled = sampled_of_kept(stored, row, ended=ended)
            if context.conversations is not None and row["leaf"] in stored.tree:
                path = stored.tree.path(stored.tree[row["leaf"]])
                sampled = as_conversation(sampled, path, context.conversations)
            yield SftRecord(origin_of(stored, row["trajectory_id"]), sampled, row["orm"])
        return
    for row in stored.trajectories:
        if row["verdict"] == Outcome.PASS and row["leaf"] in stored.tree:
            sampled = sampled_of(stored, row["leaf"], context.conversations)
            yield SftRecord(origin_of(stored, row["trajectory_id"]), sampled, row["orm"])


def _conversation(column: str, kind: ToolsKind) -> Callable[[Conversations], Layout]:
    """The layout of whole conversations in one column; `kind`: how the trainer reads the tools' descriptions."""

    def of(made: Conversations) -> Layout:
        tools = made.tools_as(kind)

        def row(record: SftRecord) -> Row:
            sampled = record.sampled
            reply = assistant(sampled.text) if sampled.turns is None else sampled.turns
            return {column: [*sampled.messages, *reply], "orm": record.orm} | (
                {} if tools is None else {"tools": tools.value}
            )

        described = [] if tools is None else [("tools", tools.type)]
        return layout([(column, pa.list_(made.message)), *described, ("orm", pa.float64())], row)

    return of


SFT = ExportFormat(
    records,
    {
        "trl": layout(
            [("prompt", MESSAGES), ("completion", MESSAGES), ("orm", pa.float64())],
            lambda r: {"prompt": r.sampled.messages, "completion": assistant(r.sampled.text), "orm": r.orm},
        ),
        "verl": layout(
            [("messages", MESSAGES), ("orm", pa.float64())],
            lambda r: {"messages": [*r.sampled.messages, *assistant(r.sampled.text)], "orm": r.orm},
        ),
        "openrlhf": layout(
            [("input", MESSAGES), ("output", MESSAGES), ("orm", pa.float64())],
            lambda r: {"input": r.sampled.messages, "output": assistant(r.sampled.text), "orm": r.orm},
        ),
    },
    nothing="no trajectory was kept; `--from trajectories` takes every one that passed, `berry reprune RUN` prunes "
    "anew by other rules",
    tokens=layout(
        [("input_ids", IDS), ("labels", IDS), ("loss_mask", MASK), ("logprobs", LOGPROBS), ("orm", pa.float64())],
        lambda r: {
            "input_ids": r.sampled.input_ids,
            "labels": r.sampled.labels,
            "loss_mask": r.sampled.loss_mask,
            "logprobs": r.sampled.whole_logprobs,
            "orm": r.orm,
        },
    ),
    conversations={
        "trl": _conversation("messages", "json"),
        "verl": _conversation("messages", "columns"),
        "openrlhf": _conversation("input", "none"),
    },
    sampled=lambda r: [r.sampled],
    labels="Responses have no label: each was kept, or passed its verifier where rows are of all trajectories.",
)
