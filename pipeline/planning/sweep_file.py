"""Stores a sweep's results: one Parquet file, a row a run, with the configuration that all of them share.

OUT/sweep.parquet ◄─► [Point], configuration          OUT/runs/…: the runs themselves
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from berry.pipeline.config import run as run_config
from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import ConfigError
from berry.pipeline.planning.sweeps import Expected, Point
from berry.pipeline.storage.files import Location

NAME = "sweep.parquet"
_TYPES = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}


def _schema() -> pa.Schema:
    def typed(name: str, annotation: Any) -> pa.Field:
        return pa.field(name, _TYPES[str(annotation).split(" ")[0]])

    own = [typed(f.name, f.type) for f in fields(Point) if f.name != "expected"]
    return pa.schema([*own, *(typed(f"expected_{f.name}", f.type) for f in fields(Expected))])


SCHEMA = _schema()


def read(location: Location) -> tuple[list[Point], Mapping[str, Any]]:
    """Reads the points so far, without what the plan expected, and what they share; nothing and {} for a new sweep."""
    data = location.get(NAME)
    if data is None:
        return [], {}
    table = pq.read_table(pa.BufferReader(data))
    names = [f.name for f in fields(Point) if f.name in table.column_names]  # earlier versions had fewer
    points = [Point(**row) for row in table.select(names).to_pylist()]
    return points, json.loads((table.schema.metadata or {}).get(b"sweep", b"{}"))


def write(location: Location, points: Sequence[Point], shared: Mapping[str, Any]) -> None:
    rows = []
    for point in points:
        row = asdict(point)
        told = row.pop("expected") or {}
        rows.append(row | {f"expected_{name}": value for name, value in told.items()})
    table = pa.Table.from_pylist(rows, schema=SCHEMA).replace_schema_metadata({"sweep": json.dumps(shared)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    location.put(NAME, sink.getvalue())


def shared_of(config: RunConfig, measure_s: float) -> dict[str, Any]:
    """Takes what all points of a sweep have in common."""
    return {"config": run_config.plain(config), "measure_s": measure_s}


def refuse_another(stored: Mapping[str, Any], config: RunConfig, measure_s: float, location: str) -> None:
    """Refuses to go on where a folder holds a sweep of something else."""
    if not stored:
        return
    old, new = stored["config"], run_config.plain(config)
    changed = run_config.differences(old, config)
    changed += [f"cluster.{k}" for k in new["cluster"] if old["cluster"].get(k) != new["cluster"][k]]
    if stored["measure_s"] != measure_s:
        changed.append(f"--seconds: {stored['measure_s']:g} in the sweep, {measure_s:g} now")
    if changed:
        listed = "\n  ".join(changed)
        raise ConfigError(
            f"{location} holds a sweep of another configuration:\n  {listed}\nUse the old values, or another --out"
        )
