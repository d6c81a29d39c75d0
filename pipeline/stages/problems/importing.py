"""Turns public data sets' own files into problems: each importer makes one problem of one row.

    rows of a file ─► importer (by data set) ─► (problem, reference solution) ─► PROBLEMS.jsonl (and REFERENCES.jsonl)

A row that can't become a checkable problem is left out and counted with its reason, never guessed at.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from berry.pipeline.errors import ProblemFileError
from berry.pipeline.stages.problems.datasets import instructions, mathematics, programs, training
from berry.pipeline.stages.problems.datasets.base import (
    Imported,
    Importer,
    SourceRow,
    Unusable,
    at,
    made,
    repeated_once,
)
from berry.pipeline.stages.problems.files import json_rows, parquet_rows
from berry.verifiers.registry import fault as spec_fault


def read_rows(path: str) -> Iterator[tuple[str, SourceRow]]:
    """Reads (where, row) of a .jsonl, .jsonl.gz, .json (a list) or .parquet file. Raises ProblemFileError."""
    if path.endswith(".parquet"):
        rows: Iterator[tuple[str, object]] = parquet_rows(path)
    elif path.endswith(".gz"):
        rows = _gzipped(path)
    elif path.endswith(".json"):
        rows = _json_list(path)
    else:
        rows = json_rows(path)
    for where, row in rows:
        if not isinstance(row, dict):
            raise ProblemFileError(f"{where}: must be an object, got {type(row).__name__}")
        yield where, row


def _gzipped(path: str) -> Iterator[tuple[str, object]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            for number, line in enumerate(stream, start=1):
                if line.strip():
                    yield f"{path}, line {number}", json.loads(line)
    except (OSError, ValueError) as error:
        raise ProblemFileError(f"{path}: can't be read: {error}") from error


def _json_list(path: str) -> Iterator[tuple[str, object]]:
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ProblemFileError(f"{path}: can't be read: {error}") from error
    yield from ((f"{path}, item {n}", item) for n, item in enumerate(data if isinstance(data, list) else [data]))


def convert(path: str, importer: Importer) -> Iterator[tuple[str, Imported | str]]:
    """Gives (where, problem) for each row, or (where, why it was left out). Raises ProblemFileError for a row of
    another data set."""
    for number, (where, row) in enumerate(read_rows(path)):
        try:
            imported = importer(row, str(number))
            fault = spec_fault(imported.problem.verifier)
        except Unusable as error:
            yield where, str(error)
            continue
        except KeyError as error:
            raise ProblemFileError(
                f"{where}: lacks the field {error}; is this the file of another data set?"
            ) from error
        except ValidationError as error:
            yield where, "; ".join(f"{'.'.join(map(str, d['loc']))}: {d['msg']}" for d in error.errors())[:300]
            continue
        yield where, imported if fault is None else fault


def mapped(fields: Mapping[str, str], verifier: Mapping[str, Any] | None = None) -> Importer:
    """An importer for any file: `fields` says which column is `prompt`, `answer` (a math answer), `id`, `verifier`
    (a tagged object), `reference`; nested columns by dotted path. `verifier` is a template whose "{column}" texts are
    filled from the row."""

    def one(row: SourceRow, number: str) -> Imported:
        def field(name: str) -> Any:
            column = fields.get(name, name)
            value = at(row, column)
            if value is None and name in fields and column.partition(".")[0] not in row:
                raise ProblemFileError(f"--map {name}={column}: no such column; there are {', '.join(map(str, row))}")
            return value

        prompt = field("prompt")
        if prompt is None:
            raise ProblemFileError(
                f"no column `prompt`: name one with --map prompt=…; there are {', '.join(map(str, row))}"
            )
        spec = field("verifier")
        if verifier is not None:
            spec = _filled(verifier, row)
        elif spec is None:
            answer = field("answer")
            if answer is None:
                raise Unusable("no answer")
            spec = {"type": "math", "answer": str(answer)}
        elif isinstance(spec, str):
            spec = json.loads(spec)
        return made(str(field("id") or number), prompt, spec, str(row.get("source", "")), reference=field("reference"))

    return one


def _filled(template: Any, row: SourceRow) -> Any:
    """`template` with every text that is exactly "{column}" replaced by that column's value."""
    if isinstance(template, str) and (match := re.fullmatch(r"\{([\w.]+)\}", template)):
        if match[1].partition(".")[0] not in row:
            raise ProblemFileError(f"--verifier: no column {match[1]!r}; there are {', '.join(map(str, row))}")
        return at(row, match[1])
    if isinstance(template, dict):
        return {key: _filled(value, row) for key, value in template.items()}
    return [_filled(item, row) for item in template] if isinstance(template, list) else template


IMPORTERS: dict[str, Callable[[], Importer]] = {
    "gsm8k": lambda: mathematics.gsm8k,
    "math": lambda: mathematics.math,
    "math500": lambda: mathematics.math,
    "aime": lambda: mathematics.aime,
    "numina_math": lambda: mathematics.numina_math,
    "openr1_math": lambda: mathematics.openr1_math,
    "deepscaler": lambda: mathematics.deepscaler,
    "dapo": lambda: repeated_once(training.dapo, training.dapo_key),
    "big_math": lambda: mathematics.big_math,
    "open_math_reasoning": lambda: repeated_once(mathematics.open_math_reasoning, lambda row: row["problem"]),
    "humaneval": lambda: programs.humaneval,
    "humaneval_plus": lambda: programs.humaneval,
    "mbpp": lambda: programs.mbpp,
    "mbpp_plus": lambda: programs.mbpp,
    "apps": lambda: programs.apps,
    "taco": lambda: programs.taco,
    "code_contests": lambda: programs.code_contests,
    "livecodebench": lambda: programs.livecodebench,
    "kodcode": lambda: programs.kodcode,
    "multipl_e": lambda: programs.multipl_e,
    "eurus": lambda: training.verl,
    "synthetic1": lambda: repeated_once(training.synthetic, training.synthetic_key),
    "synthetic2": lambda: repeated_once(training.synthetic, training.synthetic_key),
    "verl": lambda: training.verl,
    "nemotron": lambda: repeated_once(training.nemotron, training.nemotron_key),
    "ifeval": lambda: instructions.ifeval,
    "minif2f": lambda: instructions.minif2f,
}
"""Makes a fresh importer for each file, since some remember what they have seen."""
