"""Keeps arguments as they were given for the tests of a second trial, while the candidate finds them as it left them.

    x = [2, 1]; assert f(x) == sorted(x)      x is [2, 1] for the tests, whatever `f` did to it
    r = f(x); w = []; w += x; assert r == w   so is all that they make of it afterwards, in whatever way
    assert f(x) == 3; assert x == [1, 2]      the second assert is about `x` alone: the first trial held it

Without this a function that empties its argument and returns an empty list sorts anything: the first trial shows what a
call changed, as one process would, and this one what an honest caller would have kept. Here an assertion counts that
reads what comes of a call; others were held in the first trial, where their arguments were changed; so was one that
only looks at a changed argument beside what was written down before the call (`k = f(x); assert x[:k] == [1, 2]`).
What comes of a call is told by names: what a statement binds that calls, that reads such a name, or that stands under
a condition which does. An error that ends the tests counts where the statement that raised it reads such a name.

    tests ─► marks.mark ─► run ─► called, record, put_forward (calls); settle, about, enter, leave, counts (statements)
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import Any

Change = Callable[[Any, Any], None]
"""Gives a list, dict, set or deque another content."""


class _Left:
    """An argument that a call changed: how the tests have it, and how the candidate left it."""

    __slots__ = ("argument", "given", "left")

    def __init__(self, argument: Any, left: Any) -> None:
        self.argument, self.given, self.left = argument, argument.copy(), left


class _Frame:
    """What the statement that runs in a function of the tests has read and called so far. A number is how many calls
    had changed something before the first call that it comes of; None where it comes of none."""

    __slots__ = ("about", "made", "whole")

    def __init__(self) -> None:
        self.about: int | None = None
        self.made: int | None = None
        self.whole: int | None = None  # of all statements so far


class AsGiven:
    """What calls changed, and which names of the tests hold what comes of calls."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self._changes = 0
        self._left: dict[int, _Left] = {}
        self._comes_of: dict[str, int] = {}
        self._bound: dict[str, int] = {}  # changes before a name was last bound, or what it holds changed
        self._frames = [_Frame()]
        self._counted: list[BaseException] = []
        self._raised: tuple[BaseException, int | None] | None = None

    # ---- calls of the candidate

    def called(self) -> None:
        """Notes a call."""
        frame = self._frames[-1]
        if frame.made is None:
            frame.made = self._changes

    def record(self, argument: Any, value: Any) -> None:
        """Notes that a call left this argument with the content of `value`."""
        self._changes += 1
        self._left[id(argument)] = _Left(argument, value)

    def put_forward(self, given: Any) -> list[tuple[Any, Any]]:
        """Gives arguments that calls changed, wherever they stand in what is given to another call, the content that
        the candidate left; returns them, for `put_back`. What the tests have changed since stays as they have it."""
        if not self._left:
            return []
        found: list[tuple[Any, Any]] = []
        for one in self._changed_in(given):
            if _same(one.argument, one.given):
                self._change(one.argument, one.left)
            else:
                one.given = one.left = one.argument.copy()
            found.append((one.argument, one.given))
        return found

    def put_back(self, forward: list[tuple[Any, Any]]) -> None:
        """Gives these arguments the content that the tests know."""
        for argument, given in forward:
            self._change(argument, given)

    def _changed_in(self, value: Any) -> list[_Left]:
        """Finds the arguments that calls changed in plain containers."""
        found: dict[int, _Left] = {}
        waiting, seen = [value], set()
        while waiting:
            one = waiting.pop()
            if not isinstance(one, list | tuple | dict | set | frozenset | deque) or id(one) in seen:
                continue
            seen.add(id(one))
            if id(one) in self._left:
                found[id(one)] = self._left[id(one)]
            waiting += [*one, *one.values()] if isinstance(one, dict) else one
        return list(found.values())

    # ---- statements of the tests

    def settle(
        self, bound: tuple[str, ...], read: tuple[str, ...], into: tuple[str, ...] = (), given: tuple[str, ...] = ()
    ) -> None:
        """Ends a statement, or the head of one, that read some names, bound others, and may have put what it read into
        what other names hold; those in `given` it has given to some function, which may have changed them."""
        frame = self._frames[-1]
        since = _first(self._since(read), frame.made)
        frame.whole, frame.about, frame.made = _first(frame.whole, since), None, None
        for name in bound:
            self._bind(name, since)
        for name in (*into, *given):
            self._bound[name] = self._changes
        if since is not None:
            for name in into:
                self._comes_of.setdefault(name, since)

    def about(self, read: tuple[str, ...]) -> None:
        """Begins a statement that reads these names and calls functions of the tests' own."""
        self._frames[-1].about = self._since(read)

    def enter(self, *parameters: str) -> None:
        """Begins a function of the tests: its parameters may hold whatever the statement that calls it reads."""
        caller = self._frames[-1]
        since = _first(caller.about, caller.made)
        for name in parameters:
            self._bind(name, since)
        self._frames.append(_Frame())

    def leave(self) -> None:
        """Ends a function of the tests, however it ends."""
        ended = self._frames.pop()
        error = sys.exc_info()[1]
        if error is not None and (self._raised is None or self._raised[0] is not error):
            self._raised = (error, ended.made)
        caller = self._frames[-1]
        caller.made = _first(caller.made, _first(ended.whole, ended.made))

    def counts(self, read: tuple[str, ...], *shown: tuple[tuple[str, ...], Callable[[], tuple[Any, ...]]]) -> bool:
        """Whether an assertion that has just failed counts. Each of `shown` has names and what they hold: the first may
        be an argument that is compared with the others."""
        error = sys.exc_info()[1]
        since = _first(self._since(read), self._frames[-1].made)
        if error is None or any(error is one for one in self._counted):
            return True
        if since is None or any(self._is_about_an_argument(since, names, values) for names, values in shown):
            return False
        self._counted.append(error)
        return True

    def ends(self, error: BaseException, read: tuple[str, ...]) -> bool:
        """Whether an error that ended the tests counts; `read` are the names that the statement reads which raised."""
        if any(error is one for one in self._counted) or self._since(read) is not None:
            return True
        made = self._raised[1] if self._raised is not None and self._raised[0] is error else self._frames[-1].made
        return made is not None

    def _bind(self, name: str, since: int | None) -> None:
        self._bound[name] = self._changes
        if since is None:
            self._comes_of.pop(name, None)
        else:
            self._comes_of[name] = since

    def _since(self, read: tuple[str, ...]) -> int | None:
        return min((self._comes_of[name] for name in read if name in self._comes_of), default=None)

    def _is_about_an_argument(self, since: int, names: tuple[str, ...], values: Callable[[], tuple[Any, ...]]) -> bool:
        """Whether the first name is an argument that a call changed, and the others hold what was there before the
        calls, and no such argument."""
        if any(name in self._comes_of for name in names) or any(self._bound.get(name, 0) > since for name in names[1:]):
            return False
        try:
            argument, *others = values()
        except NameError:
            return False
        return id(argument) in self._left and not self._changed_in(others)


def _same(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except Exception:  # noqa: BLE001 (arrays, for one, compare item by item)
        return True


def _first(a: int | None, b: int | None) -> int | None:
    return a if b is None else b if a is None else min(a, b)
