"""Pages that all trial jobs write are found, and no others."""

from __future__ import annotations

import subprocess
import sys

import pytest

from berry.sandboxes.host.template import ROOT

SCRIPT = """
import ctypes, mmap, os, sys
sys.path.insert(0, sys.argv[1])
from berry.sandboxes.inside.fast_fork import written_pages

PAGE, PAGES = 4096, 2000
memory = mmap.mmap(-1, PAGES * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.write(b"x" * len(memory))
start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
written = [i for i in range(PAGES) if i % 10 < 3 or i % 97 == 0]

def trial_of(more):
    def trial(report):
        for i in (*written, more):
            memory[i * PAGE + 7] = 1
        report()
    return trial

proc = os.open("/proc", os.O_PATH)
ranges = written_pages.learn_written_pages(proc, [trial_of(5), trial_of(6), trial_of(5)])
assert not written_pages.learn_written_pages(os.open("/", os.O_PATH), [trial_of(5)])
assert not written_pages.learn_written_pages(proc, [trial_of(5), lambda report: None])
if not ranges:
    print("none")
    sys.exit()
mine = {(at - start) // PAGE for first, length in ranges for at in range(first, first + length, PAGE)
        if start <= at < start + len(memory)}
assert mine == set(written), mine ^ set(written)
assert sum(length for _, length in ranges) < (len(written) + 300) * PAGE
assert set(memory[:]) == set(b"x")
print("found")
"""


def test_the_pages_that_all_trial_jobs_write_are_found():
    run = subprocess.run([sys.executable, "-c", SCRIPT, ROOT], capture_output=True, text=True)
    if run.stdout == "none\n":
        pytest.skip("this host does not show a process's pages")
    assert run.stdout == "found\n", run.stderr
