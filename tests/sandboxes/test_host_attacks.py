# ruff: noqa: E501 (one attack a line)
"""Programs that reach for the host: files, environment, network, other processes. None gets hold of
anything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import socket
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from berry.sandboxes.attacks.host import DENIED, FATAL, FORBIDDEN, PATH_SENDING, RAW, SOCKET_MEMORY, SYSCALL, TIMERS
from berry.sandboxes.base import Job, JobOutcome, Limits
from berry.sandboxes.inside.slot import MAX_WAITING_CHILDREN
from berry.sandboxes.jail import visible
from berry.sandboxes.jail.rlimits import MOST_SIGNALS

STOPPED = (JobOutcome.VIOLATION, JobOutcome.RUNTIME_ERROR)


@pytest.mark.parametrize("attack", FORBIDDEN)
def test_reaching_out_is_refused(box, attack):
    result = box.program(FORBIDDEN[attack] + "\nprint('DONE')")
    assert result.outcome in STOPPED or attack == "raise_own_limit", result
    assert b"DONE" not in result.cases[0].stdout


x86 = pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86_64")


@x86
@pytest.mark.parametrize("attack", RAW)
def test_raw_calls_are_refused(box, attack):
    result = box.program(SYSCALL + DENIED.format(RAW[attack]))
    assert result.cases[0].stdout == b"denied\n", result


@x86
@pytest.mark.parametrize("attack", FATAL)
def test_hostile_calls_end_the_program(box, attack):
    result = box.program(SYSCALL + FATAL[attack] + "\nprint('DONE')")
    assert result.outcome is JobOutcome.VIOLATION, result
    assert b"DONE" not in result.cases[0].stdout


@x86
def test_calls_through_the_32_bit_gate_end_the_program(box):
    code = SYSCALL + (
        "import mmap\nm = mmap.mmap(-1, 4096, prot=7)\nm.write(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3')\n"
        "p = ctypes.addressof(ctypes.c_char.from_buffer(m))\nprint('DONE', ctypes.CFUNCTYPE(ctypes.c_int)(p)())"
    )
    result = box.program(code)
    assert result.outcome in (JobOutcome.VIOLATION, JobOutcome.RUNTIME_ERROR), result
    assert b"DONE" not in result.cases[0].stdout


def test_files_of_the_host_stay_closed(box, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("the answer is 4711")
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            os.chmod(path, path.stat().st_mode | 0o005)
    result = box.program(f"print(open({str(secret)!r}).read())")
    assert result.outcome in STOPPED
    assert b"4711" not in result.cases[0].stdout + result.cases[0].stderr


BESIDE = """
import itertools, os
top = os.path.dirname(os.__file__)
opened = 0
for name in ("site-packages", "dist-packages", "test"):
    for where, _, files in itertools.islice(os.walk(os.path.join(top, name)), 20):
        for file in files[:10]:
            try:
                opened += len(open(os.path.join(where, file), "rb").read(1))
            except OSError:
                pass
