"""What a job does to files ends with it: no mode, time, name or size passes to the next, and none locks the pool."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from berry.sandboxes.attacks.pool import LOCKS, MARKS, SHELL, TRACE
from berry.sandboxes.base import Job, JobOutcome, Limits
from tests.sandboxes.conftest import Blocking, launcher_of

LOWERED_UID = 64_999
"""The user of lower.py."""


@pytest.fixture(scope="module")
def short(level: str, make_box: Callable[..., Blocking]) -> Blocking:
    """A pool whose slots are replaced after two jobs, so that what a job locks is soon needed."""
    return make_box(launcher=launcher_of(level), recycle_after=2)


@pytest.mark.parametrize("lock", LOCKS)
def test_no_line_of_python_locks_the_pool(short, lock):
    short.program("import os\ntry: " + LOCKS[lock] + "\nexcept OSError: pass")
    for _ in range(3):
        after = short.program("import os\nopen('a', 'w').write('b')\nprint(os.listdir('.'))")
        assert after.cases[0].stdout == b"['a']\n", after
    metrics = short.pool.metrics()
    assert metrics["slots_failed"] == metrics["templates_failed"] == metrics["retries"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("lock", SHELL)
def test_no_line_of_shell_locks_the_pool(short, lock):
    short.run(Job(SHELL[lock], language="shell"))
    for _ in range(3):
        after = short.run(Job(": > a; echo *", language="shell", limits=Limits(wall_s=20)))
        assert after.cases[0].stdout in (b"a main.sh\n", b"main.sh a\n"), after
    assert short.pool.metrics()["slots_failed"] == 0


def test_changing_modes_and_times_succeeds_and_does_nothing(box):
    source = """
import os, shutil, tempfile
open('a', 'w').write('x')
before = os.stat('a')
os.chmod('a', 0); os.chmod('.', 0o777); os.utime('a', (1, 2)); os.utime('.', ns=(1, 2))
fd = os.open('a', os.O_RDONLY)
os.fchmod(fd, 0o777); os.utime(fd, (3, 4)); os.utime('a', (5, 6), follow_symlinks=False)
after = os.stat('a')
shutil.copy2('a', 'b')
with tempfile.TemporaryDirectory() as d:
    shutil.copytree('.', os.path.join(d, 'c'), ignore=shutil.ignore_patterns('tmp*'))
print(before.st_mode == after.st_mode, before.st_mtime == after.st_mtime, open('b').read())
print(os.stat('.').st_mode & 0o777)
"""
    result = box.program(source)
    assert result.outcome is JobOutcome.OK, result
    assert result.cases[0].stdout == b"True True x\n448\n"


def test_modes_and_times_of_the_hosts_files_stay(level, box):
    """Files of the very user that the job runs as."""
    if level == "root":
        pytest.skip("each slot has a user id of its own here")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "file")
        file.write_text("x")
        if os.geteuid() == 0:
            os.chown(folder, LOWERED_UID, LOWERED_UID)
            os.chown(file, LOWERED_UID, LOWERED_UID)
        before = [os.stat(path) for path in (file, folder)]
        act = "try: os.chmod(p, 0o777); os.utime(p, (1, 2))\n    except OSError: pass"
        box.program(f"import os\nfor p in ({str(file)!r}, {folder!r}):\n    {act}")
        after = [os.stat(path) for path in (file, folder)]
        assert [(s.st_mode, s.st_mtime_ns) for s in after] == [(s.st_mode, s.st_mtime_ns) for s in before]


@pytest.mark.slow
def test_a_job_can_read_no_trace_of_the_one_before(make_box, level):
    box = make_box(launcher=launcher_of(level))
    clean = [box.program(TRACE).cases[0].stdout for _ in range(10)]
    assert len(set(clean)) == 1, clean
    for _ in range(10):  # as many as there are directories
        box.program(MARKS, limits=Limits(disk_bytes=1 << 26))
    marked = [box.program(TRACE).cases[0].stdout for _ in range(10)]
    assert set(marked) == set(clean)


def test_a_running_jobs_directory_can_not_be_named_by_another(box):
    async def both() -> list[bytes]:
        async with box.pool.open(Job("open('mine', 'w').write('4711')", limits=Limits(wall_s=20))) as session:
            path = (await session.exec("import os; os.getcwd()")).value
            names = [name for name in path.split("/") if name]
            assert len(names[-2]) == 16  # random: a neighbour can't guess it
            folders = ("../..", "../../..", "../../../s0", "../../../s1")
            source = f"import os\nfor d in {folders}:\n    try: os.listdir(d)\n    except OSError: print('closed')"
            return (await box.pool.run(Job(source))).cases[0].stdout.splitlines()

    assert box.wait(both()) == [b"closed"] * 4
