"""Keeps, beside trained weights, the texts of the problems that they were trained on, so that an evaluation can tell
whether its benchmarks are among them.

    problems of a run, ids that were trained on ─► training_problems.jsonl.gz in the weights' folder
"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Collection
from pathlib import Path

from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import BerryError
from berry.pipeline.stages.problems.sources import iter_problems

NAME = "training_problems.jsonl.gz"


def training_problems(config: RunConfig, trained_on: Collection[str]) -> dict[str, bytes]:
    """The file by its name: a line with `id` and `prompt` for each problem of the run that was trained on. Nothing
    where the run's problems can't be read any more, since a part of them would look like all."""
    wanted = frozenset(trained_on)
    lines: dict[str, str] = {}
    try:
        for problem in iter_problems(config.problems):
            if problem.id in wanted:
                lines[problem.id] = json.dumps({"id": problem.id, "prompt": problem.text}, ensure_ascii=False)
    except BerryError:
        return {}
    if len(lines) < len(wanted):
        return {}
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", mtime=0) as stream:  # the same bytes for the same problems
        stream.write("".join(f"{line}\n" for line in lines.values()).encode())
    return {NAME: packed.getvalue()}


def stored_training_problems(folder: str) -> str | None:
    """The path of the file beside the weights of `folder`; None where they don't say what they were trained on."""
    path = Path(folder) / NAME
    return str(path) if path.is_file() else None
