"""How many bytes a run takes at rest, against the same trajectories as flat JSON lines under zstd.

    python -P tests/benchmarks/at_rest.py                       100 synthetic problems of 64 leaves
    python -P tests/benchmarks/at_rest.py runs/demo             a run that is there, whatever schema it was stored in

The run is merged into few files first, in a copy (`berry compact`). Numerator: bytes of nodes, trajectories and kept,
less the pages of log-probabilities, which the flat form lacks. Denominator: one JSON object a trajectory (problem id,
trajectory id, response, token ids, answer, verdict, reason, kept, drop), all in one file, zstd -3. Its ids are opaque
ones of 16 hex digits; the second ratio has the run's own, which follow from their place and take next to nothing.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from berry.pipeline import schema
from berry.pipeline.cli.loading import load_run
from berry.pipeline.cli.progress import PlainDisplay
from berry.pipeline.core import seeds
from berry.pipeline.runtime.driver.outcome import Launch
from berry.pipeline.runtime.driver.run import run as drive
from berry.pipeline.stages.dataset.compact import compact
from berry.pipeline.stages.dataset.reading import read_trees
from berry.pipeline.storage.run.directory import RunDir, open_run

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
    parser.add_argument("--columns", type=int, default=12, help="how many of the largest columns to list")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.run is None:
            run = make(folder)
        else:
            shutil.copytree(args.run, folder / "run")
            run = open_run(str(folder / "run"))
        compact(run)
        trajectories, plain, flat = flat_bytes(run, opaque=True)
        _, _, derived = flat_bytes(run, opaque=False)
        by_table, logprobs, columns = stored_bytes(run)
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
