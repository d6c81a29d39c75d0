"""Problems in: files and generators -> validated `Problem` objects, streamed.

    for problem in iter_problems(sources): ...         read_problems("problems.jsonl") -> list

Nothing is held but the current row, so ten million problems cost no memory; `survey` walks them once before a run, so
that a bad row is found, with its file and line, before any GPU or minute is spent.
"""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from pipeline.config.loading import explain
from pipeline.config.problems import (
    ArithmeticProblems,
    FileProblems,
    ProblemSource,
    ReasoningGymProblems,
    SyntheticProblems,
)
from pipeline.errors import ProblemFileError
from pipeline.records import Problem
from pipeline.storage.files import open_location
from pipeline.storage.remote import explain as explain_storage


@dataclass(frozen=True, slots=True)
class Survey:
    """What a walk over all problems found."""

    count: int
    by_verifier: dict[str, int]
    digest: str  # blake2 of all ids, in order
    variants: int = 0  # problems made from others


def survey(sources: Sequence[ProblemSource]) -> Survey:
    """Validates every problem and counts them. Raises ProblemFileError at the first that can't be used."""
    digest = hashlib.blake2b(digest_size=16)
    hashes = array("Q")
    kinds: dict[str, int] = {}
    variants = 0
    for problem in iter_problems(sources):
        reason = problem.verifier.precheck()
        if reason is not None:
            raise ProblemFileError(
                f"problem {problem.id!r}: can't be checked: {reason}; correct it or leave the problem out"
            )
        hashed = hashlib.blake2b(problem.id.encode(), digest_size=8).digest()
        digest.update(hashed)
        hashes.append(int.from_bytes(hashed, "little"))
        kinds[problem.verifier.type] = kinds.get(problem.verifier.type, 0) + 1
        variants += problem.variant_of is not None
    if not hashes:
        raise ProblemFileError("problems: the sources hold no problem; give at least one")
    _refuse_duplicates(hashes, sources)
    return Survey(len(hashes), kinds, digest.hexdigest(), variants)


def _refuse_duplicates(hashes: array[int], sources: Sequence[ProblemSource]) -> None:
    """Sorting 8-byte hashes finds repeated ids: 80 MB, and as much again while they are sorted, of ten million."""
    ordered = np.sort(np.frombuffer(hashes, dtype=np.uint64))
    repeated = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if not repeated:
        return
    seen: set[str] = set()
    for problem in iter_problems(sources):
        if int.from_bytes(hashlib.blake2b(problem.id.encode(), digest_size=8).digest(), "little") in repeated:
            if problem.id in seen:
                raise ProblemFileError(
                    f"problem id {problem.id!r} occurs twice: ids must differ over all sources of a run"
                )
            seen.add(problem.id)


def iter_problems(sources: Iterable[ProblemSource]) -> Iterator[Problem]:
    for source in sources:
        match source:
            case FileProblems():
                yield from _take(iter_file(source.path), source.limit)
            case ReasoningGymProblems():
                yield from reasoning_gym_problems(source)
            case ArithmeticProblems():
                from pipeline.stages import arithmetic

                yield from arithmetic.iter_draw(source.count, seed=source.seed, operands=source.operands)
            case SyntheticProblems():
                from pipeline.stages.synthetic_problems import iter_synthetic

                yield from iter_synthetic(
                    source.count,
                    source.seed,
                    steps=source.steps,
                    start=source.start,
                    largest=source.largest,
                    check=source.check,
                )


def read_problems(path: str) -> list[Problem]:
    """All problems of one JSONL or Parquet file. Raises ProblemFileError naming file, line and field."""
    return list(iter_file(path))


def iter_file(path: str) -> Iterator[Problem]:
    """Problems of one file, a local path or an object-store URL; Parquet by its suffix, otherwise JSON lines."""
    rows = parquet_rows(path) if path.endswith(".parquet") else json_rows(path)
    try:
        for where, row in rows:
            yield parse_problem(row, where)
    except OSError as error:
        raise ProblemFileError(f"{path}: can't be read: {explain_storage(error)}") from error


def parse_problem(row: object, where: str) -> Problem:
    if not isinstance(row, dict):
        raise ProblemFileError(f"{where}: must be an object with id, prompt and verifier, got {type(row).__name__}")
    try:
        return Problem.model_validate(row)
    except ValidationError as error:
        raise ProblemFileError("\n".join(f"{where}: {explain(d, Problem)}" for d in error.errors())) from error


def json_rows(path: str) -> Iterator[tuple[str, object]]:
    """(where, row) of a JSON-lines file. Raises ProblemFileError for a line that isn't JSON or not UTF-8."""
    with _open(path) as stream:
        for number, line in enumerate(io.BufferedReader(stream, 1 << 20), start=1):  # pyright: ignore[reportArgumentType]
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                yield where, json.loads(line)
            except UnicodeDecodeError as error:
                raise ProblemFileError(f"{where}: is not UTF-8 text; save the file as UTF-8") from error
            except ValueError as error:
                raise ProblemFileError(f"{where}: is not valid JSON ({error}); write one object a line") from error


def parquet_rows(path: str) -> Iterator[tuple[str, object]]:
    with _open(path) as stream:
        try:
            file = pq.ParquetFile(stream)
        except pa.ArrowInvalid as error:
            raise ProblemFileError(f"{path}: is not a Parquet file ({error})") from error
        number = 0
        for batch in file.iter_batches(1024):
            for row in batch.to_pylist():
                number += 1
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


def _take(problems: Iterator[Problem], limit: int | None) -> Iterator[Problem]:
    for index, problem in enumerate(problems):
        if limit is not None and index >= limit:
            return
        yield problem


def reasoning_gym_problems(source: ReasoningGymProblems) -> Iterator[Problem]:
    """Tasks drawn afresh. One whose answer is a number is checked as mathematics, any other by the dataset's own
    scorer. Raises ProblemFileError for a dataset or parameter that reasoning-gym does not have."""
    dataset = reasoning_gym_dataset(source)
    for index in range(source.count):
        yield reasoning_gym_problem(source, dataset, index)


def reasoning_gym_dataset(source: ReasoningGymProblems) -> Any:
    """The package's own dataset object, from which any task can be drawn by its index."""
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    if source.dataset not in DATASETS:
        near = difflib.get_close_matches(source.dataset, DATASETS, n=3)
        raise ProblemFileError(
            f"problems: reasoning-gym has no dataset {source.dataset!r}; near it: {', '.join(near) or 'none'}"
        )
    try:
        return reasoning_gym.create_dataset(source.dataset, seed=source.seed, size=source.count, **source.params)
    except (AssertionError, TypeError, ValueError) as error:
        raise ProblemFileError(f"problems: reasoning-gym's {source.dataset} refuses its params: {error}") from error


def reasoning_gym_problem(source: ReasoningGymProblems, dataset: Any, index: int) -> Problem:
    entry = dataset[index]
    answer = str(entry["answer"])
    spec: dict[str, Any] = {"type": "math", "answer": answer}
    if not _is_number(answer):
        spec = {"type": "reasoning_gym", "dataset": source.dataset, "entry": _jsonable(entry)}
    return parse_problem(
        {
            "id": f"{source.dataset}-{source.seed}-{index}",
            "prompt": entry["question"] + source.suffix,
            "verifier": spec,
            "source": f"reasoning-gym/{source.dataset}",
        },
        f"reasoning-gym {source.dataset}, task {index}",
    )


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _jsonable(entry: object) -> Any:
    return json.loads(json.dumps(entry, default=str))
