"""Reads problems from JSONL and Parquet files, and refuses what is none with file, line, field and remedy.

file ─► (where, row) ─► parse_problem ─► Problem
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from berry.pipeline.config.reading.loading import explain
from berry.pipeline.config.sections.problems import FileProblems
from berry.pipeline.errors import ProblemFileError
from berry.pipeline.records import Problem
from berry.pipeline.stages.problems.base import Passing, ProblemReader
from berry.pipeline.storage.files import open_location
from berry.pipeline.storage.remote import explain as explain_storage

MOST_FAULTS = 10  # rows told of at once
ROWS_AFTER_A_FAULT = 100_000  # looked at for more of them
BYTES_AT_ONCE = 4 << 20
MOST_PROMPT_CHARS = 10_000_000


class FileReader(ProblemReader[FileProblems]):
    """Reads the problems of a file, the first `limit` of them."""

    config = FileProblems

    def problems(self) -> Iterator[Problem]:
        return self.not_passed(Passing())

    def not_passed(self, passing: Passing) -> Iterator[Problem]:
        taken = iter_file(self.settings.path, passing, limit=self.settings.limit)
        suffix = self.settings.suffix
        return (problem.with_suffix(suffix) for problem in taken) if suffix else taken

    def fingerprint(self) -> str:
        return digest_of(self.settings.path)


def read_problems(path: str) -> list[Problem]:
    """Reads all problems of one JSONL or Parquet file. Raises ProblemFileError naming file, line and field."""
    return list(iter_file(path))


def digest_of(path: str) -> str:
    """The blake2 of a file's bytes, at a local path or a URL: a second a gigabyte. Raises ProblemFileError."""
    digest = hashlib.blake2b(digest_size=16)
    with _open(path) as stream:
        try:
            while part := stream.read(BYTES_AT_ONCE):
                digest.update(part)
        except OSError as error:
            raise ProblemFileError(f"{path}: can't be read: {explain_storage(error)}") from error
    return digest.hexdigest()


def iter_file(path: str, passing: Passing | None = None, *, limit: int | None = None) -> Iterator[Problem]:
    """Reads the problems of one file, at a local path or a URL; Parquet by its suffix, else JSON lines: of the first
    `limit`, those that `passing` does not take, which are not parsed. Raises ProblemFileError at the first row that is
    none, and says of the next ones, MOST_FAULTS in all, what is wrong."""
    rows = (parquet_rows if path.endswith(".parquet") else json_rows)(path, passing or Passing(), limit=limit)
    try:
        for where, row in rows:
            try:
                problem = parse_problem(row, where)
            except ProblemFileError as error:
                raise ProblemFileError("\n".join([str(error), *_further_faults(rows)])) from error
            yield problem
    except OSError as error:
        raise ProblemFileError(f"{path}: can't be read: {explain_storage(error)}") from error


def _further_faults(rows: Iterator[tuple[str, object]]) -> Iterator[str]:
    """What is wrong with the rows after a bad one, up to MOST_FAULTS with it, among the next ROWS_AFTER_A_FAULT."""
    found = 1
    try:
        for where, row in islice(rows, ROWS_AFTER_A_FAULT):
            try:
                parse_problem(row, where)
            except ProblemFileError as error:
                found += 1
                yield str(error)
                if found == MOST_FAULTS:
                    yield "… and perhaps more"
                    return
    except ProblemFileError as error:  # a line that is no row at all ends the reading
        yield str(error)


def parse_problem(row: object, where: str) -> Problem:
    """Validates one row. Raises ProblemFileError that begins with `where`."""
    if not isinstance(row, dict):
        raise ProblemFileError(f"{where}: must be an object with id, prompt and verifier, got {type(row).__name__}")
    prompt = row.get("prompt")
    if isinstance(prompt, str) and len(prompt) > MOST_PROMPT_CHARS:
        raise ProblemFileError(
            f"{where}: prompt has {len(prompt):,} characters, which no model reads: give at most {MOST_PROMPT_CHARS:,}"
        )
    try:
        return Problem.model_validate(row)
    except ValidationError as error:
        raise ProblemFileError("\n".join(f"{where}: {explain(d, Problem)}" for d in error.errors())) from error


def json_rows(path: str, passing: Passing | None = None, *, limit: int | None = None) -> Iterator[tuple[str, object]]:
    """Reads (where, row) of a JSON-lines file, of the first `limit` rows those that `passing` does not take. Raises
    ProblemFileError for a line that isn't JSON or not UTF-8."""
    passing, rows = passing or Passing(), 0
    with _open(path) as stream:
        for number, line in enumerate(io.BufferedReader(stream, 1 << 20), start=1):  # pyright: ignore[reportArgumentType]
            if not line.strip():
                continue
            if rows == limit:
                return
            rows += 1
            if passing.takes():
                continue
            where = f"{path}, line {number}"
            try:
                yield where, json.loads(line)
            except UnicodeDecodeError as error:
                raise ProblemFileError(f"{where}: is not UTF-8 text; save the file as UTF-8") from error
            except ValueError as error:
                raise ProblemFileError(f"{where}: is not valid JSON ({error}); write one object a line") from error


def parquet_rows(
    path: str, passing: Passing | None = None, *, limit: int | None = None
) -> Iterator[tuple[str, object]]:
    """Reads (where, row) of a Parquet file, of the first `limit` rows those that `passing` does not take; a row group
    of which it takes all is not read. Raises ProblemFileError for a file that is none."""
    with _open(path) as stream:
        try:
            file = pq.ParquetFile(stream)
        except pa.ArrowInvalid as error:
            raise ProblemFileError(f"{path}: is not a Parquet file ({error})") from error
        passing, number = passing or Passing(), 0
        for group in range(file.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if passing.count >= rows and (limit is None or number + rows <= limit):
                passing.count -= rows
                number += rows
                continue
            for batch in file.iter_batches(1024, row_groups=[group]):
                for row in batch.to_pylist():
                    if number == limit:
                        return
                    number += 1
                    if not passing.takes():
                        yield (
                            f"{path}, row {number}",
                            {k: _plain(k, v, path, number) for k, v in row.items() if v is not None},
                        )


def _plain(key: str, value: Any, path: str, number: int) -> Any:
    """Parquet columns hold a tagged object as a JSON string, or as a struct whose absent keys are null."""
    if key in ("verifier", "meta", "prompt") and isinstance(value, str) and value[:1] in "{[":
        try:
            return json.loads(value)
        except ValueError as error:
            if key == "prompt":
                return value
            raise ProblemFileError(f"{path}, row {number}: {key} is not valid JSON ({error})") from error
    return _without_nulls(value)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value]
    return value


def _open(path: str) -> pa.NativeFile:
    try:
        return open_location(path)
    except FileNotFoundError as error:
        raise ProblemFileError(f"{path}: no such file; problems.path is relative to the config's folder") from error
    except OSError as error:
        raise ProblemFileError(f"{path}: can't be read: {explain_storage(error)}") from error
