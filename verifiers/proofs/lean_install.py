"""Finds Lean on this host: what its REPL must be told, and what it must be able to read.

    a project ─► `lake env` (outside the jail, once) ─► LEAN_SYSROOT, LEAN_PATH       none ─► `lean --print-prefix`

The REPL would ask `lean` itself, but starts no process in the jail.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path

_TOLD = ("LEAN_SYSROOT", "LEAN_PATH", "LEAN_SRC_PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
ASK_S = 60.0


class NoLean(RuntimeError):
    """The REPL, the project or the toolchain is not there; the text says what to do."""


@dataclass(frozen=True, slots=True)
class LeanInstall:
    """A Lean installation: the REPL, the project if any, environment variables, and folders that it must read."""

    repl: str
    project: str | None
    env: dict[str, str] = field(default_factory=dict)
    readable: tuple[str, ...] = ()


_found: dict[tuple[str, str | None], LeanInstall] = {}


async def find(repl: str, project: str | None) -> LeanInstall:
    """What was found the first time. Raises NoLean."""
    if (repl, project) not in _found:
        _found[repl, project] = await _look(repl, project)
    return _found[repl, project]


async def _look(repl: str, project: str | None) -> LeanInstall:
    where = shutil.which(repl)
    if where is None:
        raise NoLean(f"{repl} (the Lean REPL) is not on the path: set lean_repl to its executable")
    executable = str(Path(where).resolve())
    if project is not None and not Path(project).is_dir():
        raise NoLean(f"lean_project {project} is no folder")
    folder = None if project is None else str(Path(project).resolve())
    if folder is not None:
        lines = (await _asked("lake", "env", cwd=folder)).splitlines()
        found = dict(line.split("=", 1) for line in lines if "=" in line)
        env = {name: found[name] for name in _TOLD if found.get(name)}
    else:
        env = {"LEAN_SYSROOT": (await _asked("lean", "--print-prefix", cwd=None)).strip()}
    paths = [str(Path(executable).parent), *([folder] if folder else [])]
    paths += [part for value in env.values() for part in value.split(os.pathsep) if part]
    return LeanInstall(executable, folder, env, tuple(dict.fromkeys(str(Path(p).resolve()) for p in paths)))


async def _asked(*command: str, cwd: str | None) -> str:
    tool = shutil.which(command[0])
    if tool is None:
        raise NoLean(f"{command[0]} (of the Lean toolchain) is not on the path")
    process = await asyncio.create_subprocess_exec(
        tool, *command[1:], cwd=cwd, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, errors = await asyncio.wait_for(process.communicate(), ASK_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise NoLean(f"`{' '.join(command)}` did not end within {ASK_S:g} s") from None
    if process.returncode:
        raise NoLean(f"`{' '.join(command)}` failed: {errors.decode('utf-8', 'replace').strip()[-300:]}")
    return out.decode("utf-8", "replace")
