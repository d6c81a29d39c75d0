"""Lists the languages besides Python: the commands that turn a source file into output."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from berry.sandboxes.base import MIB, Language, Limits
from berry.sandboxes.jail.seccomp import Kind

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


@dataclass(frozen=True, slots=True)
class LanguageCommands:
    """How a language is run: `compile` and `run` are commands; `{memory_mib}` in them is the limit. An empty `run`
    means the compiled binary itself. `reserve_bytes` is what the runtime itself takes of the memory limit."""

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
COMMANDS: dict[Language, LanguageCommands] = {
    "cpp": LanguageCommands(
        source="main.cpp", run=(), kind="program",
        compile=("g++", "-std=c++17", "-O2", "-pipe", "-o", BINARY, "main.cpp"), reserve_bytes=16 * MIB,
    ),
    "javascript": LanguageCommands(
        source="main.js", run=("node", "--max-old-space-size={memory_mib}", "--stack-size=4000", "main.js"),
        kind="program", reserve_bytes=1024 * MIB, files=64, parse=("node", "--check", "main.js"),
    ),
    "shell": LanguageCommands(
        source="main.sh", run=("sh", "main.sh"), kind="tools", reserve_bytes=16 * MIB, parse=("sh", "-n", "main.sh"),
    ),
}  # fmt: skip


def find_tool(name: str, directories: tuple[str, ...]) -> str | None:
    """Finds the absolute path of a compiler or interpreter; `directories` come before the system's."""
    path = shutil.which(name, path=os.pathsep.join((*directories, SYSTEM_PATH)))
    return None if path is None else os.path.abspath(path)


def missing_tools(language: Language, directories: tuple[str, ...]) -> list[str]:
    """Lists the tools that a language needs and this host lacks."""
    if language == "python":
        return []
    row = COMMANDS[language]
    needed = [command[0] for command in (row.compile, row.run) if command]
    return [name for name in needed if find_tool(name, directories) is None]


def command(template: tuple[str, ...], limits: Limits, directories: tuple[str, ...]) -> list[str]:
    """Fills in a command with its tool's path and the limits."""
    tool = find_tool(template[0], directories)
    assert tool is not None, "missing_tools was asked first"
    memory_mib = max(16, limits.memory_bytes // MIB)
    return [tool, *(part.format(memory_mib=memory_mib) for part in template[1:])]
