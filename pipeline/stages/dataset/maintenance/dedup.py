"""Makes a revision of a run without near-duplicates: the same trees, fewer of their trajectories kept.

    runs/NAME ─► near_duplicates ─► ids by lease ─► runs/NAME/revisions/AS: kept without them, dropped as `duplicate`

What rules and verifiers decided stands. A revision that was interrupted is gone on with: the search is made anew, what
is committed stays, since the same run has the same duplicates.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from berry.pipeline import schema
from berry.pipeline.records import DropReason
from berry.pipeline.stages.dataset.maintenance.near_duplicates import Likeness, SimilarResponses
from berry.pipeline.storage.parquet import checked_read, shards
from berry.pipeline.storage.parquet.merged import without_file_marks
from berry.pipeline.storage.parquet.shard_files import ShardFile
from berry.pipeline.storage.run.directory import RunDir

FOUND = "near_duplicates.parquet"  # in the revision: each duplicate beside what it is like


def dedup(
    source: RunDir,
    target: RunDir,
    likeness: Likeness,
    *,
    memory: str,
    scratch: str | None,
    progress: Callable[[int], None],
) -> int:
    """Writes every lease of `source` into `target`, with the duplicates dropped; returns how many there are. `scratch`:
    the folder for temporary files; None: this host's. `progress` is told of leases. Raises StorageError."""
    dropped = 0
    with TemporaryDirectory(prefix="berry-dedup-", dir=scratch) as folder:
        search = SimilarResponses(source, likeness, Path(folder), memory)
        found = search.find()
        at = next(found, None)
        for round_index in source.rounds():
            done = target.committed(round_index)
            for lease in sorted(source.committed(round_index)):
                ids: Collection[str] = ()
                if at is not None and at[:2] == (round_index, lease):
                    ids, at = at[2], next(found, None)
                dropped += len(ids)
                if lease not in done:
                    _write_lease(source, target, lease, round_index, frozenset(ids))
                progress(1)
        file = Path(folder, FOUND)
        search.export(file)
        target.location.put(FOUND, file.read_bytes())
    return dropped


def _write_lease(source: RunDir, target: RunDir, lease: int, round_index: int, dropped: frozenset[str]) -> None:
    stored = checked_read.read_shards(source.location, lease, round_index)
    tables = checked_read.as_today(stored, lease)
    marks = {table: without_file_marks(shard.marks) for table, shard in stored.items()}
    if dropped:
        stays = [one not in dropped for one in tables["kept"]["trajectory_id"].to_pylist()]
        tables["kept"] = tables["kept"].filter(pa.array(stays, pa.bool_()))
        tables["trajectories"] = _without(tables["trajectories"], dropped)
        report = json.loads(marks[schema.COMMIT]["report"])
        text = json.dumps(_revised(report, tables, len(dropped)))
        marks = {table: {**own, **({"report": text} if "report" in own else {})} for table, own in marks.items()}
    file = ShardFile(lease, lease)
    shards.write_tables(target.location, file, round_index, tables, marks, level=shards.COMPRESSION_LEVEL)


def _without(trajectories: pa.Table, dropped: Collection[str]) -> pa.Table:
    """With these no longer kept, as duplicates."""
    goes = [one in dropped for one in trajectories["trajectory_id"].to_pylist()]
    kept, reasons = (trajectories[name].to_pylist() for name in ("kept", "drop_reason"))
    changed = {
        "kept": [was and not now for was, now in zip(kept, goes, strict=True)],
        "drop_reason": [DropReason.DUPLICATE.value if now else was for was, now in zip(reasons, goes, strict=True)],
    }
    for name, values in changed.items():
        at = trajectories.schema.get_field_index(name)
        field = trajectories.schema.field(name)
        trajectories = trajectories.set_column(at, field, pa.array(values, field.type))
    return trajectories


def _revised(report: dict[str, Any], tables: Mapping[str, pa.Table], dropped: int) -> dict[str, Any]:
    """What the lease reports now: what was spent stays, what was kept is counted anew."""
    drops = report["drops"]
    kept = tables["kept"]
    modes = {mode: {**counts, "kept": 0} for mode, counts in report.get("modes", {}).items()}
    for mode in kept["mode"].to_pylist() if modes else ():
        modes[mode]["kept"] += 1
    extra = {k: v for k, v in report["ledger"]["extra"].items() if not k.startswith("pruned.")}
    return {
        **report,
        "kept": kept.num_rows,
        "drops": {**drops, DropReason.DUPLICATE.value: drops.get(DropReason.DUPLICATE.value, 0) + dropped},
        "ledger": {**report["ledger"], "kept": _kept_tokens(tables), "extra": extra},
        "modes": modes,
    }


def _kept_tokens(tables: Mapping[str, pa.Table]) -> int:
    """Of the segments that kept trajectories hold, each once; roots, which hold the prompt, aside."""
    nodes = tables["nodes"]
    columns = (nodes["problem_id"].to_pylist(), nodes["node"].to_pylist(), nodes["parent"].to_pylist())
    lengths = [len(ids or ()) for ids in nodes["token_ids"].to_pylist()]
    above = {(p, n): (parent, size) for p, n, parent, size in zip(*columns, lengths, strict=True)}
    held: set[tuple[str, int]] = set()
    for problem, leaf in zip(tables["kept"]["problem_id"].to_pylist(), tables["kept"]["leaf"].to_pylist(), strict=True):
        at = leaf
        while at is not None and (problem, at) not in held and above[problem, at][0] is not None:
            held.add((problem, at))
            at = above[problem, at][0]
    return sum(above[one][1] or 0 for one in held)
