"""Runs a job in a process that is already confined; the host treats all that it writes as claims.

The job comes over descriptor 3. One frame opens it (source, mode, limits); calls and snippets follow as frames, results
go back as frames: `[outcome, value, error type, error, stdout bytes so far, stderr bytes so far, CPU seconds so far]`.
After the last result, or at the end of a program, the final frame follows: status, CPU seconds, peak bytes, outcome.
"""

from __future__ import annotations

import atexit
import builtins
import errno
import gc
import itertools
import marshal
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from berry.sandboxes import wire
from berry.sandboxes.inside import judge, stages
from berry.sandboxes.inside.callables import Callables, exception
from berry.sandboxes.inside.channel import JOB_FD, MAX_ERROR_CHARS, Channel, compile_source, describe, new_module
from berry.sandboxes.jail import rlimits

_cpu_s = time.process_time
_CHANGEABLE = frozenset({list, dict, set, deque})
"""Arguments that a function can change: those from the wire are of exact types."""
_MARSHAL_WITHOUT_REFERENCES = 2
"""The version in which the bytes of a value depend on its content alone, not on who else holds parts of it."""
_compile, _eval, _exec, _marshal = compile, eval, exec, marshal.dumps  # whatever the job makes of them


class ChildJail(Protocol):
    """What a child asks of its jail."""

    base_bytes: int

    def tasks(self, wanted: int) -> int:
        """See `plan.SlotJail.tasks`."""
        ...


def main(jail: ChildJail, kind: str, channel: Channel) -> NoReturn:
    """Waits for the job, then runs it to the end of the process."""
    job = channel.read_job()
    limits = job["limits"]
    tasks = jail.tasks(int(limits["threads"]) + (int(limits["processes"]) if kind == "tools" else 0))
    base_bytes = jail.base_bytes if kind == "python" else job["reserve"]
    limits["files"] += job.get("more_files", 0)
    rlimits.apply(limits, base_bytes=base_bytes, address_space=kind == "python", tasks=tasks)
    channel.reach(stages.BEGUN)
    gc.enable()
    if job["mode"] == "program":
        run_program(job["source"], channel)
    if job["mode"] == "exec":
        execute(job, channel)
    if job["mode"] == "judge":
        judge.run(job, channel)
    serve_calls(job, channel, limits["value_bytes"])
    channel.farewell(0, "ok")


def outcome_of(error: BaseException) -> str:
    """Names the outcome that an exception stands for."""
    if isinstance(error, MemoryError):
        return "memory_limit"
    if isinstance(error, PermissionError):
        return "violation"
    if isinstance(error, OSError) and error.errno in (errno.EFBIG, errno.ENOSPC, errno.EDQUOT):
        return "disk_limit"
    if isinstance(error, RuntimeError) and error.args == ("can't start new thread",):
        return "process_limit"
    return "runtime_error"


def execute(job: dict[str, Any], channel: Channel) -> NoReturn:
    """Writes the program's file and executes it in place of this process. The binary, if any, was sent behind standard
    input."""
    start, length = job["binary"]
    content = os.pread(0, length, start) if length else job["source"].encode("utf-8", "surrogatepass")
    if length:
        os.ftruncate(0, start)
    fd = os.open(job["file"], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o700)
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
    os.close(fd)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.set_inheritable(JOB_FD, False)  # noqa: FBT003
    try:
        os.execve(job["argv"][0], job["argv"], job["env"])
    except OSError as e:
        os.write(2, str(e).encode())
        channel.write(b"exec failed")
    os._exit(1)


def run_program(source: str, channel: Channel) -> NoReturn:
    """Runs the source as `__main__` and exits as an interpreter would."""
    status, outcome = 0, "ok"
    try:
        code = compile_source(source, "main.py")
        _exec(code, new_module("__main__").__dict__)
    except SystemExit as e:
        status = _exit_status(e.code)
    except SyntaxError as e:
        outcome = "compile_error" if e.filename in ("main.py", None) else "runtime_error"
        status = _print_error()
    except BaseException as e:  # noqa: BLE001 (the program's own error, reported as such)
        outcome = outcome_of(e)
        status = _print_error()
    try:
        threading = sys.modules.get("threading")
        if threading is not None:
            threading._shutdown()
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as e:  # noqa: BLE001
        outcome, status = outcome_of(e), 1
    channel.farewell(status, outcome)


def _exit_status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return int(code)
    sys.stderr.write(f"{code}\n")
    return 1


def _print_error() -> int:
    try:
        traceback.print_exc()
    except BaseException:  # noqa: BLE001 (a hostile exception; its status says enough)
        return 1
    return 1


