"""Speaks the Lean REPL's protocol over any transport, such as a confined process.

    {"cmd": "…", "env": 0}⏎⏎  ─►  {"env": 1, "messages": [{"severity": "error", "data": "…"}], "sorries": [ … ]}⏎⏎

Source: the README of leanprover-community/repl.
"""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Literal, Protocol

from berry.sandboxes.jobs.tool import ConfinedTool, open_confined
from berry.verifiers.base import Reason
from berry.verifiers.proofs.lean_install import LeanInstall

MAX_ANSWER_BYTES = 8 << 20
COMMANDS_A_REPL = 100


class ReplDied(RuntimeError):
    """The process ended or spoke no JSON; `reason` says whose fault that was."""

    def __init__(self, text: str, reason: Reason) -> None:
        super().__init__(text)
        self.reason = reason


class Transport(Protocol):
    """Carries commands to one REPL and its answers back."""

    async def send(self, text: str) -> None:
        """Write one command; raises ReplDied."""
        ...

    async def receive(self) -> str:
        """One answer, up to the blank line; raises ReplDied at the end."""
        ...

    async def close(self) -> None:
        """End the REPL."""
        ...


class LeanRepl:
    """One REPL. Environments are numbers that stay valid, so a header is read once."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._headers: dict[str, dict[str, Any]] = {}
        self.commands = 0

    async def close(self) -> None:
        """End the REPL."""
        await self._transport.close()

    async def header(self, header: str) -> dict[str, Any]:
        """The answer to the header, from memory after the first time; `{}` for an empty one."""
        if not header.strip():
            return {}
        if header not in self._headers:
            self._headers[header] = await self.command(header, env=None)
        return self._headers[header]

    async def command(self, source: str, *, env: int | None) -> dict[str, Any]:
        """The answer to one command in environment `env`; None: a new one. Raises ReplDied."""
        self.commands += 1
        question: dict[str, Any] = {"cmd": source} if env is None else {"cmd": source, "env": env}
        await self._transport.send(json.dumps(question, ensure_ascii=False) + "\n\n")
        text = await self._transport.receive()
        try:
            answer = json.loads(text)
        except ValueError as fault:
            raise ReplDied(f"not JSON: {text[:200]!r}", Reason.SANDBOX_FAULT) from fault
        if not isinstance(answer, dict):
            raise ReplDied(f"not an object: {text[:200]!r}", Reason.SANDBOX_FAULT)
        return answer


class WarmRepls:
    """REPLs kept for the next proof with their headers read; each is lent to one proof at a time."""

    def __init__(self) -> None:
        self._idle: list[LeanRepl] = []

    @contextlib.asynccontextmanager
    async def lend(self, fresh: Callable[[], Awaitable[Transport]]) -> AsyncIterator[LeanRepl]:
        """A warm REPL, or a new one; not kept after an error or its share of commands."""
        repl = self._idle.pop() if self._idle else LeanRepl(await fresh())
        try:
            yield repl
        except BaseException:
            await repl.close()
            raise
        if repl.commands < COMMANDS_A_REPL:
            self._idle.append(repl)
        else:
            await repl.close()

    async def close(self) -> None:
        """End the REPLs that are not lent."""
        while self._idle:
            await self._idle.pop().close()


class _Process:
    """A REPL in the jail."""

    def __init__(self, confined: ConfinedTool) -> None:
        self._confined = confined
        self._process = confined.process

    async def send(self, text: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(text.encode())
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError) as fault:
            raise await self._died() from fault

    async def receive(self) -> str:
        assert self._process.stdout is not None
        lines: list[bytes] = []
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError as fault:
                raise ReplDied("an answer too long", Reason.OUTPUT_LIMIT) from fault
            if not line:
                raise await self._died()
            if line.strip():
                lines.append(line)
            elif lines:
                return b"".join(lines).decode("utf-8", "replace")

    async def _died(self) -> ReplDied:
        status = await self._process.wait()
        if self._confined.never_began:
            text = f"the REPL can't be confined or started: {self._confined.stderr_tail()}"
            return ReplDied(text, Reason.MISSING_TOOL)
        if self._confined.over_memory:
            return ReplDied("over its memory", Reason.MEMORY_LIMIT)
        if status in (-signal.SIGXCPU, -signal.SIGKILL):
            return ReplDied(f"killed by signal {-status}", Reason.CPU_LIMIT)
        if status == -signal.SIGSYS:
            return ReplDied("a forbidden system call", Reason.VIOLATION)
        text = f"the REPL ended with status {status}: {self._confined.stderr_tail()[-200:]}"
        return ReplDied(text, Reason.SANDBOX_FAULT)

    async def close(self) -> None:
        await self._confined.close()


async def open_process(
    home: LeanInstall, *, cpu_s: float, memory_mb: int, isolation: Literal["auto", "none"] = "auto"
) -> Transport:
    """A REPL in the jail, with limits of its own; `cpu_s` is of one proof, and each has its wall time besides."""
    confined = await open_confined(
        [home.repl],
        env=home.env,
        cwd=home.project,
        readable=home.readable,
        cpu_s=COMMANDS_A_REPL * (int(cpu_s) + 1),
        memory_bytes=memory_mb << 20,
        isolation=isolation,
        line_bytes=MAX_ANSWER_BYTES,
    )
    return _Process(confined)
