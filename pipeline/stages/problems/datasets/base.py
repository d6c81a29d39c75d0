"""Defines what every importer is made of: a row, the problem made from it, and the reason why there is none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from berry.pipeline.records import Problem

SourceRow = Mapping[str, Any]


class Unusable(ValueError):
    """Says why a row can't be a problem that can be checked."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A problem, and the data set's own solution as a response, where there is one."""

    problem: Problem
    reference: str | None = None


Importer = Callable[[SourceRow, str], Imported]
"""Takes a row and its number in the file, for rows without an id. Raises Unusable, or KeyError for another data set's
row."""


def made(
    identity: str,
    prompt: Any,
    verifier: Mapping[str, Any],
    source: str,
    *,
    meta: Mapping[str, Any] | None = None,
    reference: object = None,
) -> Imported:
    """Make the problem; `verifier` is the tagged object of problem files. Raises pydantic's ValidationError."""
    known = {key: value for key, value in (meta or {}).items() if value is not None}
    problem = Problem.model_validate(
        {"id": identity, "prompt": prompt, "verifier": dict(verifier), "source": source, "meta": known}
    )
    return Imported(problem, reference if isinstance(reference, str) and reference else None)


def first(row: SourceRow, *columns: str) -> Any:
    """The first of these columns that holds something. Raises KeyError with their names."""
    for column in columns:
        if row.get(column) not in (None, "", [], {}):
            return row[column]
    raise KeyError(" or ".join(columns))


def at(row: SourceRow, path: str) -> Any:
    """What stands at a dotted path, as in `reward_model.ground_truth`; JSON texts on the way are opened. None if
    nothing does. A column whose own name holds the dots comes first."""
    if path in row:
        return row[path]
    value: Any = row
    for part in path.split("."):
        if isinstance(value, str) and value[:1] in "{[":
            try:
                value = json.loads(value)
            except ValueError:
                return None
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list | tuple) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def opened(value: Any, what: str) -> Any:
    """A column that holds JSON as text, read. Raises Unusable."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise Unusable(f"{what} is not JSON ({error})") from error


def repeated_once(importer: Importer, key: Callable[[SourceRow], object]) -> Importer:
    """An importer that leaves out rows whose key it has seen: some files repeat each problem many times."""
    seen: set[object] = set()

    def one(row: SourceRow, number: str) -> Imported:
        mark = key(row)
        if mark is not None and mark in seen:
            raise Unusable("a repeat of an earlier row")
        imported = importer(row, number)
        seen.add(mark)
        return imported

    return one
