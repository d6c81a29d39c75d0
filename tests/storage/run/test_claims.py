"""Of several results of one lease the first counts, whole, whoever dies while it is written."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq
import pytest

from berry.pipeline import schema
from berry.pipeline.errors import StorageError
from berry.pipeline.storage.files import Location, locate
from berry.pipeline.storage.parquet import shard_files, shards
from berry.pipeline.storage.run import claims
from berry.pipeline.storage.run.claims import Claim, Owner

WEST, EAST = Owner("west", "t-west"), Owner("east", "t-east")


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, location: Location) -> Location:
    return location if request.param == "local" else locate(request.getfixturevalue("s3").url("runs/a"))


def result(by: str) -> dict[str, Any]:
    tables = {
        "nodes": [{"problem_id": "p", "engine_id": by}],
        "kept": [{"trajectory_id": by}],
        "trajectories": [{"trajectory_id": by, "problem_id": "p"}],
    }
    return shards.encoded(round_index=0, lease=7, tables=tables, metadata={})


def commit(location: Location, by: str) -> bool:
    return claims.commit(location, round_index=0, lease=7, files=result(by), token=by)


def whose(location: Location) -> set[str]:
    """Who made what is stored of lease 7, over all its tables."""
    found = set()
    for table, column in (("nodes", "engine_id"), ("kept", "trajectory_id"), ("trajectories", "trajectory_id")):
        name = shard_files.shard_name(table, 7, 0)
        found |= set(location.read(name, pq.read_table).column(column).to_pylist())
    return found


def test_a_lease_is_claimed_once_and_taken_over_once(place: Location) -> None:
    first, second = Claim(7, 0), Claim(7, 1)
    assert claims.latest(place, 0) == {}
    assert claims.take(place, 0, first, WEST)
    assert not claims.take(place, 0, first, EAST)
    assert claims.owner(place, 0, first) == WEST
    assert claims.take(place, 0, second, EAST)
    assert claims.latest(place, 0) == {7: second}
    claims.release(place, 0, second)
    assert claims.latest(place, 0) == {}
    assert claims.owner(place, 0, second) is None


def test_one_site_at_a_time_learns_from_a_round(place: Location) -> None:
    assert claims.last_turn(place, 3) == -1
    assert claims.take_turn(place, 3, 0, WEST)
    assert not claims.take_turn(place, 3, 0, EAST)
    assert claims.take_turn(place, 3, 1, EAST)
    assert [claims.turn_of(place, 3, turn) for turn in (0, 1, claims.last_turn(place, 3))] == [WEST, EAST, EAST]
    assert claims.last_turn(place, 2) == -1


def test_the_first_result_counts_and_the_late_one_leaves_no_trace(place: Location) -> None:
    assert commit(place, "west")
    assert not commit(place, "east")
    assert whose(place) == {"west"}
    assert shard_files.committed(place, 0) == {7}


@pytest.mark.parametrize("written", range(len(schema.TABLES) + 1))
def test_who_dies_while_writing_is_finished_for_and_the_late_one_still_loses(
    location: Location, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    put, left = Location.put, written

    def dies(self: Location, name: str, data: Any, **options: Any) -> None:
        nonlocal left
        if left == 0:
            raise StorageError("killed here")
        left -= 1
        put(self, name, data, **options)

    monkeypatch.setattr(Location, "put", dies)
    with pytest.raises(StorageError, match="killed here"):
        commit(location, "west")
    monkeypatch.undo()
    assert not commit(location, "east")
    assert claims.finish(location, round_index=0, lease=7)
    assert whose(location) == {"west"}
    assert claims.finish(location, round_index=0, lease=7), "twice is once"
    assert not commit(location, "east")
    assert location.get("round=0/decided/000007") == b""


def test_nothing_decided_is_nothing_to_finish(location: Location) -> None:
    assert not claims.finish(location, round_index=0, lease=7)


def test_a_damaged_decision_is_an_error_that_says_what_to_do(location: Location) -> None:
    location.put("round=0/decided/000007", b"BRD1 and then nothing that makes sense")
    with pytest.raises(StorageError, match=r"decided/000007: is damaged .* remove it"):
        claims.finish(location, round_index=0, lease=7)


def test_a_lease_to_be_made_again_is_open_again(location: Location) -> None:
    assert commit(location, "west")
    claims.forget(location, round_index=0, lease=7)
    assert commit(location, "east")
    assert whose(location) == {"east"}
