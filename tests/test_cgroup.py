"""What a container or a scheduler allows, of cgroups of both versions, made here as they look."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from berry.pipeline import cgroup


def made(folder: Path, files: dict[str, str], own: str) -> tuple[Path, Path]:
    for name, text in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    (folder / "own").write_text(own)
    return folder / "cgroup", folder / "own"


def test_memory_of_version_2_is_the_tightest_of_all_groups_above(tmp_path: Path) -> None:
    files = {
        "memory.max": "max",
        "memory.current": "900",
        "pod/memory.max": "1000",
        "pod/memory.current": "400",
        "pod/c/memory.max": "5000",
        "pod/c/memory.current": "300",
    }
    assert cgroup.memory_left_bytes(*made(tmp_path, files, "0::/pod/c\n")) == 600


def test_memory_of_version_1_is_read_and_no_limit_is_none(tmp_path: Path) -> None:
    own = "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n"
    files = {"memory/memory.limit_in_bytes": "2000", "memory/memory.usage_in_bytes": "500"}
    assert cgroup.memory_left_bytes(*made(tmp_path, files, own)) == 1500, "the host's path is not there in a container"
    files["memory/memory.limit_in_bytes"] = "9223372036854771712"
    assert cgroup.memory_left_bytes(*made(tmp_path, files, own)) is None
    assert cgroup.memory_left_bytes(tmp_path / "nowhere", tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("files", "own", "cores"),
    [
        ({"cpu.max": "50000 100000"}, "0::/\n", 0.5),
        ({"cpu/cpu.cfs_quota_us": "25000", "cpu/cpu.cfs_period_us": "100000"}, "3:cpu,cpuacct:/x\n", 0.25),
    ],
    ids=["version 2", "version 1"],
)
def test_a_quota_of_cores_is_read(tmp_path: Path, files: dict[str, str], own: str, cores: float) -> None:
    assert cgroup.cores(*made(tmp_path, files, own)) == cores


def test_without_a_quota_the_cores_are_those_it_may_run_on(tmp_path: Path) -> None:
    folder, own = made(tmp_path, {"cpu.max": "max 100000"}, "0::/\n")
    assert cgroup.cores(folder, own) == len(os.sched_getaffinity(0))
