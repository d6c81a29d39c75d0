"""Gathers a run's data card: what its rows were made by and of, in the words of the card that an export gets.

nodes ─► models, weights, kinds of value        problem files ─► sources with their licences, verifiers
                                                configuration ─► how answers were sampled
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

from berry.pipeline.errors import BerryError
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.stages.export.card import SAMPLED_BY, origin
from berry.pipeline.stages.problems.sources import iter_problems
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.duckdb_views import connect

Row = tuple[str, str, str]
COLUMNS = ("what", "which", "of how many")
MOST_PROBLEMS = 100_000  # whose files are read for it
MOST_ROWS = 20  # of one kind
GONE = "the problem files can't be read any more"

_TREES = "select coalesce({}, 'unknown'), count(distinct (problem_id, round)) from nodes group by 1 order by 2 desc, 1"
_SEGMENTS = """select coalesce({}, '{}'), count(*) from nodes where parent is not null and
               coalesce(role, 'assistant') = 'assistant' group by 1 order by 2 desc, 1"""


def data_card(run: RunDir) -> list[Row]:
    """Rows of COLUMNS. Raises BerryError where the configuration can't be read, duckdb.Error for a damaged shard."""
    with connect(run) as db:
        models = Counter(dict(db.execute(_TREES.format("model")).fetchall()))
        weights = Counter(dict(db.execute(_SEGMENTS.format("weights_version", "unknown")).fetchall()))
        kinds = Counter(dict(db.execute(_SEGMENTS.format("value_kind", "none")).fetchall()))
    rows = [*_counted("model", models, "trees"), *_counted("weights", weights, "sampled segments")]
    rows += _problems(run)
    rows += _counted("kind of value", kinds, "sampled segments")
    rollout = stored_config(run).rollout
    modes = {mode.name: rollout.in_mode(mode.name) for mode in rollout.modes} or {"": rollout}
    for name in SAMPLED_BY:
        said = {mode: getattr(one, name) for mode, one in modes.items()}
        first = next(iter(said.values()))
        if all(value == first for value in said.values()):
            said = {"": first}
        for mode, value in said.items():
            what = name.replace("_", " ") + (f" of mode {mode}" if mode else "")
            rows += [(what, _line(value), "")] if value else []
    return rows


def _line(value: Any) -> str:
    """A section of the configuration on one line, without what is null."""
    if isinstance(value, str):
        return value
    plain = value.model_dump(mode="json", exclude_none=True)
    return ", ".join(f"{k}: {v if isinstance(v, str) else json.dumps(v, ensure_ascii=False)}" for k, v in plain.items())


def _problems(run: RunDir) -> Iterator[Row]:
    """By source and licence, and by verifier, of the problem files as they are now."""
    sources, verifiers, n = Counter[str](), Counter[str](), 0
    try:
        for problem in islice(iter_problems(stored_config(run).problems), MOST_PROBLEMS):
            source, licence, verifier = origin(problem)
            sources[f"{source}; licence: {licence}"] += 1
            verifiers[verifier] += 1
            n += 1
    except (BerryError, OSError):
        yield "source", GONE, ""
        return
    unit = f"of the first {n:,} problems" if n == MOST_PROBLEMS else "problems"
    yield from _counted("source", sources, unit)
    yield from _counted("verifier", verifiers, unit)


def _counted(what: str, found: Counter[str], unit: str) -> Iterator[Row]:
    for which, count in found.most_common(MOST_ROWS):
        yield what, which, f"{count:,} {unit}"
    if len(found) > MOST_ROWS:
        yield what, f"{len(found) - MOST_ROWS:,} more", ""
