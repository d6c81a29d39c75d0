"""Code on huge pages and in few mappings, which forks inherit, is the same code, and still not writable."""

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


JOINED = """
import decimal, json, math, os, random, sys
sys.path.insert(0, sys.argv[1])
from berry.sandboxes.inside.fast_fork import code_pages

def library(name):
    return [m for m in code_pages.mapped(proc) if os.path.basename(m.path).startswith(name)]

proc = os.open("/proc", os.O_PATH)
before, count = library("math."), len(code_pages.mapped(proc))
last = before[-1]
code_pages.join(code_pages.mapped(proc))
after = library("math.")
assert sum(m.size for m in after) == sum(m.size for m in before), (before, after)
assert last in after, (before, after)
assert math.sqrt(random.Random(1).random()) > 0 and decimal.Decimal(json.loads("2.5")) * 2 == 5
print(len(before) - len(after), count - len(code_pages.mapped(proc)) > 10)
"""


def test_code_and_constants_of_a_library_are_one_mapping():
    run = subprocess.run([sys.executable, "-c", JOINED, ROOT], capture_output=True, text=True)
    assert run.stdout == "2 True\n", run.stderr


def test_code_on_huge_pages_is_the_same_code():
    run = subprocess.run([sys.executable, "-c", ENLARGED, ROOT], capture_output=True, text=True)
    assert run.stdout == "ok\n", run.stderr


INHERITED = """
import os, resource, sys
sys.path.insert(0, sys.argv[1])
from berry.sandboxes.inside.fast_fork import code_pages

def faults():
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid == 0:
        sorted(str(i) for i in range(1000))
        os.write(sending, str(resource.getrusage(resource.RUSAGE_SELF).ru_minflt).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    return int(os.read(receiving, 20))

def protections():
    lines = [line.split() for line in open("/proc/self/maps")]
    return {line[1] for line in lines if len(line) > 5 and os.path.basename(line[5]).startswith(("libpython", "libc."))}

proc = os.open("/proc", os.O_PATH)
found = code_pages.programs(proc)
assert found and all(not m.protection & code_pages.WRITE for m in found), found
faults()
before, kinds = faults(), protections()
code_pages.inherit(found)
assert protections() == kinds, (kinds, protections())
print(before, faults())
"""


def test_forks_inherit_the_pages_of_programs():
    run = subprocess.run([sys.executable, "-c", INHERITED, ROOT], capture_output=True, text=True, check=True)
    before, after = map(int, run.stdout.split())
    assert after < before - 5, (before, after)
