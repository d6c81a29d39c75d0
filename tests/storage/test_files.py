"""A file appears whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from berry.pipeline.errors import StorageError
from berry.pipeline.storage.files import Location, locate


def test_what_is_put_can_be_read_back_and_nothing_else_is_left(location: Location) -> None:
    location.put("a/b.txt", b"one")
    location.put("a/b.txt", b"two")
    assert location.get("a/b.txt") == b"two"
    assert location.names("a") == ["b.txt"]


def test_a_write_that_fails_leaves_the_old_file_and_no_aside(
    location: Location, monkeypatch: pytest.MonkeyPatch
) -> None:
    location.put("a.txt", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"a.txt: can't be written: No space left on device"):
        location.put("a.txt", b"new")
    assert location.get("a.txt") == b"old"
    assert location.names("") == ["a.txt"]


def test_create_is_won_once(location: Location) -> None:
    assert location.create("lease", b"first")
    assert not location.create("lease", b"second")
    assert location.get("lease") == b"first"


def test_what_is_not_there_is_none_and_lists_empty(location: Location) -> None:
    assert location.get("no") is None
    assert location.names("no") == []
    assert location.folders("no") == []
    location.remove("no")


def test_an_unwritable_folder_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StorageError, match="can't be written"):
        locate(tmp_path / "file" / "run").put("x", b"")


def test_a_url_nobody_knows_is_refused() -> None:
    with pytest.raises(StorageError, match="not a location"):
        locate("nosuch://bucket/x")


def test_a_file_where_a_folder_is_to_be_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "journal").touch()
    with pytest.raises(StorageError, match=r"journal: is a file where a folder is to be"):
        locate(tmp_path).names("journal")
