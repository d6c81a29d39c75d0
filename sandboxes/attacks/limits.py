# ruff: noqa: E501 (one attack a line)
"""Lists programs that use too much of something, and the outcome that each must have."""

from __future__ import annotations

from berry.sandboxes.base import JobOutcome

ENDED = (JobOutcome.PROCESS_LIMIT, JobOutcome.RUNTIME_ERROR, JobOutcome.MEMORY_LIMIT)
"""How a job may end that starts too many processes: stopped, or unable to start more."""
OVER = {
    "spin": ("while True: pass", JobOutcome.CPU_LIMIT),
    "spin_in_threads": (
        "import threading\nfor _ in range(4): threading.Thread(target=lambda: all(True for _ in iter(int, 1))).start()",
        JobOutcome.CPU_LIMIT,
    ),
    "spin_in_c": ("9 ** 9 ** 9", JobOutcome.CPU_LIMIT),
    "spin_in_a_regular_expression": ("import re\nre.match('(a+)+$', 'a' * 60 + 'b')", JobOutcome.CPU_LIMIT),
    "spin_deaf_to_signals": (
        "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except Exception: pass\n"
        "while True: pass",
        JobOutcome.CPU_LIMIT,
    ),
    "spin_at_exit": ("import atexit\n@atexit.register\ndef f():\n    while True: pass", JobOutcome.CPU_LIMIT),
    "sleep": ("import time; time.sleep(3600)", JobOutcome.WALL_LIMIT),
    "sleep_deaf_to_signals": (
        "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
        "time.sleep(3600)",
        JobOutcome.WALL_LIMIT,
    ),
    "wait_for_input_that_never_comes": ("import os\nr, w = os.pipe()\nos.read(r, 1)", JobOutcome.WALL_LIMIT),
    "thread_that_never_ends": (
        "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,)).start()",
        JobOutcome.WALL_LIMIT,
    ),
    "eat_memory": ("a = []\nwhile True: a.append(bytearray(1 << 20))", JobOutcome.MEMORY_LIMIT),
    "eat_memory_at_once": ("a = bytearray(1 << 40)", JobOutcome.MEMORY_LIMIT),
    "eat_memory_by_mapping": (
        "import mmap\na = []\nwhile True: a.append(mmap.mmap(-1, 1 << 24))",
        (JobOutcome.MEMORY_LIMIT, JobOutcome.RUNTIME_ERROR),
    ),
    "eat_memory_by_a_string": ("a = 'x'\nwhile True: a += a", JobOutcome.MEMORY_LIMIT),
    "flood_stdout": ("while True: print('x' * 100000)", JobOutcome.OUTPUT_LIMIT),
    "flood_stdout_with_a_gigabyte": ("import os\nfor _ in range(1024): os.write(1, bytes(1 << 20))", JobOutcome.OUTPUT_LIMIT),
    "flood_stderr": ("import sys\nwhile True: sys.stderr.write('x' * 100000)", JobOutcome.OUTPUT_LIMIT),
    "flood_stdout_deaf_to_signals": (
        "import os, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nwhile True:\n    try: os.write(1, bytes(65536))\n"
        "    except OSError: pass",
        JobOutcome.OUTPUT_LIMIT,
    ),
    "stretch_stdout": ("import os\nos.ftruncate(1, 1 << 40)", (JobOutcome.OUTPUT_LIMIT, JobOutcome.DISK_LIMIT)),
    "fill_the_disk_with_one_file": ("f = open('a', 'wb')\nwhile True: f.write(bytes(65536))", JobOutcome.DISK_LIMIT),
    "fill_the_disk_with_many_files": (
        "i = 0\nwhile True:\n    i += 1\n    open(str(i), 'wb').write(bytes(100000))",
        JobOutcome.DISK_LIMIT,
    ),
    "fill_the_disk_with_empty_files": ("i = 0\nwhile True:\n    i += 1\n    open(str(i), 'w').close()", JobOutcome.DISK_LIMIT),
    "fill_the_disk_with_directories": (
        "import os\nwhile True:\n    os.mkdir('d'); os.chdir('d')",
        JobOutcome.DISK_LIMIT,
    ),
    "fill_the_disk_with_files_without_a_name": (
        "import os, signal, time\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nheld = []\ntry:\n    while len(held) < 50:\n"
        "        held.append(os.open('a', os.O_CREAT | os.O_RDWR)); os.unlink('a')\n        try:\n"
        "            while True: os.write(held[-1], bytes(1 << 17))\n        except OSError as e:\n"
        "            if e.errno == 28: raise\nexcept OSError: pass\ntime.sleep(3600)",
        JobOutcome.DISK_LIMIT,
    ),
    "start_threads": (
        "import threading, time\nthreading.stack_size(1 << 16)\nwhile True:\n"
        "    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()",
        JobOutcome.PROCESS_LIMIT,
    ),
    "open_files": ("a = []\nwhile True: a.append(open('/dev/null'))", JobOutcome.RUNTIME_ERROR),
    "recurse": ("def f(): f()\nf()", JobOutcome.RUNTIME_ERROR),
    "recurse_in_c": (
        "import sys\nsys.setrecursionlimit(10**9)\na, b = [], []\nfor _ in range(7 * 10**5): a, b = [a], [b]\na == b",
        (JobOutcome.RUNTIME_ERROR, JobOutcome.MEMORY_LIMIT),
    ),
    "parse_deep_nesting": (
        "try: eval('(' * 10**6)\nexcept SyntaxError: raise ValueError from None",
        (JobOutcome.RUNTIME_ERROR, JobOutcome.MEMORY_LIMIT),
    ),
}  # fmt: skip
"""Source and outcome."""

