"""Shows tests the arguments that a candidate changed only where they do not judge its answer by them.

    assert f(x) == sorted(x)              x is as it was given
    r = f(x); assert r == sorted(x)       x is as it was given: `r` comes of a call that changed it
    assert f(x) == 3; assert x == [1, 2]  x is as the candidate left it, in the second statement

Without this a function that empties its argument and returns an empty list sorts anything. With it an honest function
may change its argument and return a value too. Changes wait for the end of the statement that made the call; an
`assert` that reads a name which comes of a call sees that call's arguments as they were before it. Names are told apart
by their spelling alone.

    tests ─► mark (settle after each statement, enter before each assert) ─► run ─► record, settle, enter
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ast  # loaded where it is needed: few tests do, and every child would carry it

SETTLE, ENTER = "__berry_settle__", "__berry_enter__"
RETURNED = "return"
"""Stands for what the last `return` gave, as if it were a name: calls read it."""
Change = Callable[[Any, Any], None]
"""Gives a list, dict, set or deque another content."""


class LateChanges:
    """What calls changed and the tests have not seen yet, and which names come of those calls."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self._waiting: list[tuple[Any, Any, Any]] = []  # object, content before, content after
        self._made: list[tuple[Any, Any]] = []  # object, content before: by the calls of the present statement
        self._come_of: dict[str, list[tuple[Any, Any]]] = {}
        self._as_given: list[tuple[Any, Any]] = []  # object, content now: for the length of an assert
        self._asserts = 0

    def record(self, argument: Any, value: Any) -> None:
        """Notes that a call changed this argument to `value`."""
        before = argument.copy()
        self._waiting.append((argument, before, value))
        self._made.append((argument, before))

    def enter(self, *names: str) -> None:
        """Begins an assert that reads these names."""
        if not self._asserts:
            self._apply()
            for argument, before in reversed([one for name in names for one in self._come_of.get(name, ())]):
                self._as_given.append((argument, argument.copy()))
                self._change(argument, before)
        self._asserts += 1

    def settle(self, bound: tuple[str, ...], read: tuple[str, ...], *, leave: bool = False) -> None:
        """Ends a statement that read some names and bound others; `leave`: an assert. Inside an assert nothing is shown
        yet."""
        come_of = [*(one for name in read for one in self._come_of.get(name, ())), *self._made]
        if RETURNED in read:
            self._come_of.pop(RETURNED, None)
        for name in bound:
            self._come_of[name] = come_of
        self._asserts -= leave
        if not self._asserts:
            while self._as_given:
                self._change(*self._as_given.pop())
            self._apply()
            self._made.clear()

    def _apply(self) -> None:
        for argument, _, value in self._waiting:
            self._change(argument, value)
        self._waiting.clear()


def mark(tree: ast.Module) -> ast.Module:
    """Puts the calls of `settle` and `enter` into tests. Changes the tree."""
    import ast

    def names(node: ast.AST, kind: type[ast.expr_context]) -> tuple[str, ...]:
        """The names in a statement's own expressions, not in the statements inside it; `a[0] = …` binds `a`."""
        found: list[str] = []
        waiting: list[ast.AST] = [node]
        while waiting:
            one = waiting.pop()
            if isinstance(one, ast.Name) and isinstance(one.ctx, kind):
                found.append(one.id)
            elif isinstance(one, ast.Subscript | ast.Attribute) and isinstance(one.ctx, kind) and kind is ast.Store:
                found += [inner.id for inner in ast.walk(one.value) if isinstance(inner, ast.Name)]
            waiting += [child for child in ast.iter_child_nodes(one) if not isinstance(child, ast.stmt)]
        return tuple(dict.fromkeys(found))

    def call(name: str, arguments: list[ast.expr], place: ast.stmt, *, leave: bool = False) -> ast.stmt:
        keywords = [ast.keyword("leave", ast.Constant(value=True))] if leave else []
        return ast.copy_location(ast.Expr(ast.Call(ast.Name(name, ast.Load()), arguments, keywords)), place)

    def constants(found: tuple[str, ...]) -> ast.expr:
        return ast.Tuple([ast.Constant(name) for name in found], ast.Load())

    def calls(node: ast.AST) -> bool:
        return isinstance(node, ast.Call) or any(
            calls(child) for child in ast.iter_child_nodes(node) if not isinstance(child, ast.stmt)
        )

    def settled(statement: ast.stmt) -> ast.stmt:
        read, bound = names(statement, ast.Load), names(statement, ast.Store)
        if isinstance(statement, ast.AugAssign):
            read += bound
        if isinstance(statement, ast.Return):
            bound = (RETURNED,)
        if calls(statement):
            read += (RETURNED,)
        return call(SETTLE, [constants(bound), constants(read)], statement)

    def marked(statement: ast.stmt) -> list[ast.stmt]:
        if isinstance(statement, ast.Assert):
            both = isinstance(statement.test, ast.BoolOp) and isinstance(statement.test.op, ast.And)
            parts = statement.test.values if both else [statement.test]  # pyright: ignore[reportAttributeAccessIssue]
            return [new for part in parts for new in marked_assert(statement, part)]
        if isinstance(statement, ast.Return):
            return [settled(statement), statement]
        if isinstance(statement, ast.Raise | ast.Break | ast.Continue):
            return [statement]
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            return [statement]
        return [statement, settled(statement)]

    def marked_assert(statement: ast.Assert, test: ast.expr) -> list[ast.stmt]:
        read = names(test, ast.Load)
        begin = call(ENTER, [ast.Constant(name) for name in read], statement)
        end = call(SETTLE, [constants(names(test, ast.Store)), constants(read)], statement, leave=True)
        one = ast.copy_location(ast.Assert(test, statement.msg), statement)
        return [begin, ast.copy_location(ast.Try([one], [], [], [end]), statement)]

    for node in list(ast.walk(tree)):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list) and statements and isinstance(statements[0], ast.stmt):
                begins = isinstance(node, ast.If | ast.While | ast.For | ast.AsyncFor | ast.With | ast.AsyncWith)
                begun = [settled(node)] if begins and isinstance(node, ast.stmt) else []
                setattr(node, field, [*begun, *(new for old in statements for new in marked(old))])
    return ast.fix_missing_locations(tree)
