"""Checks every committed lease of a run, and takes the damaged ones out, so that they are made again.

    rounds ─► leases, beside the problems they were handed out with ─► integrity.check_lease ─► Findings(faults, totals)
                                                                         Findings ─► repair ─► RUN/damaged/NNN/round=…

A run that goes on may be checked: what is committed does not change. Repair needs the run's lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from berry.pipeline import schema
from berry.pipeline.config import run as run_config
from berry.pipeline.core.assignment.routing import steps_of
from berry.pipeline.errors import BerryError
from berry.pipeline.stages.dataset.maintenance.integrity import Checked, Fault, check_lease
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.stages.leases.partition import (
    changed_problems,
    left_out,
    searched_leases,
    stored_lease_count,
    survey_run,
)
from berry.pipeline.stages.leases.reports import forget as forget_reports
from berry.pipeline.storage.parquet import checked_read, shard_files, shards
from berry.pipeline.storage.parquet.checked_read import FaultKind
from berry.pipeline.storage.parquet.merged import without_file_marks
from berry.pipeline.storage.parquet.shard_files import ShardFile
from berry.pipeline.storage.run import claims, segments
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.live import read as read_live
from berry.pipeline.storage.run.live import write as write_live
from berry.pipeline.storage.run.weights_file import read_weights, weights_of_round, write_weights

AT_ONCE = 4


@dataclass(slots=True)
class Findings:
    """What a check found. `notes`: what is worth saying and no damage."""

    leases: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    size_bytes: int = 0
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def damaged(self) -> list[tuple[int, int]]:
        """(round, lease), each once, in order."""
        return sorted({(fault.round_index, fault.lease) for fault in self.faults})

    def add(self, checked: Checked) -> None:
        """Counts one lease in, with its faults."""
        self.leases += 1
        self.size_bytes += checked.size_bytes
        self.faults.extend(checked.faults)
        for table, rows in checked.rows.items():
            self.rows[table] = self.rows.get(table, 0) + rows


def check_run(
    run: RunDir,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    *,
    distrust: Collection[str] = (),
) -> Findings:
    """Looks at every committed lease; `progress` gets leases done and leases in all; work of engines in `distrust` is a
    fault. Raises StorageError."""
    check = partial(check_lease, run.location, distrust=distrust)
    found = Findings()
    stored: dict[str, Any] = run.config() or {}
    digests = run_config.digests_of(stored)
    total = sum(len(run.committed(r)) for r in run.rounds())
    compare = _same_problems(run, found.notes)
    for round_index in run.rounds():
        committed = run.committed(round_index)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            waiting: deque[Future[Checked]] = deque()
            for lease, problems in _handed_out(run, round_index, committed, found.notes, compare=compare):
                waiting.append(pool.submit(check, lease, round_index, configs=digests, problems=problems))
                if len(waiting) >= 2 * AT_ONCE:
                    found.add(waiting.popleft().result())
                    progress(found.leases, total)
            for future in waiting:
                found.add(future.result())
                progress(found.leases, total)
        found.faults.extend(_lost(run, round_index, committed))
        found.notes.extend(_unfinished(run, round_index))
    return found


def _same_problems(run: RunDir, notes: list[str]) -> bool:
    """Whether the run's problem files give the problems that it began with. What was edited or lost since is said, and
    is no damage of the run: what was asked stands with the trees."""
    then = run.versions().get("problems", {})
    try:
        config = stored_config(run)
        now = survey_run(config, None)
        changed = changed_problems(run, config, now.asked)
    except BerryError as error:
        notes.append(f"problems can't be read again, ids are held against each other only: {error}")
        return False
    if then.get("digest", now.digest) != now.digest:
        notes.append(
            f"the problem files hold other problems than the run was made of ({then['count']} then, {now.count} now, "
            "or other ids): ids are held against each other only"
        )
        return False
    if changed is not None:
        notes.append(f"since the run began its problem files have changed {changed.explain()}; it has what was asked")
    return True


def _lost(run: RunDir, round_index: int, committed: set[int]) -> Iterator[Fault]:
    """The leases of a round that a run had finished whose commit is gone."""
    if not any(live.ended == "finished" for live in read_live(run)):
        return
    config = stored_config(run)
    if config.annotation is not None:
        return
    known = {lease for table in schema.TABLES for lease in _leases_of(run, table, round_index)}
    if not config.engines and steps_of(config) == 1:  # else their numbers follow from outcomes
        known |= set(range(stored_lease_count(run.versions().get("problems", {}), config.storage.lease_problems)))
    for lease in sorted(known - committed):
        detail = "the run had finished, and the lease's commit is not there"
        yield Fault(round_index, lease, FaultKind.MISSING, schema.COMMIT, detail)


def _leases_of(run: RunDir, table: str, round_index: int) -> set[int]:
    return {lease for file in shard_files.present(run.location, table, round_index) for lease in file.leases}


def _handed_out(
    run: RunDir, round_index: int, committed: set[int], notes: list[str], *, compare: bool
) -> Iterator[tuple[int, list[str] | None]]:
    """Committed leases, with the problem ids that they should hold where the run's problem files are those that it was
    made of (`compare`)."""
    left = set(committed)
    if not compare:
        for number in sorted(left):
            yield number, None
        return
    try:
        config = stored_config(run)
        for lease in searched_leases(run, config, round_index, skip=(), left_out=left_out(run)):
            if lease.number in left:
                left.discard(lease.number)
                yield lease.number, [problem.id for problem in lease.problems]
            if not left:
                return
    except BerryError as error:
        notes.append(
            f"round {round_index}: problems can't be read again, ids are held against each other only: {error}"
        )
        for number in sorted(left):
            yield number, None
        return
    for number in sorted(left):  # beyond the last problem
        yield number, []


def _unfinished(run: RunDir, round_index: int) -> Iterator[str]:
    files = set(shard_files.committed_files(run.location, round_index))
    done = {lease for file in files for lease in file.leases}
    for table in schema.TABLES:
        loose = set(shard_files.present(run.location, table, round_index)) - files
        if loose:
            why = "merged" if table == schema.COMMIT else "uncommitted or merged"
            removes = "`berry run` and `berry compact` remove them"
            yield f"round {round_index}: {len(loose)} {why} file(s) in {table}/; {removes}"
    for lease in sorted(run.journalled(round_index) - done):
        place = segments.folder(lease, round_index)
        lost = segments.damaged(run.location, place)
        if lost:
            yield (
                f"round {round_index}: the journal of lease {lease} has {lost} segment(s) that can't be "
                "read; what they held is generated again"
            )


def repair(run: RunDir, found: Findings) -> str | None:
    """Takes the files of damaged leases out, so that the next `berry run` makes them anew. Returns the folder they are
    in now, None if nothing was damaged. Needs the run's lock. Raises StorageError."""
    damaged = found.damaged
    if not damaged:
        return None
    location = run.location
    number = 1 + max((int(n) for n in location.folders("damaged") if n.isdigit()), default=-1)
    folder = f"damaged/{number:03d}"
    for round_index in sorted({round_index for round_index, _ in damaged}):
        leases = {lease for at, lease in damaged if at == round_index}
        forget_reports(location, round_index, leases)  # before they are made again, and say something else
        _take_out(run, round_index, leases, folder)
    for round_index, lease in damaged:
        claims.forget(location, round_index=round_index, lease=lease)
    first = damaged[0][0]
    now = read_weights(location)
    if now.round_index > first:  # the lease must be made with the weights that its round had
        before = weights_of_round(run, first)
        if before is not None:
            write_weights(location, before)
    for live in read_live(run):
        if live.ended == "finished":  # it has leases to make again
            write_live(run, replace(live, ended="stopped"))
    return folder


def _take_out(run: RunDir, round_index: int, damaged: set[int], folder: str) -> None:
    """Moves the files that hold damaged leases. Whole leases of a merged file get files of their own first: the merged
    one counts until it is gone."""
    location = run.location
    for file in shard_files.committed_files(location, round_index):
        if damaged.isdisjoint(file.leases):
            continue
        for lease in file.leases if file.is_merged else ():
            if lease not in damaged:
                stored = checked_read.read_shards(location, lease, round_index)
                marks = {table: without_file_marks(shard.marks) for table, shard in stored.items()}
                tables = checked_read.as_today(stored, lease)
                alone = ShardFile(lease, lease)
                shards.write_tables(location, alone, round_index, tables, marks, level=shards.COMPRESSION_LEVEL)
        moved = {file, *(ShardFile(lease, lease) for lease in damaged & set(file.leases))}
        moved |= {replace(file, written_again=times) for times in range(file.written_again)}
        for table in reversed(schema.TABLES):  # the commit first: without it a lease is open again
            for one in sorted(moved, reverse=True):
                name = one.name(table, round_index)
                location.move(name, f"{folder}/{name}")
