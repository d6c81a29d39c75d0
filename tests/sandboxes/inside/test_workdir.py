"""A working directory that no job touched is kept; any other is made anew."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from berry.sandboxes.inside import workdir

TOUCHES: dict[str, Callable[[Path], object]] = {
    "made and removed": lambda work: ((work / "a").write_text("x"), (work / "a").unlink()),
    "left a file": lambda work: (work / "a").write_text("x"),
    "listed": lambda work: os.listdir(work),
    "listed above": lambda work: os.listdir(work.parent),
    "mode": lambda work: work.chmod(0o755),
    "time": lambda work: os.utime(work, (1, 0)),
    "gone": lambda work: (work.parent.chmod(0o755), work.rmdir()),
}


def times_and_modes(top: Path) -> list[tuple[int, ...]]:
    return [(s.st_mode & 0o777, s.st_atime_ns, s.st_mtime_ns) for s in (os.lstat(top), os.lstat(top / "w"))]


FRESH = [(0o555, 0, 0), (0o700, 0, 0)]


def test_an_untouched_directory_stays(tmp_path):
    workdir.make_fresh(str(tmp_path))
    inode = os.lstat(tmp_path / "w").st_ino
    os.stat(tmp_path / "w")
    workdir.make_fresh(str(tmp_path))
    assert times_and_modes(tmp_path) == FRESH
    assert os.lstat(tmp_path / "w").st_ino == inode


@pytest.mark.parametrize("touch", TOUCHES)
def test_a_touched_directory_is_made_anew(tmp_path, monkeypatch, touch):
    made: list[str] = []
    mkdir = os.mkdir
    monkeypatch.setattr(workdir.os, "mkdir", lambda path, mode=0o777: (made.append(path), mkdir(path, mode)))
    workdir.make_fresh(str(tmp_path))
    TOUCHES[touch](tmp_path / "w")
    if touch.startswith("listed") and times_and_modes(tmp_path) == FRESH:
        pytest.skip("this file system keeps no times of access, so a listing leaves no trace")
    workdir.make_fresh(str(tmp_path))
    assert len(made) == 2
    assert times_and_modes(tmp_path) == FRESH
    assert os.listdir(tmp_path / "w") == []
