"""A run's trees as files that trainers read.

    StoredTree ─► records_of ─► layouts ─► DIR/train.parquet, DIR/heldout.parquet ─► DIR/manifest.json, last

Train and held-out rows are of different problems, split by problem id as reward training splits them. Files are written
aside and renamed; one lease's trees are in memory at a time.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from berry.pipeline.errors import InputError, StorageError
from berry.pipeline.stages.dataset.reading import count, read_trees, stored_config
from berry.pipeline.stages.export.formats import LAYOUTS, TRAINERS, ExportFormat
from berry.pipeline.stages.export.records import RECORDS, Context, Filters
from berry.pipeline.stages.training.splits import part
from berry.pipeline.storage.dataset import RunDir

MANIFEST = "manifest.json"
BATCH_ROWS = 2000
FileKind = Literal["parquet", "jsonl"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to export. `heldout_share` 0: no held-out file."""

    format: str
    trainer: str = "trl"
    kind: FileKind = "parquet"
    filters: Filters = field(default_factory=Filters)
    heldout_share: float = 0.1
    split_seed: int = 0
    rounds: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    files: dict[str, str]  # split -> path
    rows: dict[str, int]
    problems: dict[str, int]
    synthetic: bool


def export(
    run: RunDir,
    wanted: Wanted,
    folder: str,
    *,
    replace: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Exported:
    """Writes the files. Raises InputError for a layout that doesn't exist, a folder in use, or nothing to write."""
    layout = layout_of(wanted)
    target = Path(folder)
    _check_target(target, replace=replace)
    config = stored_config(run)
    files: dict[str, _Writer] = {}
    rows: Counter[str] = Counter()
    problems: Counter[str] = Counter()
    total, synthetic, without_problem = count(run, wanted.rounds), False, 0
    try:
        target.mkdir(parents=True, exist_ok=True)
        for number, stored in enumerate(read_trees(run, rounds=wanted.rounds), start=1):
            progress(number, max(total, number))
            synthetic = synthetic or stored.synthetic
            without_problem += stored.problem is None
            split = part(stored.family, heldout_share=wanted.heldout_share, seed=wanted.split_seed)
            context = Context(config.rollout.step, config.rollout.thinking, wanted.filters, split)
            made = _some(RECORDS[wanted.format](stored, context), wanted.filters.per_problem, stored.problem_id)
            if not made:
                continue
            writer = files.get(split)
            if writer is None:  # made once: opening a file again would empty it
                writer = files[split] = _Writer(target / f"{split}.{wanted.kind}", wanted.kind, layout)
            for record in made:
                writer.add(layout.row(record))
            rows[split] += len(made)
            problems[split] += 1
        if not rows:
            raise InputError(_nothing(run, wanted, without_problem))
        for writer in files.values():
            writer.finish()
    except OSError as error:
        raise StorageError(f"{folder}: can't be written: {error.strerror or error}") from error
    finally:
        for writer in files.values():
            writer.abandon()
    done = Exported({s: str(w.path) for s, w in files.items()}, dict(rows), dict(problems), synthetic)
    manifest = {
        "run": run.location.show(),
        "name": config.name,
        "wanted": asdict(wanted),
        "rows": done.rows,
        "problems": done.problems,
        "columns": layout.schema.names,
        "synthetic": synthetic,
    }
    (target / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return done


def layout_of(wanted: Wanted) -> ExportFormat:
    if wanted.format not in RECORDS:
        raise InputError(f"--format must be one of {', '.join(RECORDS)}, got {wanted.format!r}")
    if wanted.trainer not in TRAINERS:
        raise InputError(f"--for must be one of {', '.join(TRAINERS)}, got {wanted.trainer!r}")
    layout = LAYOUTS.get((wanted.format, wanted.trainer))
    if layout is None:
        able = ", ".join(trainer for name, trainer in LAYOUTS if name == wanted.format)
        raise InputError(f"{wanted.trainer} has no trainer that reads {wanted.format}; these have: {able}")
    return layout


def _check_target(target: Path, *, replace: bool) -> None:
    if target.exists() and not target.is_dir():
        raise InputError(f"-o {target}: is a file; give a folder")
    inside = [p.name for p in target.iterdir()] if target.exists() else []
    if not inside:
        return
    if MANIFEST not in inside:
        raise InputError(f"-o {target}: holds other files; give a new folder")
    if not replace:
        raise InputError(f"-o {target}: holds an export already; give another folder, or --replace")
    (target / MANIFEST).unlink()
    for name in ("train", "heldout"):
        for kind in ("parquet", "jsonl"):
            (target / f"{name}.{kind}").unlink(missing_ok=True)


def _some(records: Any, limit: int | None, problem_id: str) -> list[Any]:
    made = list(records)
    if limit is None or len(made) <= limit:
        return made
    chosen = random.Random(problem_id).sample(range(len(made)), limit)
    return [made[i] for i in sorted(chosen)]


def _nothing(run: RunDir, wanted: Wanted, without_problem: int) -> str:
    where = f"{run.location.show()}: nothing to export as {wanted.format}"
    if wanted.format == "rl" and without_problem:
        return f"{where}: the run's problem files can't be read any more; restore them where run.yaml says they are"
    why = {
        "sft": "no trajectory was kept",
        "dpo": "no problem has both a passing and a failing answer",
        "pairs": "no two siblings differ in value by as much as the filters ask for: lower them, or grow trees that "
        "branch (policy best_of_n has siblings at the first step alone)",
        "orm": "no trajectory has a verdict",
        "prm": "no step has a label that passes the filters: lower min-visits and min-confidence, make labels with "
        "`berry annotate RUN`, or ask for what there is by its name (--labels survivors, --labels pooled; those are "
        "biased)",
        "rl": "no problem was searched",
    }
    return f"{where}: {why[wanted.format]} (`berry inspect` shows what there is)"


class _Writer:
    """One file, aside until it is whole."""

    def __init__(self, path: Path, kind: FileKind, layout: ExportFormat) -> None:
        self.path = path
        self._aside = path.with_name(f".{path.name}.writing")
        self._layout = layout
        self._rows: list[dict[str, Any]] = []
        self._parquet = pq.ParquetWriter(self._aside, layout.schema, compression="zstd") if kind == "parquet" else None
        self._text = self._aside.open("w", encoding="utf-8") if kind == "jsonl" else None

    def add(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) >= BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        if self._parquet is not None and self._rows:
            self._parquet.write_table(pa.Table.from_pylist(self._rows, schema=self._layout.schema))
        if self._text is not None:
            self._text.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in self._rows)
        self._rows = []

    def finish(self) -> None:
        self._flush()
        self._close()
        self._aside.replace(self.path)

    def abandon(self) -> None:
        """After `finish` it does nothing."""
        self._close()
        self._aside.unlink(missing_ok=True)

    def _close(self) -> None:
        for stream in (self._parquet, self._text):
            if stream is not None:
                stream.close()


def formats() -> Sequence[str]:
    return tuple(RECORDS)
