"""Verifies existing responses: rows in, verdict rows out, without any model.

    responses ─► (known problem?) ─► check, a bounded number at once ─► parts of `OUT.parts/` ─► OUT.parquet
                                      majority problems wait until all their responses are there ─┘

Parts are put whole or not at all, so an interrupted run goes on after the last one; the parts carry a digest of both
inputs, and a run with other inputs refuses them. `check` and `agree` are a Checker's, or those of a cluster's client.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from berry.pipeline.errors import InputError, ProblemFileError, StorageError
from berry.pipeline.records import Finish, Problem, ending
from berry.pipeline.stages.checking.question import Agreeing, Verifying
from berry.pipeline.stages.problems.files import iter_file, json_rows, parquet_rows
from berry.pipeline.storage.files import locate, open_location
from berry.pipeline.tasks import end_tasks
from berry.verifiers.base import Verdict
from berry.verifiers.checker import CheckRequest
from berry.verifiers.kinds.majority import ConsensusRequest
from berry.verifiers.specs.union import MajoritySpec

PART_ROWS = 1_000  # of a finished part
SAVE_S = 5.0  # within which a verdict is written, so that a killed verification loses no more
VERDICTS = pa.schema(
    [
        ("problem_id", pa.string()),
        ("row", pa.int64()),
        ("verdict", pa.string()),
        ("reason", pa.string()),
        ("answer", pa.string()),
        ("evidence", pa.string()),  # JSON
        ("verify_ms", pa.float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Response:
    """A response of the input file."""

    problem_id: str
    row: int  # from 0, in file order
    text: str


@dataclass(slots=True)
class Tally:
    """What has been verified so far; `resumed` rows were there before. `kinds`: by kind of verifier, rows by how they
    came out (`records.Ending`)."""

    total: int
    done: int = 0
    resumed: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    reasons: dict[tuple[str, str], int] = field(default_factory=dict)
    kinds: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, kind: str, verdict: str, reason: str) -> None:
        """Counts one verdict, by outcome, reason and the kind of verifier."""
        self.done += 1
        self.outcomes[verdict] = self.outcomes.get(verdict, 0) + 1
        self.reasons[verdict, reason] = self.reasons.get((verdict, reason), 0) + 1
        by_kind = self.kinds.setdefault(kind, {})
        came_out = ending(verdict, reason, Finish.STOP)
        by_kind[came_out] = by_kind.get(came_out, 0) + 1


def load_problems(path: str) -> dict[str, Problem]:
    """Problems by id. Raises ProblemFileError, also for an id that occurs twice."""
    problems: dict[str, Problem] = {}
    for problem in iter_file(path):
        if problem.id in problems:
            raise ProblemFileError(f"{path}: problem id {problem.id!r} occurs twice; ids must differ")
        problems[problem.id] = problem
    if not problems:
        raise ProblemFileError(f"{path}: holds no problem; give at least one")
    return problems


def iter_responses(path: str, problems: Mapping[str, Problem]) -> Iterator[Response]:
    """The rows of a responses file (JSONL or Parquet). Raises ProblemFileError naming file, line and field."""
    rows = parquet_rows(path) if path.endswith(".parquet") else json_rows(path)
    for number, (where, row) in enumerate(rows):
        if not isinstance(row, dict):
            raise ProblemFileError(f"{where}: must be an object with problem_id and response, got {row!r:.60}")
        for name in ("problem_id", "response"):
            if name not in row:
                raise ProblemFileError(f"{where}: {name} is missing; each row needs problem_id and response")
            if not isinstance(row[name], str):
                raise ProblemFileError(f"{where}: {name} must be text, got {row[name]!r:.60}")
        if row["problem_id"] not in problems:
            raise ProblemFileError(f"{where}: problem_id {row['problem_id']!r} is not among the problems")
        yield Response(row["problem_id"], number, row["response"])


def digest(*paths: str) -> str:
    """blake2 over the bytes of the input files, in order. Raises InputError for one that can't be read."""
    hashed = hashlib.blake2b(digest_size=16)
    for path in paths:
        try:
            with open_location(path) as stream:
                while block := stream.read(1 << 20):
                    hashed.update(block)
        except OSError as error:
            raise InputError(f"{path}: can't be read: {error}") from error
        hashed.update(b"\0")
    return hashed.hexdigest()