def serve_calls(job: dict[str, Any], channel: Channel, value_bytes: int) -> None:
    """Executes the source, then answers as many frames as the job says, or until the host closes."""
    namespace = new_module(job["module"]).__dict__
    streams = (sys.stdout, sys.stderr)

    def answer(run: Callable[[], Any], send: Callable[[bytes], None] = channel.write) -> bool:
        outcome, value, error_type, error = "ok", None, None, None
        try:
            made = run()
            try:
                value = wire.pack(made)
            except wire.Unsupported:
                if not job.get("callables"):
                    raise
                value = wire.pack(callables.outgoing(made))
        except wire.Unsupported as e:
            outcome, (error_type, error) = "unsupported_value", describe(e)
        except SyntaxError as e:
            outcome, (error_type, error) = "compile_error", describe(e)
        except BaseException as e:  # noqa: BLE001 (the job's own error, reported as such)
            outcome, (error_type, error) = outcome_of(e), describe(e)
        body = wire.packed_bytes([outcome, value, error_type, error, *_written(streams)])
        if len(body) > value_bytes + 6 * MAX_ERROR_CHARS + 1000:
            outcome = "output_limit"
            error = f"a value of {len(body)} bytes, {value_bytes} allowed"
            body = wire.packed_bytes([outcome, None, None, error, *_written(streams)])
        send(body)
        return outcome == "ok"

    def load() -> None:
        _exec(compile_source(job["source"], "solution.py"), namespace)

    def test(source: str) -> None:
        builtins.__dict__.update(own_names)
        _exec(compile_source(source, "tests.py"), namespace)

    def back(number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        channel.write(wire.dumps(["back", number, callables.outgoing(args), callables.outgoing(kwargs)]))
        while (said := channel.read())[0] == "call":  # by the function that was asked for
            call(said, channel.write)
        if said[0] == "ok":
            return callables.incoming(said[1])
        raise exception(said[1], said[2], RuntimeError)

    def call(message: Any, send: Callable[[bytes], None]) -> None:
        _, name, args, kwargs = message
        if channel.has_references:
            args, kwargs = callables.incoming(args), callables.incoming(kwargs)
        function: Any = namespace.get(name) if isinstance(name, str) else _held(callables, name)
        if function is None:
            missing = f"{name} is not defined"
            body = ["missing_entry_point", None, "NameError", missing, *_written(streams)]
            channel.write(wire.packed_bytes(body))
        elif job.get("changes"):
            answer(lambda: _with_changes(function, args, kwargs, value_bytes, callables), send)
        else:
            answer(lambda: function(*args, **kwargs), send)

    callables = Callables("candidate", back)
    own_names = dict(builtins.__dict__) if job.get("mode") == "session" else {}
    if job["count"] is None:
        if not answer(load):
            return
    elif answer(load, channel.hold):
        channel.reach(stages.LOADED)
    else:
        return
    for left in itertools.repeat(0) if job["count"] is None else range(job["count"], 0, -1):
        message = channel.read()
        if message[0] == "call":
            call(message, channel.hold if left == 1 else channel.write)
        elif message[0] == "test":
            answer(lambda: test(message[1]))  # noqa: B023
        else:
            answer(lambda: run_snippet(message[1], namespace))  # noqa: B023


def _bytes(value: Any, callables: Callables) -> bytes:
    try:
        return wire.dumps(value)
    except wire.Unsupported:
        return wire.dumps(callables.outgoing(value))


def _held(callables: Callables, number: int) -> Any:
    return callables[number] if number < len(callables) else None


def _with_changes(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], value_bytes: int, callables: Callables
) -> list[Any]:
    """Calls a function; returns its value and the arguments that it changed, by position or name. Changes too large to
    be carried beside the value are left out."""
    given = [(k, v) for k, v in (*enumerate(args), *kwargs.items()) if type(v) in _CHANGEABLE]
    if not given:
        return [function(*args, **kwargs), []]
    before = [_content(v, callables) for _, v in given]
    value = function(*args, **kwargs)
    after = [_content(v, callables) for _, v in given]
    if before == after:
        return [value, []]
    changed = [pair for pair, old, new in zip(given, before, after, strict=True) if old != new]
    n_bytes = sum(len(_bytes(v, callables)) for _, v in given)
    return [value, changed if 2 * n_bytes < value_bytes else []]


def _content(value: Any, callables: Callables) -> bytes:
    """Encodes what an argument holds, to compare it: in the interpreter's own form, which takes a tenth of the wire's
    time, or the wire's where that has none."""
    try:
        return _marshal(value, _MARSHAL_WITHOUT_REFERENCES)
    except ValueError:
        return _bytes(value, callables)


def run_snippet(source: str, namespace: dict[str, Any]) -> Any:
    """Executes a snippet as a prompt would: the value of a last expression comes back, as text if it isn't
    plain."""
    import ast  # sessions alone need it

    try:
        tree = ast.parse(source, "snippet.py")
    except (ValueError, OverflowError, RecursionError) as e:
        raise SyntaxError(str(e)) from None
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        tree.body.pop()
    _exec(_compile(tree, "snippet.py", "exec", dont_inherit=True), namespace)
    if not isinstance(last, ast.Expr):
        return None
    value = _eval(_compile(ast.Expression(last.value), "snippet.py", "eval", dont_inherit=True), namespace)
    try:
        wire.pack(value)
    except wire.Unsupported:
        return repr(value)[:MAX_ERROR_CHARS]
    return value


def _written(streams: tuple[Any, Any]) -> list[float]:
    """Measures bytes of stdout and stderr so far, -1 where the job has closed them, and CPU seconds so far."""
    positions: list[float] = []
    for fd, stream in enumerate(streams, 1):
        try:
            stream.flush()
            positions.append(os.lseek(fd, 0, os.SEEK_CUR))
        except (OSError, ValueError):
            positions.append(-1)
    positions.append(_cpu_s())
    return positions
