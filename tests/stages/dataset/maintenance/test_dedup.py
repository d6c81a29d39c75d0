"""`berry dedup`: a revision without near-duplicates of any problem, the same whatever interrupted it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from berry.pipeline.core.prune.similarity import PERMUTATIONS, band_keys, band_layout, jaccard, shingles
from berry.pipeline.stages.dataset.maintenance import near_duplicates, repair
from berry.pipeline.stages.dataset.maintenance.dedup import FOUND, dedup
from berry.pipeline.stages.dataset.maintenance.near_duplicates import Database, Likeness
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.stages.leases.reports import read_reports
from berry.pipeline.storage.parquet import shard_files
from berry.pipeline.storage.parquet.lease_tables import open_lease
from berry.pipeline.storage.run.directory import RunDir, prepare
from berry.pipeline.storage.run.duckdb_views import connect

LIKENESS = Likeness(threshold=0.7, words=2, min_words=1)
ROWS = "select trajectory_id, kept, drop_reason, verdict from trajectories order by 1"


def made(source: RunDir, name: str = "deduped", likeness: Likeness = LIKENESS) -> tuple[RunDir, int]:
    target, _ = prepare(f"{source.location.url}/revisions/{name}", stored_config(source), source.versions())
    dropped = dedup(source, target, likeness, memory="500MB", scratch=None, progress=lambda _: None)
    return target, dropped


def query(run: RunDir, text: str) -> list[Any]:
    return connect(run).execute(text).fetchall()


def kept(run: RunDir) -> list[tuple[str, str]]:
    """Ids and responses, in the order of the run."""
    return [
        (row["trajectory_id"], row["response"] or "")
        for lease in sorted(run.committed(0))
        for row in open_lease(run.location, lease, 0)["kept"].read().to_pylist()
    ]


@pytest.fixture
def run(stored_run: Callable[..., RunDir]) -> RunDir:
    return stored_run(count=28)


def test_what_is_like_an_earlier_response_goes_and_nothing_else(run: RunDir) -> None:
    before, rows = kept(run), query(run, ROWS)
    target, dropped = made(run)
    left = {one for one, _ in kept(target)}
    sets = [shingles(text, LIKENESS.words) for _, text in before]
    alike = {
        before[i][0]
        for i in range(len(before))
        if any(jaccard(sets[i], sets[j]) >= LIKENESS.threshold for j in range(i))
    }
    gone = {one for one, _ in before} - left
    assert gone <= alike
    assert len(gone) == dropped
    assert len(gone) > 0.9 * len(alike) > 0
    texts = [text for one, text in before if one in left]
    assert len(texts) == len(set(texts)), "of equal ones the first alone is left"
    assert query(run, ROWS) == rows
    assert query(target, "select count(*) from trajectories where drop_reason = 'duplicate' and not kept") == [
        (dropped,)
    ]


def test_the_revision_is_whole_and_its_totals_are_those_of_its_rows(run: RunDir) -> None:
    target, dropped = made(run)
    found = repair.check_run(target)
    assert found.faults == []
    reports = list(read_reports(target.location, 0))
    assert sum(report.kept for report in reports) == len(kept(target))
    assert sum(report.drops.get("duplicate", 0) for report in reports) == dropped
    whole = sum(report.ledger.kept for report in read_reports(run.location, 0))
    assert 0 < sum(report.ledger.kept for report in reports) <= whole
    listed = duckdb.connect().execute(f"select * from '{target.location.path(FOUND)}'").fetchall()
    assert len(listed) == dropped
    assert all(similarity >= LIKENESS.threshold for *_, similarity in listed)


def test_nothing_dropped_every_row_and_report_is_as_it_was(run: RunDir) -> None:
    target, dropped = made(run, likeness=Likeness(min_words=10_000))
    assert dropped == 0
    assert query(target, ROWS) == query(run, ROWS)
    assert list(read_reports(target.location, 0)) == list(read_reports(run.location, 0))


@pytest.mark.slow
def test_an_interrupted_revision_is_gone_on_with_and_in_pieces_the_search_finds_the_same(
    run: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, _ = made(run)
    rows = query(target, ROWS)
    shard_files.remove(target.location, shard_files.ShardFile(2, 2), 0)
    monkeypatch.setattr(near_duplicates, "BATCH", 3)
    again, _ = made(run)
    assert query(again, ROWS) == rows


def test_texts_of_other_modes_are_no_candidates() -> None:
    same = band_keys(["one two three four"] * 2, words=2, threshold=0.8, of=["", ""])
    other = band_keys(["one two three four"] * 2, words=2, threshold=0.8, of=["long", "short"])
    assert (same[0] == same[1]).all()
    assert not (other[0] == other[1]).any()


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.7, 0.8, 0.95, 1.0])
def test_bands_find_pairs_at_the_threshold(threshold: float) -> None:
    bands, rows = band_layout(threshold)
    assert bands * rows <= PERMUTATIONS
    assert 1 - (1 - threshold**rows) ** bands >= 0.98


def test_more_keys_than_fit_the_memory_go_to_the_disk(tmp_path: Path) -> None:
    count, bands = 600_000, 2
    database = Database(tmp_path, "30MB", bands=bands)
    numbers = np.arange(count, dtype=np.int64)
    keys = np.stack([numbers * 2_654_435_761 % 2**61, np.arange(count) // 2 * 40_503 % 2**31], axis=1).astype(np.uint64)
    for start in range(0, count, 100_000):
        database.add_keys(numbers[start : start + 100_000], keys[start : start + 100_000])
    assert database.find_candidates() == count // 2
    assert sum(1 for _ in database.candidates()) == count
