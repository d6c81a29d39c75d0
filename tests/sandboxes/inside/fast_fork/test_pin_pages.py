"""Pinned pages are copied by the fork: neither side traps when it writes to them, and both see only their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from berry.sandboxes.host.template import ROOT

SCRIPT = """
import ctypes, mmap, os, resource, sys
sys.path.insert(0, sys.argv[1])
from berry.sandboxes.inside.fast_fork import pin_pages

PAGE, PAGES = 4096, 1500
memory = mmap.mmap(-1, PAGES * PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
memory.madvise(mmap.MADV_NOHUGEPAGE)
memory.write(b"x" * len(memory))
start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
pieces = [(start + i * PAGE, 2 * PAGE) for i in range(0, PAGES, 5)]

def traps_of_writing(what):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for at, size in pieces:
        for page in range(at - start, at - start + size, PAGE):
            memory[page : page + 1] = what
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def both():
    told, tell = os.pipe()
    on, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(on, 1)
        unchanged = memory[:].count(b"x")
        os.write(tell, f"{unchanged} {traps_of_writing(b'c')}".encode())
        os._exit(0)
    mine = traps_of_writing(b"p")
    os.write(go, b"g")
    os.waitpid(pid, 0)
    unchanged, its = map(int, os.read(told, 40).split())
    assert unchanged == len(memory), unchanged
    assert memory[:].count(b"c") == 0
    traps_of_writing(b"x")
    return mine, its

written = 2 * len(pieces)
mine, its = both()
assert mine >= written / 2 and mine + its >= written, (mine, its)
assert not pin_pages.pin([])
limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)
if os.geteuid() != 0:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, limit[1]))
    assert not pin_pages.pin(pieces)
    resource.setrlimit(resource.RLIMIT_MEMLOCK, limit)
if not pin_pages.pin(pieces):
    print("none")
    sys.exit()
mine, its = both()
assert mine < written / 4 and its < written / 4, (mine, its)
print("pinned")
"""


def test_pinned_pages_are_copied_by_the_fork():
    run = subprocess.run([sys.executable, "-c", SCRIPT, ROOT], capture_output=True, text=True)
    if run.stdout == "none\n":
        pytest.skip("this host has no io_uring, or allows no locked memory")
    assert run.stdout == "pinned\n", run.stderr
