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


def test_new_objects_of_a_fork_lie_side_by_side():
    run = subprocess.run([sys.executable, "-c", SCRIPT, ROOT], capture_output=True, text=True)
    before, after = map(int, run.stdout.split())
    assert before > 1000, run.stdout
    assert after < before / 3, run.stdout
