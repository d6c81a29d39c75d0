"""The REPL's process: found, jailed, limited. A program that speaks the protocol stands in for Lean's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from berry.sandboxes.jail import landlock, visible
from berry.verifiers.base import Reason
from berry.verifiers.proofs import lean_install
from berry.verifiers.proofs.lean_install import LeanInstall, NoLean, find
from berry.verifiers.proofs.lean_repl import LeanRepl, ReplDied, open_process
from berry.verifiers.specs.union import FormalSpec

pytestmark = pytest.mark.skipif(not landlock.abi(), reason="this host has no landlock")

REPL = """#!{python} -IS
import json, os, socket, sys

def attempt(word):
    if word == "reads":
        open("{secret}").read()
    elif word.startswith("/"):
        open(word, "rb").read(1)
    elif word == "writes":
        open("{project}/new", "w")
    elif word == "connects":
        socket.socket()
    elif word == "spawns":
        os._exit(0) if os.fork() == 0 else os.wait()
    elif word == "signals":
        os.kill(os.getppid(), 0)
    elif word == "grows":
        kept = []
        while True:
            kept.append(b"x" * (1 << 20))
    elif word == "spins":
        while True:
            pass

environments = 0
for line in sys.stdin:
    if not line.strip():
        continue
    command = json.loads(line)["cmd"]
    said = "'t' does not depend on any axioms" if command.startswith("#print axioms") else "done"
    try:
        attempt(command)
    except OSError as e:
        said = "refused"
    message = {{"severity": "error" if "absurd" in command else "info", "data": said}}
    print(json.dumps({{"env": environments, "messages": [message], "path": os.environ.get("LEAN_PATH")}}))
    print(flush=True)
    environments += 1
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: Any) -> Iterator[Path]:
    """A project folder, with a toolchain on the path beside it."""
    tools, project, secret = tmp_path / "bin", tmp_path / "project", tmp_path / "secret"
    tools.mkdir()
    project.mkdir()
    secret.write_text("expected answers")
    python = os.path.realpath(sys.executable)
    scripts = {
        "repl": REPL.format(python=python, secret=secret, project=project),
        "lean": f"#!/bin/sh\necho {sys.base_prefix}\n",
        "lake": f'#!/bin/sh\n[ "$PWD" = {project} ] || exit 3\necho LEAN_SYSROOT={sys.base_prefix}\n'
        "echo LEAN_PATH=/nowhere/lib:$PWD/lib\necho HOME=/root\n",
    }
    for name, text in scripts.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    yield project
    lean_install._found.clear()


async def opened(project: Path | None, **limits: Any) -> LeanRepl:
    home = await find("repl", str(project) if project else None)
    asked: dict[str, Any] = {"cpu_s": 5, "memory_mb": 512} | limits
    return LeanRepl(await open_process(home, **asked))


async def test_lean_is_found_with_and_without_a_project(project: Path) -> None:
    alone = await find("repl", None)
    assert alone.env == {"LEAN_SYSROOT": sys.base_prefix}
    inside = await find("repl", str(project))
    assert inside.env == {"LEAN_SYSROOT": sys.base_prefix, "LEAN_PATH": f"/nowhere/lib:{project}/lib"}
    assert str(project) in inside.readable
    repl = await opened(project)
    assert (await repl.command("x", env=None))["path"] == inside.env["LEAN_PATH"]
    await repl.close()


async def test_the_repl_can_only_read_lean_and_answer(project: Path) -> None:
    repl = await opened(project)
    said = {}
    for word in ("answers", "reads", "writes", "connects", "spawns", "signals"):
        said[word] = (await repl.command(word, env=None))["messages"][0]["data"]
    await repl.close()
    assert said.pop("answers") == "done"
    assert set(said.values()) == {"refused"}, said
    assert not (project / "new").exists()


@pytest.mark.skipif(sys.base_prefix in ("/usr", "/usr/local"), reason="the stand-in's own library is the system's")
async def test_of_the_system_the_repl_sees_shared_libraries_alone(project: Path) -> None:
    closed = ["/usr/bin/env", "/usr/share/common-licenses", "/etc/passwd", "/usr/lib/os-release", "/proc/self/maps"]
    closed += [os.path.join(path, name) for path in visible.packages_of_the_system() for name in os.listdir(path)[:3]]
    repl = await opened(project)
    for path in filter(os.path.exists, closed):
        assert (await repl.command(path, env=None))["messages"][0]["data"] == "refused", path
    await repl.close()


@pytest.mark.parametrize(("word", "reason"), [("grows", Reason.MEMORY_LIMIT), ("spins", Reason.CPU_LIMIT)])
async def test_a_repl_over_its_limits_is_dead(project: Path, monkeypatch: Any, word: str, reason: Reason) -> None:
    monkeypatch.setattr("berry.verifiers.proofs.lean_repl.COMMANDS_A_REPL", 1)
    repl = await opened(project, cpu_s=0 if word == "spins" else 60, memory_mb=256)
    with pytest.raises(ReplDied) as died:
        await repl.command(word, env=None)
    await repl.close()
    assert died.value.reason is reason


async def test_a_repl_that_can_not_be_executed_is_a_missing_tool(project: Path) -> None:
    (project.parent / "bin" / "repl").write_text("#!/nowhere/interpreter\n")
    repl = await opened(project)
    with pytest.raises(ReplDied) as died:
        await repl.command("x", env=None)
    await repl.close()
    assert died.value.reason is Reason.MISSING_TOOL
    assert "No such file" in str(died.value)


async def test_what_is_missing_is_named(project: Path) -> None:
    with pytest.raises(NoLean, match="no_such_repl"):
        await find("no_such_repl", None)
    with pytest.raises(NoLean, match="no folder"):
        await find("repl", str(project / "none"))
    (project.parent / "bin" / "lake").write_text("#!/bin/sh\necho no manifest >&2\nexit 1\n")
    with pytest.raises(NoLean, match="no manifest"):
        await find("repl", str(project))


def test_a_proof_goes_all_the_way_through_the_jail(project: Path, check: Any) -> None:
    spec = FormalSpec(system="lean", statement="theorem t : 1 + 1 = 2", header="import Init")
    assert check(spec, "by rfl").reason is Reason.CORRECT
    assert check(spec, "by exact absurd").reason is Reason.COMPILE_ERROR
    assert isinstance(lean_install._found["repl", None], LeanInstall)
