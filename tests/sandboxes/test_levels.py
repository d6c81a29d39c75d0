"""Each privilege level gets the jail that it can have, and no less."""

from __future__ import annotations

import os
import sys

import pytest

from berry.sandboxes.base import Job, JobOutcome, SandboxError
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.pool import SandboxPool
from berry.sandboxes.probe import examine


def lowered(lower, level: str) -> tuple[str, ...]:
    return (sys.executable, "-I", str(lower), level)


def test_the_jail_is_complete_at_this_level(box, level):
    plan = box.pool.host()
    assert plan.seccomp
    assert plan.landlock >= 1
    if level == "pod":
        assert plan.namespaces == ()
        assert plan.notes
    if level == "root":
        assert plan.root


def test_ordinary_work_is_done_at_this_level(box):
    result = box.call("import heapq, csv\ndef f(x):\n    return sorted(x), {'a': (1, 2.5, None)}", [3, 1, 2])
    assert result.outcome is JobOutcome.OK
    assert result.cases[0].value == ([1, 2, 3], {"a": (1, 2.5, None)})


async def test_a_host_with_neither_landlock_nor_namespaces_is_refused(lower):
    config = PoolConfig(slots=1, launcher=lowered(lower, "bare"))
    with pytest.raises(SandboxError, match=r"lacks landlock .* or mount namespaces; see `berry sandbox probe`"):
        await SandboxPool(config).start()
    report = await examine(config)
    assert not report.sufficient
    assert report.level == "insufficient"
    assert next(part for part in report.parts if part.name == "landlock").on is False


async def test_a_host_below_the_minimum_runs_when_told_loudly(lower):
    pool = SandboxPool(PoolConfig(slots=1, launcher=lowered(lower, "bare"), isolation="none"))
    with pytest.warns(RuntimeWarning, match="ALL THE SAME"):
        await pool.start()
    assert (await pool.run(Job("print(1)"))).cases[0].stdout == b"1\n"
    assert (await pool.run(Job("import socket; socket.socket()"))).outcome is JobOutcome.VIOLATION
    await pool.close()


async def test_without_landlock_a_private_root_contains_files(lower, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("4711")
    async with SandboxPool(PoolConfig(slots=1, launcher=lowered(lower, "old"))) as pool:
        plan = pool.host()
        if "mount" not in plan.namespaces:
            pytest.skip("this host denies mount namespaces")
        assert plan.landlock == 0
        for path in ("/etc/passwd", str(secret), "/proc/1/environ", "/sys/kernel"):
            result = await pool.run(Job(f"import os\nprint(os.path.exists({path!r}))\nopen({path!r}).read()"))
            assert result.outcome is JobOutcome.RUNTIME_ERROR
            assert result.cases[0].stdout == b"False\n"
        shell = Job("ls / ; touch /usr/x /x ; ls /usr/x /x ; echo $?", language="shell")
        assert (await pool.run(shell)).cases[0].stdout.endswith(b"usr\n2\n")


async def test_the_report_names_what_is_on_and_what_is_open(lower):
    here = await examine(PoolConfig(slots=1))
    assert here.sufficient
    assert here.level in ("full", "private", "shared")
    assert {"seccomp", "landlock", "rlimits", "no_new_privs"} <= {part.name for part in here.parts if part.on}
    pod = await examine(PoolConfig(slots=1, launcher=lowered(lower, "pod")))
    mount = next(part for part in pod.parts if part.name == "mount namespace")
    assert not mount.on
    assert "stat" in mount.leaves_open
    assert any("unshare" in note for note in pod.notes)
    assert pod.level == "shared"
    assert 0.5 <= pod.calibration <= 10


async def test_a_host_on_which_nothing_starts_is_a_report_too():
    report = await examine(PoolConfig(slots=1, launcher=("/nowhere/at/all",)))
    assert not report.sufficient
    assert "can't be started" in report.lacking[0]


async def test_an_interpreter_that_dies_is_told_with_its_words():
    launcher = ("/bin/sh", "-c", "echo sorry >&2; exit 3")
    with pytest.raises(SandboxError, match="sorry"):
        await SandboxPool(PoolConfig(slots=1, launcher=launcher)).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has user ids to give away")
async def test_each_slot_of_root_has_a_user_id_of_its_own():
    async with SandboxPool(PoolConfig(slots=2)) as pool:
        if not pool.host().drops_uid:
            pytest.skip("the interpreter is readable by root alone")
        import asyncio

        source = Job("import os, time; time.sleep(0.2); print(os.getuid(), os.getgid(), os.getgroups())")
        results = await asyncio.gather(pool.run(source), pool.run(source))
    seen = {r.cases[0].stdout for r in results}
    assert len(seen) == 2
    assert not any(text.startswith(b"0 ") for text in seen)
