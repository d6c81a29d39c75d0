"""Pages that a trial job writes are found and copied at once: the job that follows writes without a trap."""

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

def trial(report):
    write()
    report()

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
learnt = prefault.learn_written_pages(proc, [trial, trial])
assert prefault.learn_written_pages(os.open("/", os.O_PATH), [trial]).method == "none"
assert prefault.learn_written_pages(proc, [trial, lambda report: None]).method == "none"
mine = {(at - start) // PAGE for first, length in learnt.ranges for at in range(first, first + length, PAGE)
        if start <= at < start + len(memory)}
assert mine == set(written), mine ^ set(written)
assert sum(length for _, length in learnt.ranges) < (len(written) + 300) * PAGE
assert traps(lambda: None) >= len(written)
methods = {"one_call": ("one_call", "call_per_range"), "call_per_range": ("call_per_range",), "none": ()}
for method in methods[learnt.method]:
    assert traps(prefault.Prefault(learnt.ranges, method).run) < 50, method
assert traps(prefault.Prefault(learnt.ranges, "none").run) >= len(written)
assert set(memory[:]) == set(b"x")
print(learnt.method)
"""


def test_what_a_trial_job_writes_is_copied_at_once():
    run = subprocess.run([sys.executable, "-c", SCRIPT, ROOT], capture_output=True, text=True)
    if run.stdout == "none\n":
        pytest.skip("this kernel copies no pages ahead")
    assert run.stdout in ("one_call\n", "call_per_range\n"), run.stderr
