"""The languages besides Python, one row each: what turns a source file into output."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from berry.sandboxes.base import MIB, Language, Limits
from berry.sandboxes.jail.seccomp import Kind

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class Row:
    """`compile` and `run` are commands; `{memory_mib}` in them is the limit. An empty `run` means the
    compiled binary itself. `reserve_bytes` is what the runtime itself takes of the memory limit."""

    source: str
    run: tuple[str, ...]
    kind: Kind
    compile: tuple[str, ...] = ()
    reserve_bytes: int = 0
    files: int = 0
    """Descriptors that the runtime itself needs."""
    parse: tuple[str, ...] = ()
    """For what has no compiler: reads the source without running it, and fails where it does not parse."""


BINARY = "prog"
ROWS: dict[Language, Row] = {
    "cpp": Row("main.cpp", (), "program",
               ("g++", "-std=c++17", "-O2", "-pipe", "-o", BINARY, "main.cpp"), 16 * MIB),
    "javascript": Row("main.js", ("node", "--max-old-space-size={memory_mib}", "--stack-size=4000", "main.js"),
                      "program", (), 1024 * MIB, files=64, parse=("node", "--check", "main.js")),
    "shell": Row("main.sh", ("sh", "main.sh"), "tools", (), 16 * MIB, parse=("sh", "-n", "main.sh")),
}  # fmt: skip


def find_tool(name: str, directories: tuple[str, ...]) -> str | None:
    """Absolute path of a compiler or interpreter; `directories` come before the system's."""
    found = shutil.which(name, path=os.pathsep.join((*directories, SYSTEM_PATH)))
    return None if found is None else os.path.abspath(found)


def missing_tools(language: Language, directories: tuple[str, ...]) -> list[str]:
    """Names of the tools that a language needs and this host lacks."""
    if language == "python":
        return []
    row = ROWS[language]
    needed = [command[0] for command in (row.compile, row.run) if command]
    return [name for name in needed if find_tool(name, directories) is None]


def command(template: tuple[str, ...], limits: Limits, directories: tuple[str, ...]) -> list[str]:
    """A row's command with its tool's path and the limits filled in."""
    tool = find_tool(template[0], directories)
    assert tool is not None, "missing_tools was asked first"
    memory_mib = max(16, limits.memory_bytes // MIB)
    return [tool, *(part.format(memory_mib=memory_mib) for part in template[1:])]
