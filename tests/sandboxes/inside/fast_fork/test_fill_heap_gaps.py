"""Objects of forks lie side by side once the gaps between the parent's are filled: fewer pages are copied."""

from __future__ import annotations

import subprocess
import sys

from berry.sandboxes.host.template import ROOT

SCRIPT = """
import os, resource, sys
sys.path.insert(0, sys.argv[1])
from berry.sandboxes.inside.fast_fork import fill_heap_gaps

kept = [[bytes(200) for _ in range(20_000)], [bytes(2000) for _ in range(2000)]]
for objects in kept:
    del objects[::16]  # one gap on each page or so

def faults():
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        fresh = [bytes(200) for _ in range(1000)], [bytes(2000) for _ in range(100)]
        os.write(sending, str(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return int(os.read(receiving, 20))

before = faults()
fill_heap_gaps.fill()
print(before, faults())
"""
STRETCHES = """
import re, sys
sys.path.insert(0, sys.argv[1])
from berry.sandboxes.inside.fast_fork import fill_heap_gaps

small, large = [b"%50d" % i for i in range(200_000)], [b"%4000d" % i for i in range(2000)]
del small[50_000:150_000], large[500:1500]  # whole pools of the interpreter, and 4 MB of the C library

def present():
    return int(re.search("Anonymous: +([0-9]+)", open("/proc/self/smaps_rollup").read())[1])

before = present()
pages = fill_heap_gaps.fill()
print(pages * 4, before - present())
fresh = [b"%50d" % i for i in range(150_000)], [b"%4000d" % i for i in range(1000)]
assert small == [b"%50d" % i for i in (*range(50_000), *range(150_000, 200_000))]
assert large == [b"%4000d" % i for i in (*range(500), *range(1500, 2000))]
assert fresh == ([b"%50d" % i for i in range(150_000)], [b"%4000d" % i for i in range(1000)])
"""


def test_new_objects_of_a_fork_lie_side_by_side():
    run = subprocess.run([sys.executable, "-c", SCRIPT, ROOT], capture_output=True, text=True)
    before, after = map(int, run.stdout.split())
    assert before > 1000, run.stdout
    assert after < before / 3, run.stdout


def test_pages_that_hold_nothing_else_are_given_back():
    run = subprocess.run([sys.executable, "-c", STRETCHES, ROOT], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    given_back, fewer = map(int, run.stdout.split())
    assert given_back > 3500, run.stdout
    assert fewer > 0.8 * given_back, run.stdout
