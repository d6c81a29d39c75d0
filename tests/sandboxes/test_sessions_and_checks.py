"""A tool's session alters no verdict: the pool of checks on the same host sees nothing that a hostile call left."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from berry.sandboxes.base import Call, Job
from berry.sandboxes.config import PoolConfig
from berry.sandboxes.sessions import SessionCall, SessionKeeper
from tests.sandboxes.conftest import Blocking, launcher_of

HOSTILE = {
    "files_and_modules": "for p in '.', '..', '../..', '../../..', '/tmp', '/dev/shm':\n"
    "    for n in ('left', 'math.py', 'solution.py'):\n"
    "        try: open(p + '/' + n, 'w').write('raise SystemExit(0)')\n        except OSError: pass",
    "built_in_names": "import builtins, json, math, sys\nbuiltins.abs = lambda x: 42\njson.dumps = lambda *a: '1'\n"
    "math.floor = lambda x: 99\nsys.modules['json'] = math",
    "small_numbers": "import ctypes\nctypes.memmove(id(5) + 24, id(6) + 24, 4)",
    "locks": "import fcntl, os\nfcntl.flock(open(os.__file__), fcntl.LOCK_EX)",
    "marks": "import os\nos.chmod('.', 0o777); os.utime('.', (7, 7)); os.umask(0); os.mkfifo('note')",
    "its_own_folder": "import os\nos.chdir('..'); os.rename('w', 'x'); os.symlink('/', 'w')",
    "processes": "import os\nfor pid in range(1, 2000):\n    try: os.kill(pid, 9)\n    except OSError: pass",
    "held_objects": "import gc\nfor o in gc.get_objects():\n    if isinstance(o, dict) and 'channel' in o: o.clear()",
}
HONEST = """
import json, math, os
def f(x):
    open("note", "w").write(str(x))
    return [abs(-7), math.floor(2.5), json.dumps([1]), sum([5, 0]), int(open("note").read()) + 1, os.listdir(".")]
"""


@pytest.fixture(scope="module")
def keeper(level: str, shared: Blocking) -> Iterator[SessionKeeper]:
    made = SessionKeeper(PoolConfig(launcher=launcher_of(level), calibration=1.0), slots=1, sessions=2, profile="bare")
    shared.wait(made.start())
    yield made
    shared.wait(made.close())


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_session_alters_no_check(box: Blocking, keeper: SessionKeeper, name: str) -> None:
    async def both() -> None:
        await keeper.call(SessionCall("hostile", (), HOSTILE[name], profile="bare"))
        job = Job(HONEST, entry_point="f", calls=(Call((41,)),))
        results = await asyncio.gather(*(box.pool.run(job) for _ in range(3)))
        assert [r.cases[0].value for r in results] == [[7, 2, "[1]", 5, 42, ["note"]]] * 3
        tests = "assert f(1) == 2\nassert f(5) == 6"
        assert (await box.pool.judge(Job("def f(x): return x + 1", entry_point="f"), tests)).passed
        assert not (await box.pool.judge(Job("def f(x): return x", entry_point="f"), tests)).passed
        said = await keeper.call(
            SessionCall("another", (), "import os\nprint(abs(-7), 5, os.listdir('.'))", profile="bare")
        )
        assert said.text == "7 5 []"

    box.wait(both())
