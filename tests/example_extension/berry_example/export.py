"""Prompts and kept responses as two plain columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.export.base import ExportContext, ExportFormat, Origin, layout, origin_of


@dataclass(frozen=True)
class Plain:
    """One kept response and its prompt."""

    origin: Origin
    prompt: str
    response: str


def records(stored: StoredTree, context: ExportContext) -> Iterator[Plain]:
    """Yields every kept response of a tree."""
    for row in stored.kept:
        yield Plain(origin_of(stored, row["trajectory_id"]), stored.messages[-1]["content"], row["response"])


COLUMNS = (("prompt", pa.string()), ("response", pa.string()))
PLAIN = ExportFormat(
    records=records,
    layouts={"trl": layout(COLUMNS, lambda r: {"prompt": r.prompt, "response": r.response})},
    nothing="no trajectory was kept",
)
