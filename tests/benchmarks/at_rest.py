"""How many bytes a run takes at rest, against the same trajectories as flat JSON lines under zstd.

    python -P tests/benchmarks/at_rest.py                       100 synthetic problems of 64 leaves
    python -P tests/benchmarks/at_rest.py runs/demo             a run that is there, whatever schema it was stored in
    python -P tests/benchmarks/at_rest.py --texts gsm8k.jsonl   a run whose responses are a file's texts: its fields
                                                                `question` and `answer`, one response a problem

The run is merged into few files first, in a copy (`berry compact`). Numerator: bytes of nodes, trajectories and kept,
less the pages of log-probabilities, which the flat form lacks. Denominator: one JSON object a trajectory (problem id,
trajectory id, response, token ids, answer, verdict, reason, kept, drop), all in one file, zstd -3. Its ids are opaque
ones of 16 hex digits; the second ratio has the run's own, which follow from their place and take next to nothing.

Below stand bytes a token and a row: what `berry plan` reckons with (planning/totals.py). Log-probabilities of `--texts`
are drawn at random, since the bits of float32 that a model gives hardly repeat either.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from berry.pipeline import schema
from berry.pipeline.cli.loading import load_run
from berry.pipeline.cli.progress import PlainDisplay
from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.core import seeds
from berry.pipeline.core.events import Completion
from berry.pipeline.engines import models
from berry.pipeline.engines.base import Counters, EngineInfo, Request, Sample
from berry.pipeline.engines.text.tokens import Tokens
from berry.pipeline.records import Finish, Message
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.driver.run import run as drive
from berry.pipeline.stages.dataset.maintenance.compact import compact
from berry.pipeline.stages.dataset.reading import read_trees
from berry.pipeline.stages.dataset.text_views import connect
from berry.pipeline.stages.leases.partition import iter_leases
from berry.pipeline.stages.problems.sources import survey
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.run.directory import RunDir, open_run, prepare
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.checker import CheckRequest

FLAT_LEVEL = 3
SYNTHETIC: dict[str, Any] = {
    "seed": 1,
    "problems": [{"type": "synthetic", "count": 100, "seed": 1}],
    "engine": {"type": "synthetic", "tokens_per_s": 1_000_000, "max_num_seqs": 256},
    "rollout": {"policy": {"type": "fixed", "branching": [4, 4, 4]}},
}


def make(folder: Path) -> RunDir:
    config = folder / "at-rest.yaml"
    config.write_text(yaml.safe_dump(SYNTHETIC))
    drive(load_run(str(config), []), Launch(run_dir=str(folder / "run"), local=True), PlainDisplay())
    return open_run(str(folder / "run"))


class Reciter:
    """An engine that answers each question with its text of the file; see `engines.base.Engine`."""

    def __init__(self, tokens: Tokens, model: str, rows: Sequence[dict[str, str]]) -> None:
        self._tokens = tokens
        asked = [tuple(tokens.encode([{"role": "user", "content": row["question"]}])) for row in rows]
        self._texts = {prompt: row["answer"] for prompt, row in zip(asked, rows, strict=True)}
        self.info = EngineInfo("reciter-0", model, 4096, 256, 16, template_hash=tokens.template_hash)

    async def start(self) -> None: ...
    async def close(self) -> None: ...
    async def cancel(self, request_id: str) -> None: ...

    def counters(self) -> Counters:
        return Counters()

    def encode(self, messages: Sequence[Message]) -> list[int]:
        return self._tokens.encode(messages)

    def encode_text(self, text: str) -> list[int]:
        return self._tokens.encode_text(text)

    def encode_result(self, result: str, *, ended_by: int | None = None) -> list[int]:
        return self._tokens.encode_result(result, ended_by=ended_by)

    def encode_turn(self, role: str, content: str, last: int | None) -> list[int]:
        return self._tokens.encode_turn(role, content, last)

    def decode(self, token_ids: Sequence[int]) -> str:
        return self._tokens.decode(token_ids)

    async def generate(self, request: Request) -> AsyncIterator[Sample]:
        text = self._texts[tuple(request.prompt_ids)]
        ids = [*self._tokens.tokenizer.encode(text, add_special_tokens=False), self._tokens.tokenizer.eos_token_id]
        chance = random.Random(request.seed)
        logprobs = tuple(-chance.expovariate(3.0) for _ in ids)
        yield Sample(0, Completion(tuple(ids), text, Finish.STOP, logprobs, engine_id="reciter-0"))


def recite(folder: Path, texts: Path, model: str) -> RunDir:
    """A run of as many problems as the file has lines, every response of which is kept."""
    rows = [json.loads(line) for line in texts.read_text().splitlines()]
    problems = [
        {"id": f"p{n}", "prompt": row["question"], "verifier": {"type": "math", "answer": "0"}}
        for n, row in enumerate(rows)
    ]
    (folder / "problems.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    raw = {
        "name": "texts",
        "problems": [{"type": "file", "path": str(folder / "problems.jsonl")}],
        "engine": {"type": "vllm", "model": model, "max_model_len": 4096},
        "rollout": {
            "policy": {"type": "best_of_n", "n": 1},
            "step": {"type": "delimiter", "delimiters": ["\n"]},
            "sampling": {"max_tokens": 2048},
        },
    }
    config = validate(raw, RunConfig, where="benchmark")
    found = survey(config.problems)
    run, _ = prepare(str(folder / "run"), config, {"problems": {"count": found.count, "digest": found.digest}})

    async def passes(_: CheckRequest) -> Verdict:
        return verdict(Reason.CORRECT, answer="0")

    async def work() -> None:
        engine = Reciter(Tokens(models.resolve(model)), model, rows)
        worker = LeaseWorker(config, run.location, engine, passes, "benchmark")
        for lease in iter_leases(config.problems, size=64, skip=()):
            await worker.run(lease)
        await worker.close()

    asyncio.run(work())
    return run


OF_TOKENS = {
    "nodes": ("token_ids", "text", "logprobs"),
    "kept": ("token_ids", "response", "logprobs"),
    "trajectories": (),
}


def print_rates(run: RunDir, by_table: dict[str, int], columns: Counter[str]) -> None:
    """Bytes a token of the columns that have one entry, or a text, a token; bytes a row of all others."""
    for table, names in OF_TOKENS.items():
        rows, tokens = connect(run).execute(_COUNTS[table]).fetchall()[0]
        if not rows:
            print(f"{table:<13} no rows")
            continue
        of_tokens = {name: columns[f"{table}.{name}"] for name in names}
        told = "  ".join(f"{name} {size / tokens:.2f}" for name, size in of_tokens.items())
        others = (by_table[table] - sum(of_tokens.values())) / rows
        print(f"{table:<13} {rows:>9,} rows  {tokens:>11,} tokens   bytes a token: {told or '-'}   a row: {others:.0f}")


_COUNTS = {
    "nodes": "select count(*), sum(len(token_ids)) from nodes",
    "kept": "select count(*), sum(len(token_ids)) from kept",
    "trajectories": "select count(*), sum(n_tokens) from trajectories",
}


def flat_bytes(run: RunDir, *, opaque: bool) -> tuple[int, int, int]:
    """Trajectories, bytes of their JSON lines, and of these under zstd. `opaque`: ids are 16 hex digits that nothing
    follows from, as they were until schema version 5 and as a pipeline without trees has them."""
    lines: list[bytes] = []
    for tree in read_trees(run):
        for row in tree.trajectories:
            flat = {
                "problem_id": row["problem_id"],
                "trajectory_id": seeds.digest(row["trajectory_id"]).hex() if opaque else row["trajectory_id"],
                "response": row["response"],
                "token_ids": tree.tree.response_ids(row["leaf"]) if row["leaf"] else [],
                "answer": row["answer"],
                "verdict": row["verdict"],
                "reason": row["verdict_reason"],
                "kept": row["kept"],
                "drop": row["drop_reason"],
            }
            lines.append(json.dumps(flat).encode() + b"\n")
    data = b"".join(lines)
    packed = pa.Codec("zstd", compression_level=FLAT_LEVEL).compress(data, asbytes=True)
    return len(lines), len(data), len(packed)


def stored_bytes(run: RunDir) -> tuple[dict[str, int], int, Counter[str]]:
    """Bytes by table, those of log-probabilities, and the bytes of each column with the footers as one."""
    by_table: dict[str, int] = {}
    columns: Counter[str] = Counter()
    logprobs = 0
    for table in schema.TABLES:
        for path in Path(run.location.root).glob(f"round=*/{table}/*.parquet"):
            size = path.stat().st_size
            by_table[table] = by_table.get(table, 0) + size
            metadata = pq.read_metadata(path)
            paid = 0
            for group in range(metadata.num_row_groups):
                for at in range(metadata.num_columns):
                    column = metadata.row_group(group).column(at)
                    name = column.path_in_schema.partition(".")[0]
                    paid += column.total_compressed_size
                    columns[f"{table}.{name}"] += column.total_compressed_size
                    logprobs += column.total_compressed_size if name == "logprobs" else 0
            columns[f"{table} footers"] += size - paid
    return by_table, logprobs, columns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", help="a run directory; a synthetic run is made without one")
    parser.add_argument("--texts", type=Path, help="JSON lines with `question` and `answer`, in place of a run")
    parser.add_argument("--model", default="smollm2-135m", help="whose tokenizer --texts go through")
    parser.add_argument("--columns", type=int, default=12, help="how many of the largest columns to list")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.texts is not None:
            run = recite(folder, args.texts, args.model)
        elif args.run is None:
            run = make(folder)
        else:
            shutil.copytree(args.run, folder / "run")
            run = open_run(str(folder / "run"))
        compact(run)
        trajectories, plain, flat = flat_bytes(run, opaque=True)
        _, _, derived = flat_bytes(run, opaque=False)
        by_table, logprobs, columns = stored_bytes(run)
        print_rates(run, by_table, columns)
    stored = sum(by_table.values()) - logprobs
    print(f"trajectories                      {trajectories:>12,}")
    print(f"flat JSON lines, bytes            {plain:>12,}")
    print(f"flat under zstd -{FLAT_LEVEL}, bytes         {flat:>12,}")
    for table, size in by_table.items():
        print(f"{table:<16}           bytes {size:>16,}")
    print(f"of these log-probabilities        {logprobs:>12,}")
    print(f"at rest over flat                 {stored / flat:>12.2f}")
    print(f"  with this run's own ids there   {stored / derived:>12.2f}")
    for column, size in columns.most_common(args.columns):
        print(f"  {column:<31} {size:>12,}")


if __name__ == "__main__":
    main()
