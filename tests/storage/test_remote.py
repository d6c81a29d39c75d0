"""Object stores: a real S3 API, whole files, one winner, patience with a store that fails, clear refusals."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from berry.pipeline.errors import ResourceError, StorageError
from berry.pipeline.storage import remote
from berry.pipeline.storage.files import locate, under
from berry.pipeline.storage.parquet import shard_files


def test_what_is_put_can_be_read_listed_moved_and_removed(s3: Any) -> None:
    location = locate(s3.url("runs/a"))
    assert location.get("run.yaml") is None
    assert location.names("round=0/nodes") == []
    location.put("round=0/nodes/shard-000001.parquet", b"one")
    location.put("round=0/nodes/shard-000001.parquet", b"two")
    assert location.get("round=0/nodes/shard-000001.parquet") == b"two"
    assert location.folders() == ["round=0"]
    location.move("round=0/nodes/shard-000001.parquet", "damaged/000/shard-000001.parquet")
    assert location.names("round=0/nodes") == []
    assert location.names("damaged/000") == ["shard-000001.parquet"]
    location.remove("damaged/000/shard-000001.parquet")
    location.remove_folder("damaged")
    location.remove_folder("damaged")
    assert not location.exists("damaged/000/shard-000001.parquet")


def test_a_small_file_is_one_request(s3: Any) -> None:
    location = locate(s3.url("runs/a"))
    s3.faults()
    location.put("x", b"1" * 100_000)
    assert s3.counts()["requests"] == 1


def test_of_all_who_create_a_file_one_wins(s3: Any) -> None:
    location = locate(s3.url("runs/a"))
    start = threading.Barrier(8)

    def try_it(number: int) -> bool:
        start.wait()
        return location.create("claim", f"number {number}".encode())

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(try_it, range(8)))
    assert won.count(True) == 1
    assert location.get("claim") == f"number {won.index(True)}".encode()


def test_a_win_whose_answer_was_lost_is_still_a_win(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    location = locate(s3.url("runs/a"))
    create = remote.create

    def lost(url: str, path: str, data: bytes) -> bool:
        monkeypatch.setattr(remote, "create", create)
        create(url, path, data)
        raise OSError("connection reset by peer")

    monkeypatch.setattr(remote, "create", lost)
    monkeypatch.setattr(remote, "TRIES_S", (0.0,))
    assert location.create("claim", b"mine")
    assert not location.create("claim", b"another's")


@pytest.mark.slow
def test_a_store_that_fails_often_and_is_slow_loses_nothing(s3: Any) -> None:
    location = locate(s3.url("runs/a"))
    s3.faults(error_rate=0.2, delay_s=0.01)

    def write(number: int) -> bool:
        location.put(f"many/{number:02d}", str(number).encode())
        return location.create(f"claims/{number:02d}", str(number).encode())

    with ThreadPoolExecutor(10) as pool:
        assert all(pool.map(write, range(30)))
    assert [location.get(f"many/{n:02d}") for n in range(30)] == [str(n).encode() for n in range(30)]
    assert len(location.names("claims")) == 30
    assert s3.counts()["failed"] > 10


def test_an_error_that_does_not_pass_is_told_after_the_last_try(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TRIES_S", (0.0,))
    location = locate(s3.url("runs/a"))
    tries = 0

    def fails() -> None:
        nonlocal tries
        tries += 1
        raise OSError("AWS Error INTERNAL_FAILURE during PutObject operation: We are sorry")

    with pytest.raises(OSError, match="INTERNAL_FAILURE"):
        remote.patiently(fails)
    assert tries == 2
    with pytest.raises(StorageError, match=r"no such bucket .*make it, or correct the URL"):
        locate("s3://berry-nosuch-bucket/x").put("a", b"1")
    assert location.get("a") is None


def test_without_credentials_the_error_says_what_to_set(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    s3.faults(signed_only=True)
    location = locate(s3.url("runs/a"))
    with pytest.raises(ResourceError, match=r"access is denied .*AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        location.check_reachable()
    with pytest.raises(StorageError, match="AWS_ACCESS_KEY_ID"):
        location.put("x", b"1")


def test_endpoint_and_region_may_stand_in_the_url(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    host = s3.endpoint.removeprefix("http://")
    place = under(s3.url("runs") + f"?endpoint_override={host}&scheme=http&region=us-east-1", "a")
    assert place.startswith(f"{s3.url('runs')}/a?")
    location = locate(place)
    location.put("x", b"1")
    assert location.create("y", b"2")
    assert locate(location.show("")).names("") == ["x", "y"]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("s3://key:secret@bucket/x", "must hold no password"),
        ("s3://bucket/x?color=red&endpoint_override=h:1", r"\?color= is unknown"),
        ("nosuch://bucket/x", "not a location"),
    ],
)
def test_urls_that_can_not_serve_are_refused(url: str, words: str) -> None:
    with pytest.raises(StorageError, match=words):
        locate(url)


def test_any_filesystem_that_fsspec_knows_will_do() -> None:
    location = locate("memory://berry/run")
    location.put("round=0/a", b"1")
    assert location.create("round=0/b", b"2")
    assert not location.create("round=0/b", b"3")
    assert location.names("round=0") == ["a", "b"]
    assert location.get("round=0/b") == b"2"
    location.remove_folder("round=0")
    assert location.folders() == []


def test_a_store_that_stays_away_is_told_once_and_once_more_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "TRIES_S", (0.0,) * 10)
    failures = iter([*[OSError("could not connect to server")] * 8, None, OSError("slow down"), None])
    notes: list[str] = []

    def operation() -> str:
        error = next(failures)
        if error is not None:
            raise error
        return "done"

    with remote.outages_told(notes.append):
        assert remote.patiently(operation) == "done"
        assert remote.patiently(operation) == "done", "a single error is no news"
    assert len(notes) == 2
    assert notes[0].startswith("the store does not answer (the store can't be reached (could not connect to server)")
    assert notes[1].startswith("the store answers again, 0 s later")


@pytest.mark.slow
@pytest.mark.parametrize("errors", [0.0, 0.05])
def test_a_folder_of_many_files_is_listed_in_parts_and_none_is_left_out(s3: Any, errors: float) -> None:
    location = locate(s3.url("runs/many"))
    numbers = [*range(700), *range(99_900, 100_400), *range(1_000_000, 1_000_900)]
    wanted = [shard_files.shard_name("nodes", lease, 0).rpartition("/")[2] for lease in numbers]
    wanted += ["shard-000000-000063.parquet", "zero&one's", "a b", "shard-9"]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: location.put(f"round=0/nodes/{name}", b""), [*wanted, "below/it"]))
    s3.faults(error_rate=errors)
    cuts = tuple(f"shard-{first:02d}" for first in range(100))
    assert location.names("round=0/nodes", between=cuts) == sorted(wanted)
    assert location.names("round=0/nodes", between=("b",)) == sorted(wanted)
    assert location.names("round=0/none", between=cuts) == []


def test_a_listing_in_parts_says_what_is_wrong_and_is_signed(s3: Any) -> None:
    location = locate(s3.url("runs/a"))
    location.put("round=0/nodes/shard-000001.parquet", b"one")
    s3.faults(signed_only=True)
    assert location.names("round=0/nodes", between=("shard-1",)) == ["shard-000001.parquet"]
    nowhere = locate("s3://berry-no-such-bucket/runs/a")
    with pytest.raises(StorageError, match="no such bucket"):
        nowhere.names("round=0/nodes", between=("shard-1",))
