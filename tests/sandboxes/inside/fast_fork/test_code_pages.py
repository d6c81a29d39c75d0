"""Code on huge pages is the same code, and still not writable."""

from __future__ import annotations

import subprocess
import sys

from berry.sandboxes.host.template import ROOT

ENLARGED = """
import hashlib, os, sys
sys.path.insert(0, sys.argv[1])
from berry.sandboxes.inside.fast_fork import code_pages

proc = os.open("/proc", os.O_PATH)
start, end = code_pages._code(proc)
before = hashlib.sha256(code_pages.ctypes.string_at(start, end - start)).digest()
done = code_pages.enlarge(proc)
assert hashlib.sha256(code_pages.ctypes.string_at(start, end - start)).digest() == before
inside = [line.split() for line in open("/proc/self/maps") if start <= int(line.split("-")[0], 16) < end]
assert all("w" not in fields[1] for fields in inside), inside
if done:
    assert any(fields[1] == "r-xp" and len(fields) == 5 for fields in inside), inside
    assert not code_pages.enlarge(proc)
assert eval("sum(i * i for i in range(1000))") == 332833500
print("ok")
"""


def test_code_on_huge_pages_is_the_same_code():
    run = subprocess.run([sys.executable, "-c", ENLARGED, ROOT], capture_output=True, text=True)
    assert run.stdout == "ok\n", run.stderr
