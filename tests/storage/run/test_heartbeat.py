"""A name is held by one living process; death is seen by silence, whatever the clocks say."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace
from typing import Any

import pytest

from berry.pipeline.errors import StorageError
from berry.pipeline.storage.files import Location, locate
from berry.pipeline.storage.run import directory, heartbeat
from berry.pipeline.storage.run.directory import RunDir, locked
from berry.pipeline.storage.run.heartbeat import Heartbeat, Watcher, present

SILENT_S = 1.0


def sign_of_a_stranger(location: Location, name: str, **changes: Any) -> Heartbeat:
    """Of a process on another host, of which nothing is known but its file."""
    sign = replace(heartbeat._mine(), kernel="another boot", host="elsewhere", **changes)
    location.put(f"sites/{name}/000000", json.dumps(asdict(sign)).encode())
    return sign


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, location: Location) -> Location:
    return location if request.param == "local" else locate(request.getfixturevalue("s3").url("runs/a"))


def hold(location: Location, name: str, **options: Any) -> Any:
    return present(location, name, silent_s=SILENT_S, excludes=lambda other: False, **options)


def test_a_name_is_held_by_one_and_free_when_it_leaves(place: Location) -> None:
    with hold(place, "west") as first:
        with pytest.raises(StorageError, match=r"another `berry run` is writing here \(process \d+ on .* as 'west'\)"):
            hold(place, "west").__enter__()
        with hold(place, "east"):
            assert set(Watcher(place, SILENT_S).look()) == {"west", "east"}
    with hold(place, "west") as again:
        assert again.token != first.token
    assert Watcher(place, SILENT_S).look() == {}


def test_a_silent_stranger_is_waited_for_and_then_replaced(place: Location) -> None:
    sign_of_a_stranger(place, "west")
    said: list[str] = []
    started = time.monotonic()
    with hold(place, "west", waiting=said.append):
        assert time.monotonic() - started >= SILENT_S
    assert len(said) == 1
    assert "on elsewhere" in said[0]


def test_a_stranger_that_gives_a_sign_of_life_keeps_the_name(place: Location) -> None:
    sign_of_a_stranger(place, "west")
    with pytest.raises(StorageError, match="on elsewhere as 'west'"):
        hold(place, "west", waiting=lambda _: bool(sign_of_a_stranger(place, "west", counter=1))).__enter__()


def test_clocks_that_jump_kill_nobody_and_revive_nobody(location: Location, monkeypatch: pytest.MonkeyPatch) -> None:
    sign = sign_of_a_stranger(location, "west")
    now = 100.0
    watcher = Watcher(location, 10.0, clock=lambda: now)
    for wall in (0.0, 4e9, -1e9):
        monkeypatch.setattr(time, "time", lambda wall=wall: wall)
        assert watcher.is_alive("west", sign)
        now += 3.0
    now += 10.0
    assert not watcher.is_alive("west", sign)
    assert watcher.is_alive("west", replace(sign, counter=1)), "it was only slow"


def test_who_was_thought_dead_and_replaced_is_told(location: Location) -> None:
    with hold(location, "west") as held:
        location.put("sites/west/000007", json.dumps(asdict(heartbeat._mine())).encode())
        deadline = time.monotonic() + 10
        while not held.is_taken and time.monotonic() < deadline:
            time.sleep(0.05)
        assert held.is_taken
    assert heartbeat.read(location, "west")[1] is not None, "it must not touch the file of its successor"


def test_a_heartbeat_of_version_0_1_0_is_read(location: Location) -> None:
    fields = asdict(heartbeat._mine())
    fields["beat"] = fields.pop("counter") + 4
    location.put("sites/west/000000", json.dumps(fields).encode())
    latest = heartbeat.read(location, "west")[1]
    assert latest is not None
    assert latest.counter == 4


def test_a_directory_is_one_drivers_or_its_sites(location: Location) -> None:
    run = RunDir(location)
    location.put("run.yaml", b"")
    refused = pytest.raises(StorageError, match=r"give each its own storage\.site")
    with locked(run, site="west", silent_s=SILENT_S), locked(run, site="east", silent_s=SILENT_S), refused:
        locked(run).__enter__()
    with locked(run), pytest.raises(StorageError, match="another `berry run`"):
        locked(run, site="west").__enter__()


def test_on_a_store_a_directory_is_one_drivers_or_its_sites(s3: Any) -> None:
    run = RunDir(locate(s3.url("runs/a")))
    refused = pytest.raises(StorageError, match=r"as 'west'|as 'east'")
    with locked(run, site="west", silent_s=SILENT_S), locked(run, site="east", silent_s=SILENT_S), refused:
        locked(run, silent_s=SILENT_S).__enter__()
    with locked(run, silent_s=SILENT_S), pytest.raises(StorageError, match=f"as '{directory._ALONE}'"):
        locked(run, site="west", silent_s=SILENT_S).__enter__()
