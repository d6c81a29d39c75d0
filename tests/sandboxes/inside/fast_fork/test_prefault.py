"""What a rehearsal writes is found, and copied in one go: the job that follows writes without a trap."""

from __future__ import annotations

import subprocess
import sys

import pytest

from berry.sandboxes.host.template import ROOT

SCRIPT = """
import ctypes, mmap, os, resource, sys
sys.path.insert(0, sys.argv[1])
from berry.sandboxes.inside.fast_fork import prefault
from berry.sandboxes.jail import syscalls

PAGE, PAGES = 4096, 2000
memory = mmap.mmap(-1, PAGES * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.write(b"x" * len(memory))
start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
written = [i for i in range(PAGES) if i % 10 < 3 or i % 97 == 0]

def write():
    for i in written:
        memory[i * PAGE + 7] = 1

def rehearse(told):
    write()
    told()

def traps(ready):
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid == 0:
        ready()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        write()
        os.write(sending, str(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return int(os.read(receiving, 20))

proc = os.open("/proc", os.O_PATH)
learnt = prefault.learn(proc, [rehearse, rehearse])
assert prefault.learn(os.open("/", os.O_PATH), [rehearse]).way == "none"
assert prefault.learn(proc, [rehearse, lambda told: None]).way == "none"
mine = {(at - start) // PAGE for first, length in learnt.pieces for at in range(first, first + length, PAGE)
        if start <= at < start + len(memory)}
assert mine == set(written), mine ^ set(written)
assert sum(length for _, length in learnt.pieces) < (len(written) + 300) * PAGE
assert traps(lambda: None) >= len(written)
for way in {"once": ("once", "each"), "each": ("each",), "none": ()}[learnt.way]:
    assert traps(prefault.Copies(learnt.pieces, way).make) < 50, way
assert traps(prefault.Copies(learnt.pieces, "none").make) >= len(written)
assert set(memory[:]) == set(b"x")
print(learnt.way)
"""


def test_what_a_rehearsal_writes_is_copied_at_once():
    run = subprocess.run([sys.executable, "-c", SCRIPT, ROOT], capture_output=True, text=True)
    if run.stdout == "none\n":
        pytest.skip("this kernel copies no pages ahead")
    assert run.stdout in ("once\n", "each\n"), run.stderr
