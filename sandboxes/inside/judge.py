"""Runs a problem's tests in the judge's child, with the candidate in another process.

`candidate(...)` sends its arguments out and gets plain data of exact built-in types back, or the built-in
exception that the candidate raised. The candidate's objects, code and output never come here, so nothing
that it does can make a comparison true. The verdict is one frame, written by this process alone.

    tests ─► marked (each `except` and `with` tells when it stops an exception) ─► run ─► verdict

An exception of the candidate's that ends without an `except` or a `with` of the tests having stopped it was stopped by
the language: `all(map(candidate, …))` ends at StopIteration, `hasattr` at AttributeError. Such a trial passes nothing.
Arguments that the candidate changed are changed here too, as they would be in one process, or not at all: `as_given`.
Functions that it returns, or that the tests give it, are called where they are, with plain data: `callables`.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from berry.sandboxes import wire
from berry.sandboxes.inside import marks
from berry.sandboxes.inside.as_given import AsGiven
from berry.sandboxes.inside.callables import Callables, exception
from berry.sandboxes.inside.channel import Channel, compile_source, describe, new_module

if TYPE_CHECKING:
    import ast

TESTS_FILE = "tests.py"
_STOPPED, _GUARD = "__berry_stopped__", "__berry_guard__"
_STOPS_EXCEPTIONS = re.compile(r"(?:^|[\n\r])[ \t\f]*(?:async\b|except\b|with\b)").search
"""Finds the statements that can stop an exception: each begins a line."""


class CandidateError(Exception):
    """The candidate raised an exception that is not a built-in one."""


class Proxy:
    """Relays calls of the candidate to the host."""

    def __init__(self, channel: Channel, name: str, as_given: AsGiven | None) -> None:
        self._channel, self._as_given = channel, as_given
        self.__name__ = self.__qualname__ = name
        self.open: dict[int, BaseException] = {}
        self.last: BaseException | None = None
        self._callables = Callables("judge", self._call_returned)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call([], args, kwargs)

    def _call_returned(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Calls a function that the candidate returned."""
        return self._call([number], args, kwargs)

    def _call(self, which: list[int], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        forward = []
        if self._as_given is not None:
            self._as_given.called()
            forward = self._as_given.put_forward((args, kwargs))
        try:
            body = self._encode(["left" if forward else "call", args, kwargs, *which])
        finally:
            if forward and self._as_given is not None:
                self._as_given.put_back(forward)
        answer = self._ask(body)
        while answer[0] == "back":
            answer = self._ask(self._encode(self._answer_back(*answer[1:])))
        referenced = self._channel.has_references
        if answer[0] == "ok":
            given = {**dict(enumerate(args)), **kwargs} if answer[2] else {}
            for key, value in self._callables.incoming(answer[2]) if referenced else answer[2]:
                argument = given.get(key)
                if self._as_given is None or not isinstance(argument, _CHANGEABLE):
                    _change(argument, value)
                else:
                    self._as_given.record(argument, value)
            return self._callables.incoming(answer[1]) if referenced else answer[1]
        _, name, text = answer
        self.last = raised = exception(name, text, CandidateError)
        self.open[id(raised)] = raised
        raise raised

    def _encode(self, message: list[Any]) -> bytes:
        """Encodes a message, with references for the functions in it."""
        try:
            return wire.dumps(message)
        except wire.Unsupported:
            return wire.dumps(self._callables.outgoing(message))

    def _ask(self, body: bytes) -> Any:
        """Sends a message and reads what comes back."""
        self._channel.write(body)
        return self._channel.read()

    def _answer_back(self, number: int, args: Any, kwargs: Any) -> list[Any]:
        """Calls a function of the tests for the candidate, to which they gave it."""
        try:
            if number >= len(self._callables):
                raise NameError("no such function was given")
            function = self._callables[number]
            value = function(*self._callables.incoming(args), **self._callables.incoming(kwargs))
            answer = ["ok", self._callables.outgoing(value)]
            wire.dumps(answer)  # raises Unsupported here, where the candidate is told
            return answer
        except Exception as error:  # noqa: BLE001 (the candidate is told)
            self.stopped(error)
            return ["raise", *describe(error)]

    def stopped(self, error: BaseException | None) -> None:
        """Records that the tests themselves stopped an exception."""
        self.open.pop(id(error), None)


class _Guard:
    """A context manager of the tests that tells when it stops an exception."""

    def __init__(self, inner: Any, proxy: Proxy) -> None:
        self._inner, self._proxy = inner, proxy

    def __enter__(self) -> Any:
        return type(self._inner).__enter__(self._inner)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> Any:
        stops = type(self._inner).__exit__(self._inner, kind, error, trace)
        if stops:
            self._proxy.stopped(error)
        return stops


_CHANGEABLE = (list, dict, set, deque)


def _change(argument: Any, value: Any) -> None:
    """Gives an argument the content that it has in the candidate's process."""
    if isinstance(argument, list) and isinstance(value, list):
        argument[:] = value
    elif isinstance(argument, dict | set) and isinstance(value, dict | set):
        argument.clear()
        argument.update(value)
    elif isinstance(argument, deque) and isinstance(value, deque):
        argument.clear()
        argument.extend(value)


def run(job: dict[str, Any], channel: Channel) -> NoReturn:
    """Runs prelude and tests, writes the verdict and ends the process."""
    as_given = AsGiven(_change) if job["as_given"] else None
    proxy = Proxy(channel, job["entry"], as_given)
    read_by_line: dict[int, tuple[str, ...]] = {}
    namespace = new_module("tests").__dict__
    if "random" in sys.modules:
        sys.modules["random"].seed(1)  # not the candidate's numbers
    try:
        namespace[_STOPPED] = lambda: proxy.stopped(sys.exc_info()[1])
        namespace[_GUARD] = lambda inner: _Guard(inner, proxy)
        exec(_compiled(job["prelude"], "prelude.py"), namespace)
        namespace.pop("check", None)
        namespace[job["entry"]] = namespace["candidate"] = proxy
        if as_given is None:
            code = _compiled(job["source"], TESTS_FILE)
        else:
            code, read_by_line = _marked(job["source"], as_given, namespace)
        exec(code, namespace)
        check = namespace.get("check")
        if callable(check) and check is not proxy:  # the candidate's function may be called so
            check(proxy)
        verdict: list[Any] = ["passed"]
    except BaseException as e:  # noqa: BLE001 (whatever the tests raise is the verdict)
        kind = "failed" if isinstance(e, AssertionError) else "error"
        if id(e) in proxy.open or e is proxy.last:
            kind = "candidate"
        line = _line(e.__traceback__)
        verdict = [kind, *describe(e), line]
        if as_given is not None and kind != "candidate" and not as_given.ends(e, read_by_line.get(line or 0, ())):
            verdict = ["passed"]  # of what was looked at until then
    if verdict[0] != "candidate" and proxy.open:
        swallowed = next(iter(proxy.open.values()))
        name, text = describe(swallowed)
        verdict = ["candidate", name, f"{name}: {text} (it ended what the tests were doing without being caught)",
                   _line(swallowed.__traceback__)]  # fmt: skip
    channel.write(wire.dumps([time.process_time(), *verdict]))
    os._exit(0)


def _compiled(source: str, name: str) -> CodeType:
    """Compiles tests so that each `except` and `with` of theirs tells when it stops an exception."""
    if "assertRaises" in source:
        _mark_assert_raises()
    if not _STOPS_EXCEPTIONS(source):
        return compile_source(source, name)
    with _syntax_errors():
        return compile(_telling(source, name), name, "exec", dont_inherit=True)


def _marked(source: str, as_given: AsGiven, namespace: dict[str, Any]) -> tuple[CodeType, dict[int, tuple[str, ...]]]:
    """Compiles tests that tell, besides, what they do to names; returns also the names that each line reads."""
    if "assertRaises" in source:
        _mark_assert_raises()
    for name in ("settle", "about", "enter", "leave", "counts"):
        namespace[getattr(marks, name.upper())] = getattr(as_given, name)
    with _syntax_errors():
        marked = marks.mark(_telling(source, TESTS_FILE))
        return compile(marked.tree, TESTS_FILE, "exec", dont_inherit=True), marked.read_by_line


@contextmanager
def _syntax_errors() -> Iterator[None]:
    """Makes every way of failing to compile a SyntaxError."""
    try:
        yield
    except (ValueError, OverflowError, RecursionError) as e:
        raise SyntaxError(str(e)) from None


def _telling(source: str, name: str) -> ast.Module:
    """Parses tests and puts a call into each `except` and `with`, which tells when it stops an exception."""
    import ast  # few tests need it, and each fork of a template that holds it pays for its pages

    class Marker(ast.NodeTransformer):
        def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
            self.generic_visit(node)
            call = ast.Call(ast.Name(_STOPPED, ast.Load()), [], [])
            node.body.insert(0, ast.copy_location(ast.Expr(call), node.body[0]))
            return node

        def visit_With(self, node: ast.With) -> ast.AST:
            self.generic_visit(node)
            for item in node.items:
                guarded = ast.Call(ast.Name(_GUARD, ast.Load()), [item.context_expr], [])
                item.context_expr = ast.copy_location(guarded, item.context_expr)
            return node

    return ast.fix_missing_locations(Marker().visit(ast.parse(source, name)))


def _mark_assert_raises() -> None:
    """Lets `assertRaises(Error, candidate, …)`, which stops exceptions without a `with` of the tests, tell too."""
    from unittest import case

    base: Any = case._AssertRaisesBaseContext  # pyright: ignore[reportAttributeAccessIssue]

    def handle(self: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not args or args[0] is None or not callable(args[0]):
            return original(self, name, args, kwargs)
        called, *rest = args

        def stopping(*a: Any, **k: Any) -> Any:
            try:
                return called(*a, **k)
            except self.expected as error:
                stop = sys.modules["tests"].__dict__[_STOPPED]
                stop()
                raise error

        return original(self, name, (stopping, *rest), kwargs)

    original = base.handle
    base.handle = handle


def _line(tb: TracebackType | None) -> int | None:
    """Finds the innermost line in the tests themselves."""
    line = None
    while tb is not None:
        if tb.tb_frame.f_code.co_filename == TESTS_FILE:
            line = tb.tb_lineno
        tb = tb.tb_next
    return line