class Parts:
    """The finished rows of one output: `OUT.parts/part-N.parquet`, merged into OUT at the end."""

    def __init__(self, out: str, inputs: str) -> None:
        folder, _, self._name = out.rpartition("/")
        self._location = locate(folder or ".")
        self._folder = f"{self._name}.parts"
        self._inputs = inputs
        self._buffer: list[dict[str, object]] = []
        self._count = 0
        self.done: dict[int, tuple[str, str, str]] = {}

    def resume(self) -> int:
        """Reads what an earlier call finished; raises InputError where that was of other inputs."""
        for name in self._location.names(self._folder):
            if not name.endswith(".parquet"):
                continue
            table = self._read(name)
            if (table.schema.metadata or {}).get(b"inputs") != self._inputs.encode():
                where = self._location.show(self._folder)
                raise InputError(f"{where}: is of other problems or responses; remove it, or give another -o")
            for row in table.select(["row", "problem_id", "verdict", "reason"]).to_pylist():
                self.done[row["row"]] = (row["problem_id"], row["verdict"], row["reason"])
            self._count += 1
        return len(self.done)

    def add(self, response: Response, verdict: Verdict) -> None:
        """Takes one verdict; every PART_ROWS of them are written as a part."""
        self._buffer.append(
            {
                "problem_id": response.problem_id,
                "row": response.row,
                "verdict": str(verdict.outcome),
                "reason": str(verdict.reason),
                "answer": verdict.answer,
                "evidence": json.dumps(dict(verdict.evidence), ensure_ascii=False, default=repr),
                "verify_ms": verdict.verify_ms,
            }
        )
        if len(self._buffer) >= PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Writes what is not written yet as the next part."""
        if not self._buffer:
            return
        table = pa.Table.from_pylist(self._buffer, schema=VERDICTS).replace_schema_metadata({"inputs": self._inputs})
        self._location.put(f"{self._folder}/part-{self._count:05d}.parquet", _bytes(table))
        self._count += 1
        self._buffer.clear()

    def merge(self) -> None:
        """Writes OUT, rows in the order of the responses, and removes the parts."""
        self.flush()
        names = [n for n in self._location.names(self._folder) if n.endswith(".parquet")]
        tables = [self._read(name) for name in names] or [VERDICTS.empty_table()]
        table = pa.concat_tables([t.replace_schema_metadata(None) for t in tables]).sort_by("row")
        self._location.put(self._name, _bytes(table))
        self._location.remove_folder(self._folder)

    def _read(self, name: str) -> pa.Table:
        data = self._location.get(f"{self._folder}/{name}")
        assert data is not None  # it was just listed
        return pq.read_table(pa.BufferReader(data))


def _bytes(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


async def verify_all(
    problems: Mapping[str, Problem],
    responses: Iterable[Response],
    parts: Parts,
    tally: Tally,
    check: Verifying,
    agree: Agreeing,
    *,
    at_once: int,
    progress: Callable[[Tally], None] = lambda _: None,
) -> None:
    """Checks every response that `parts` does not have yet, `at_once` at a time; adds verdicts to both, which `parts`
    writes every SAVE_S seconds. Raises StorageError where it can't."""
    for problem_id, outcome, reason in parts.done.values():
        tally.add(problems[problem_id].verifier.type, outcome, reason)
    tally.resumed = tally.done
    held: dict[str, list[Response]] = {}

    def finish(response: Response, verdict: Verdict) -> None:
        parts.add(response, verdict)
        tally.add(problems[response.problem_id].verifier.type, str(verdict.outcome), str(verdict.reason))
        progress(tally)

    async def one(response: Response) -> None:
        finish(response, await check(_request(problems[response.problem_id], response)))

    running: set[asyncio.Task[None]] = set()
    saving = asyncio.create_task(_save(parts))
    try:
        for response in responses:
            if isinstance(problems[response.problem_id].verifier, MajoritySpec):
                held.setdefault(response.problem_id, []).append(response)
                continue
            if response.row in parts.done:
                continue
            running.add(asyncio.create_task(one(response)))
            if len(running) >= at_once:
                ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in ended:
                    task.result()
        for task in running:
            await task
        for problem_id, together in held.items():
            spec = problems[problem_id].verifier
            assert isinstance(spec, MajoritySpec)
            verdicts = await agree(ConsensusRequest(problem_id, spec, {str(r.row): r.text for r in together}))
            for response in together:
                if response.row not in parts.done:
                    finish(response, verdicts[str(response.row)])
    finally:
        await end_tasks([saving, *running])
        parts.flush()


async def _save(parts: Parts) -> None:
    """Writes what is there every SAVE_S seconds, until cancelled; an error waits for the next writing."""
    while True:
        await asyncio.sleep(SAVE_S)
        with suppress(StorageError):
            parts.flush()


def _request(problem: Problem, response: Response) -> CheckRequest:
    return CheckRequest(problem.id, problem.verifier, response.text, problem.text)
