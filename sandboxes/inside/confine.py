"""Confines this process and executes another program in its place: for tools of the host that live long and are
spoken to over pipes, such as a proof assistant.

    options (JSON, argv[1]) ─► limits ─► no_new_privs, no capabilities ─► landlock ─► seccomp ─► exec

The program may read and execute what is listed and the system's shared libraries, make threads, and talk over the pipes
that it was given; it may write no file, open no socket and start no process, and of the system's commands and packages
it can read none but the interpreter that its own first line names. Where the host lacks the minimum it is not started,
unless the options say `isolation: none`.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any, NoReturn

from berry.sandboxes.jail import landlock, plan, rlimits, seccomp, syscalls, visible

CONFINING_FAILED = 125
"""Exit status of a program that never began; standard error says why."""
_MAX_FILES = 1024
_MAX_STDERR_BYTES = 1 << 20


def main() -> NoReturn:
    """Reads the options, confines this process and executes the program; exits with CONFINING_FAILED on failure."""
    options: dict[str, Any] = json.loads(sys.argv[1])
    try:
        _limit(options["cpu_s"])
        if options["isolation"] != "none":
            _confine([*options["readable"], options["argv"][0], *_interpreter(options["argv"][0])])
        os.execve(options["argv"][0], options["argv"], options["env"])
    except (OSError, ValueError) as fault:
        os.write(2, f"{fault}\n".encode())
    os._exit(CONFINING_FAILED)


def _limit(cpu_s: int) -> None:
    rlimits.apply_static()
    rlimits.lock_no_memory()
    for which, value in (
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_FSIZE, _MAX_STDERR_BYTES),
        (resource.RLIMIT_NOFILE, _MAX_FILES),
    ):
        _, hard = resource.getrlimit(which)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def _interpreter(program: str) -> list[str]:
    """Finds what the first line of a script names, by its own path and by where links lead; nothing for a binary."""
    with open(program, "rb") as file:
        first = file.readline(512)
    words = first[2:].split() if first.startswith(b"#!") else []
    return [os.fsdecode(path) for path in {words[0], os.path.realpath(words[0])}] if words else []


def _confine(readable: list[str]) -> None:
    level = landlock.abi()
    if not level or not seccomp.available():
        raise OSError("this host has no landlock (Linux 5.13 or newer) or no seccomp filters, which the jail needs")
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    syscalls.no_capabilities()()
    rules = [(device, landlock.READ_FILE | landlock.WRITE_FILE) for device in plan.DEVICES]
    rules += [(path, landlock.READ_EXECUTE) for path in (*visible.shared_libraries(), *readable)]
    landlock.Ruleset(rules, level=level).restrict()
    seccomp.build("program", signals_contained=level >= plan.SIGNALS_LEVEL).load()
