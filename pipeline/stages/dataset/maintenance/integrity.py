"""Checks whether a committed lease is whole: its files against themselves, each other and the problems handed out.

    three shards ─► checked_read.read_shard ─► marks ─► ids ─► counts ─► [Fault, …]        none: the lease is whole

Everything here is arithmetic on rows; what is done about a fault is for `stages.dataset.repair`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from berry.pipeline import schema
from berry.pipeline.errors import StorageError
from berry.pipeline.records import NO_ID, DropReason
from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.parquet.checked_read import DamagedShard, FaultKind, Shard, as_today, read_shard
from berry.pipeline.storage.parquet.lease_rows import node_rows, path_of, response_of

Key = tuple[str, str]  # problem, node


@dataclass(frozen=True, slots=True)
class Fault:
    """Names one thing that is wrong. `table` is "" where several files disagree."""

    round_index: int
    lease: int
    kind: FaultKind
    table: str
    detail: str


@dataclass(slots=True)
class Checked:
    """What the check of one lease found."""

    faults: list[Fault] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    size_bytes: int = 0


def check_lease(
    location: Location,
    lease: int,
    round_index: int,
    *,
    configs: Collection[str],
    problems: Sequence[str] | None,
    distrust: Collection[str] = (),
) -> Checked:
    """Checks one committed lease.

    `configs`: the digests of the run's configuration that it may carry (`config.run.digests_of`). `problems`: ids that
    the lease should hold; None if they can't be known. `distrust`: engines whose work is a fault in itself. Faults
    beyond the third of a kind are counted, not listed. Raises StorageError only when the storage itself can't be
    read.
    """
    checked = Checked()
    faults: list[tuple[FaultKind, str, str]] = []
    read: dict[str, Shard] = {}
    for table in schema.TABLES:
        try:
            read[table] = shard = read_shard(location, table, lease, round_index)
        except DamagedShard as damage:
            faults.append((damage.kind, table, damage.detail))
            continue
        checked.rows[table] = shard.table.num_rows
        checked.size_bytes += shard.size_bytes
        if table == "nodes" and distrust:
            for engine in sorted({e for e in shard.table["engine_id"].unique().to_pylist() if e in distrust}):
                faults.append((FaultKind.DISTRUSTED, table, f"engine {engine} made some of it"))
        faults.extend((FaultKind.MARKS, table, text) for text in _marks(shard.marks, lease, round_index, configs))
    if len(read) == len(schema.TABLES):
        faults.extend(_across(read, problems))
    checked.faults = [Fault(round_index, lease, *one) for one in _shortened(faults)]
    return checked


def _shortened(faults: Sequence[tuple[FaultKind, str, str]], most: int = 3) -> Iterator[tuple[FaultKind, str, str]]:
    seen: Counter[tuple[FaultKind, str]] = Counter()
    for kind, table, detail in faults:
        seen[kind, table] += 1
        if seen[kind, table] <= most:
            yield kind, table, detail
    for (kind, table), count in seen.items():
        if count > most:
            yield kind, table, f"… and {count - most} more of this kind"


def _marks(marks: Mapping[str, str], lease: int, round_index: int, configs: Collection[str]) -> Iterator[str]:
    expected = {"lease": str(lease), "round": str(round_index)}
    for key, value in expected.items():
        if marks.get(key) != value:
            yield f"says {key} {marks.get(key)!r}, but it should be {value!r}"
    if marks.get("config") not in configs:
        yield f"says config {marks.get('config')!r}, but it should be {sorted(configs)[0]!r}"
    if marks.get("schema") not in {str(version) for version in range(1, schema.VERSION + 1)}:
        yield f"says schema {marks.get('schema')!r}, but this release reads 1 to {schema.VERSION}"


def _across(read: Mapping[str, Shard], problems: Sequence[str] | None) -> Iterator[tuple[FaultKind, str, str]]:
    commit = read[schema.COMMIT].marks
    for table in schema.TABLES:
        if table != schema.COMMIT and f'"{table}": "{read[table].digest}"' not in commit.get("digests", ""):
            yield FaultKind.CHECKSUM, table, "the file is not the one that the commit names"
    if len({shard.marks.get("schema") for shard in read.values()}) > 1:
        yield FaultKind.SCHEMA, "", "its files are of different schema versions"
        return
    tables = as_today(read, int(commit["lease"]) if commit.get("lease", "").isdigit() else 0)
    nodes = {(r["problem_id"], r["node_id"]): r for r in node_rows(tables["nodes"])}
    trajectories, kept = tables["trajectories"].to_pylist(), tables["kept"].to_pylist()
    if len(nodes) != tables["nodes"].num_rows:
        yield FaultKind.IDS, "nodes", f"{tables['nodes'].num_rows - len(nodes)} node ids are there twice"
    yield from _twice(trajectories, "trajectories")
    yield from _twice(kept, "kept")
    for detail in _problems(nodes, trajectories, problems):
        yield FaultKind.IDS, "", detail
    for key, row in nodes.items():
        for detail in _node(key, row, nodes):
            yield FaultKind.IDS, "nodes", detail
    paths: dict[str, list[Row]] = {}
    for row in trajectories:
        yield from _trajectory(row, nodes, paths)
    by_id = {row["trajectory_id"]: row for row in trajectories}
    marked = {row["trajectory_id"] for row in trajectories if row["kept"]}
    if marked != {row["trajectory_id"] for row in kept}:
        yield (
            FaultKind.COUNTS,
            "kept",
            f"{len(marked)} trajectories are marked as kept, {len(kept)} are in the file, or others",
        )
    for row in kept:
        if row["trajectory_id"] in paths:
            for detail in _kept(row, by_id[row["trajectory_id"]], paths[row["trajectory_id"]]):
                yield FaultKind.COUNTS, "kept", detail
    for detail in _report(commit, trajectories, len(kept)):
        yield FaultKind.COUNTS, "", detail


def _twice(rows: Sequence[Row], table: str) -> Iterator[tuple[FaultKind, str, str]]:
    for trajectory_id, count in Counter(row["trajectory_id"] for row in rows).items():
        if count > 1:
            yield FaultKind.IDS, table, f"trajectory {trajectory_id} is there {count} times"


def _problems(nodes: Mapping[Key, Row], trajectories: Sequence[Row], problems: Sequence[str] | None) -> Iterator[str]:
    have = {problem for problem, _ in nodes} | {row["problem_id"] for row in trajectories}
    roots = Counter(problem for (problem, _), row in nodes.items() if row["parent_id"] is None)
    for problem in sorted(p for p, _ in nodes if roots[p] != 1)[:1]:
        yield f"problem {problem} has {roots[problem]} roots"
    if problems is None:
        return
    for problem in sorted(set(problems) - have):
        yield f"problem {problem} was handed out and is not there"
    for problem in sorted(have - set(problems)):
        yield f"problem {problem} is there and was not handed out"


def _node(key: Key, row: Row, nodes: Mapping[Key, Row]) -> Iterator[str]:
    problem, node = key
    if row["parent_id"] is None:
        return
    parent = nodes.get((problem, row["parent_id"]))
    if parent is None:
        yield f"node {node} of {problem} names a parent that is not there"
    elif row["depth"] != parent["depth"] + 1:
        yield f"node {node} of {problem} has depth {row['depth']} below a parent of depth {parent['depth']}"


def _trajectory(
    row: Row, nodes: Mapping[Key, Row], paths: dict[str, list[Row]]
) -> Iterator[tuple[FaultKind, str, str]]:
    """Adds the nodes along its path to `paths`, where they are whole."""
    name = f"trajectory {row['trajectory_id']}"
    if bool(row["kept"]) == (row["drop_reason"] is not None):
        yield (
            FaultKind.COUNTS,
            "trajectories",
            f"{name} is kept {row['kept']} with the drop reason {row['drop_reason']}",
        )
    if row["leaf"] is None:
        return  # a problem without a tree
    try:
        path = path_of(row["problem_id"], str(row["leaf"]), nodes)
    except StorageError as error:
        yield FaultKind.IDS, "trajectories", f"{name}: {str(error).partition(';')[0]}"
        return
    paths[row["trajectory_id"]] = path
    tokens = sum(len(n["token_ids"]) for n in path)
    if row["n_tokens"] != tokens:
        yield FaultKind.COUNTS, "trajectories", f"{name} says {row['n_tokens']} tokens, its nodes hold {tokens}"


_A_STEP_EACH = ("step_ends", "prm_scores", *schema.STEP_COLUMNS)


def _kept(row: Row, trajectory: Row, path: Sequence[Row]) -> Iterator[str]:
    name = f"trajectory {row['trajectory_id']}"
    if (row["problem_id"], row["response"]) != (trajectory["problem_id"], response_of(trajectory, path)):
        yield f"{name} has another problem or response than in trajectories/"
    if row["leaf"] != trajectory["leaf"]:
        yield f"{name} has the leaf {row['leaf']}, in trajectories/ it is {trajectory['leaf']}"
    tokens = [token for node in path for token in node["token_ids"]]
    if row["token_ids"] != (None if NO_ID in tokens else tokens):
        yield f"{name} has other tokens than the nodes along its path"
    covered = 0
    for segment in row["segments"] or ():
        if segment["start"] != covered:
            yield f"{name} has segments with a gap or an overlap at token {covered}"
            break
        covered += segment["tokens"]
    else:
        if row["segments"] is not None and covered != len(tokens):
            yield f"{name} has segments of {covered} tokens, but {len(tokens)} token ids"
    if len({len(row[k]) for k in _A_STEP_EACH if row[k] is not None}) != 1:
        yield f"{name} has steps and labels of different number"
    if row["response"] and (row["step_ends"] or [0])[-1] != len(row["response"]):
        yield f"{name} has steps that don't end where its response does"


def _report(marks: Mapping[str, str], trajectories: Sequence[Row], kept: int) -> Iterator[str]:
    try:
        report: dict[str, Any] = json.loads(marks["report"])
        reported = {k: report[k] for k in ("solved", "trajectories", "kept", "drops")}
    except (KeyError, ValueError):
        yield "the lease's report in the commit file can't be read"
        return
    drops = Counter(row["drop_reason"] for row in trajectories if row["drop_reason"] is not None)
    own = [row for row in trajectories if row["drop_reason"] != DropReason.ANNOTATION]
    solved = {row["problem_id"] for row in own if row["verdict"] == "pass"}
    have = {"solved": len(solved), "trajectories": len(trajectories), "kept": kept, "drops": dict(drops)}
    for key, value in have.items():
        if reported[key] != value:
            yield f"the lease reported {key} {reported[key]}, the files hold {value}"