print(opened, open(os.path.join(top, "statistics.py")).read(1) != "")
"""


def test_what_is_installed_beside_the_library_stays_closed(box):
    assert box.program(BESIDE).cases[0].stdout == b"0 True\n"


PLACES = ("/usr/share/doc", "/usr/share/common-licenses", "/usr/lib/systemd", "/usr/lib/apt", "/usr/src", "/usr/sbin")


def _some_files() -> list[str]:
    """Files of the system that no job needs, packages of its Pythons first."""
    found = []
    for place in (*visible.packages_in_stdlib(), *visible.packages_of_the_system(), *PLACES):
        for top, _, files in os.walk(place):
            found += [os.path.join(top, name) for name in files[:2] if os.path.isfile(os.path.join(top, name))]
            if len(found) > 40:
                break
    return found[:40]


def test_of_the_system_a_job_sees_what_it_needs(box):
    files = _some_files()
    read = "opened = 0\nfor p in {}:\n    try: opened += len(open(p, 'rb').read(1))\n    except OSError: pass\nprint(opened)"
    assert box.program(read.format(files)).cases[0].stdout == b"0\n"
    quoted = " ".join(f"'{path}'" for path in files)
    shell = box.run(Job(f"cat {quoted} 2>/dev/null | wc -c", language="shell", limits=Limits(wall_s=20)))
    assert shell.cases[0].stdout.strip() == b"0", shell
    script = (
        f"let n = 0; for (const p of {files}) try {{ require('fs').readFileSync(p); n++ }} catch {{}}\nconsole.log(n)"
    )
    node = box.run(Job(script, language="javascript", limits=Limits(wall_s=20)))
    assert node.outcome is JobOutcome.MISSING_TOOL or node.cases[0].stdout == b"0\n", node


def test_nothing_is_sent_to_a_socket_of_the_host(box):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        path = os.path.join(folder, "s")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as host:
            host.bind(path)
            os.chmod(path, 0o777)
            result = box.program(PATH_SENDING.replace("PATH", repr(path)))
            assert set(result.cases[0].stdout.split()) == {b"refused"}, result
            host.setblocking(False)
            with pytest.raises(BlockingIOError):
                host.recv(10)


def test_memory_in_socket_buffers_is_bounded(box):
    total = int(box.program(SOCKET_MEMORY).cases[0].stdout)
    assert total < 16 << 20, total


def test_timers_are_few(box):
    made = int(box.program(TIMERS).cases[0].stdout)
    assert made <= MOST_SIGNALS, made
    alarm = "signal.signal(signal.SIGALRM, lambda *a: print('rang'))\nsignal.setitimer(signal.ITIMER_REAL, 0.01)"
    assert box.program(f"import signal\n{alarm}\nsignal.pause()").cases[0].stdout == b"rang\n"


def test_the_environment_is_empty_of_the_hosts(make_box, monkeypatch):
    monkeypatch.setenv("BERRY_SECRET", "4711")
    result = make_box().program("import os; print(sorted(os.environ), os.environb)")
    assert result.outcome is JobOutcome.OK
    assert b"4711" not in result.cases[0].stdout
    assert b"BERRY" not in result.cases[0].stdout
    assert b"LD_" not in result.cases[0].stdout


def test_only_its_own_descriptors_are_open(box):
    source = (
        "import os\nfound = []\nfor fd in range(1000):\n    try: os.fstat(fd); found.append(fd)\n"
        "    except OSError: pass\nprint(found)"
    )
    assert box.program(source).cases[0].stdout == b"[0, 1, 2, 3]\n"


def test_a_job_finds_an_empty_directory(box):
    box.program("open('left', 'w').write('x')")
    box.program("import os\nos.makedirs('a/b'); os.chmod('a', 0); os.mkfifo('p'); os.symlink('/', 'l')")
    for _ in range(3):
        assert box.program("import os; print(os.listdir('.'))").cases[0].stdout == b"[]\n"


def test_a_job_finds_no_other_jobs_files(box):
    async def both() -> bytes:
        async with box.pool.open(Job("open('mine', 'w').write('4711')", limits=Limits(wall_s=20))) as session:
            assert session.loaded.outcome is JobOutcome.OK
            where = (await session.exec("import os; os.getcwd()")).value
            spy = (
                f"import os\nfor d in ({where!r}, '..', '../..', '../../..', '../1/w', '../0/w', '../../0/w', '../../1/w'):\n"
                "    for name in ('', '/mine'):\n        try: print(os.listdir(d + name))\n        except OSError: pass\n"
                "        try: print(open(d + name).read())\n        except OSError: pass"
            )
            result = await box.pool.run(Job(spy))
            return result.cases[0].stdout

    assert b"4711" not in box.wait(both())


def test_removing_its_own_directory_harms_nobody(box):
    source = (
        "import os, shutil\nopen('a', 'w').close()\nd = os.getcwd()\nos.chdir('..')\n"
        "try: shutil.rmtree(d)\nexcept OSError: print('kept')\n"
        "try: open('x', 'w')\nexcept OSError: print('closed')\nprint(os.listdir(d))"
    )
    assert box.program(source).cases[0].stdout == b"kept\nclosed\n[]\n"
    assert box.program("open('a', 'w').write('b'); print(open('a').read())").cases[0].stdout == b"b\n"


def test_a_directory_too_deep_to_name_is_removed(box):
    source = "import os\nfor i in range(600):\n    os.mkdir('d' * 50); os.chdir('d' * 50)"
    box.program(source, limits=Limits(disk_bytes=1 << 26))
    assert box.program("import os; print(os.listdir('.'))").cases[0].stdout == b"[]\n"


def test_a_closed_directory_too_deep_to_name_is_removed(box):
    source = "import os\nfor i in range(50):\n    os.mkdir('d'); os.chdir('d'); os.chmod('.', 0o300)\nos.chmod('.', 0)"
    box.program(source)
    assert box.program("import os; print(os.listdir('.'))").cases[0].stdout == b"[]\n"


def test_it_may_use_its_directory(box):
    source = "import os\nos.mkdir('a')\nopen('a/b', 'w').write('hi')\nos.rename('a/b', 'c')\nprint(open('c').read(), os.listdir())"
    result = box.program(source)
    assert result.outcome is JobOutcome.OK, result
    assert result.cases[0].stdout.startswith(b"hi")


def test_it_may_use_threads_and_event_loops(box):
    source = "import asyncio\nasync def f(): return await asyncio.to_thread(int, '5')\nprint(asyncio.run(f()))"
    result = box.program(source)
    assert result.cases[0].stdout == b"5\n", result


def _alive(box) -> list[psutil.Process]:
    alive = []
    top = box.pool._slots._templates["bare"].process.pid
    for process in psutil.Process(top).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            alive += [process] if process.status() != psutil.STATUS_ZOMBIE else []
    return alive


def _threads(box) -> int:
    """Most threads of a process of the pool; waiting ones have one."""
    most = 0
    for process in _alive(box):
        with contextlib.suppress(psutil.NoSuchProcess):
            most = max(most, process.num_threads())
    return most


def _settled(box) -> int:
    """How many processes the pool has when it has made all that it wants ahead."""
    counts = [0, -1]
    while counts[-1] != counts[-2]:
        time.sleep(0.5)
        counts.append(len(_alive(box)))
    return counts[-1]


async def _both_slots(box) -> None:
    """Keeps both slots at work at once, so that both are there."""
    await asyncio.gather(*(box.pool.run(Job("import time; time.sleep(0.3)", stdin=("",))) for _ in range(2)))


@pytest.mark.slow
def test_nothing_is_left_running(box):
    """After jobs that start all they can, the pool has its own processes and none of theirs."""
    box.wait(_both_slots(box))
    before = _settled(box)  # with slots of other languages, where their tests ran before
    for _ in range(3):
        box.program("import os\nfor _ in range(20):\n    try: os.fork()\n    except OSError: pass")
        spawn = "import threading, time\nfor _ in range(9): threading.Thread(target=time.sleep, args=(9,)).start()"
        box.program(spawn, limits=Limits(wall_s=0.3))
    slots = len(box.pool._slots._handles)  # each has one waiting child more or less
    full = max(before + slots, 1 + 2 * (1 + MAX_WAITING_CHILDREN))  # a first process, two slots, their waiting children
    deadline = time.monotonic() + 5
    while ((now := len(_alive(box))) > full or _threads(box) > 1) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert now <= full
    assert _threads(box) == 1