SHARED_MEMORY = r"""
#include <sys/mman.h>
#include <unistd.h>
#include <cstdio>
#include <cstring>
int main() {
  for (int n = 0; n < 1024; n++) {
    void *p = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return 1;
    memset(p, 1, 1 << 20);
  }
  puts("DONE"); fflush(stdout); sleep(3600);
}
"""
"""C++ that takes memory which RLIMIT_DATA does not count."""

PAGE_TABLES = r"""
#include <sys/mman.h>
#include <unistd.h>
#include <cstdio>
int main() {
  const unsigned long size = 1ul << 39, step = 1ul << 21;
  char *p = (char *)mmap(0, size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return 1;
  madvise(p, size, MADV_NOHUGEPAGE);
  for (unsigned long at = 0; at < size; at += step) (void)*(volatile char *)(p + at);
  puts("DONE"); fflush(stdout); sleep(3600);
}
"""
"""C++ that reads a little of a mapping everywhere: it holds nothing but the kernel's page tables, a gigabyte of them."""

MAPPED_FILES = r"""
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cstdio>
#include <cstring>
int main() {
  for (int n = 0; n < 64; n++) {
    int fd = open("a", O_CREAT | O_RDWR, 0600);
    unlink("a");
    if (fd < 0 || ftruncate(fd, 1 << 20)) return 1;
    void *p = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) return 1;
    close(fd);
    memset(p, 1, 1 << 20);
  }
  sleep(3600);
}
"""
"""C++ that fills the disk with files which it has removed, closed and still maps."""

SOCKETS = r"""
cat > a.pl <<'END'
use Socket;
use IO::Handle;
my @held;
while (socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, PF_UNSPEC)) {
  push @held, $a, $b;
  for my $s ($a, $b) { $s->blocking(0); while (syswrite($s, "x" x 65536)) { } }
}
sleep 3600;
END
for i in $(seq 20); do perl a.pl & done
command -v perl || exec tail /dev/zero
wait
"""
"""Shell whose processes fill socket buffers, 13 MiB each; memory of their own where there is no perl."""

SHELL_OVER = {
    "fill_socket_buffers_in_children": (SOCKETS, (JobOutcome.MEMORY_LIMIT,)),
    "fork_bomb": ("b() { b | b & }\nb; b; sleep 3600", ENDED),
    "fork_bomb_that_waits": ("b() { b & b & wait; }\nb; sleep 3600", ENDED),
    "chain_of_processes": ("echo 'sh a & exit' > a; sh a; sleep 3600", ENDED),
    "spin_in_children": ("for i in 1 2 3 4; do while :; do :; done & done; wait", (JobOutcome.CPU_LIMIT,)),
    "spin_in_orphans": ("(setsid sh -c 'while :; do :; done' &) ; sleep 3600", (JobOutcome.CPU_LIMIT,)),
    "sleep_in_many_children": ("for i in $(seq 400); do sleep 3600 & done; wait", ENDED),
    "eat_memory_in_children": (
        "for i in 1 2 3 4 5 6 7 8; do (x=$(head -c 60000000 /dev/zero | tr '\\0' x); sleep 3600) & done; wait",
        (JobOutcome.MEMORY_LIMIT,),
    ),
}
"""Source in shell and outcomes: what its processes take together counts."""
