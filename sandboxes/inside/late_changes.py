"""Shows tests the arguments that a candidate changed only where they do not judge its answer by them.

    assert f(x) == sorted(x)              x is as it was given
    r = f(x); assert r == sorted(x)       x is as it was given: `r` comes of a call that changed it
    r = f(x); w = sorted(x); assert r == w  `w` is what it would be of x as it was given
    assert f(x) == 3; assert x == [1, 2]  x is as the candidate left it, in the second statement

Without this a function that empties its argument and returns an empty list sorts anything. With it an honest function
may change its argument and return a value too. Changes wait for the end of the statement that made the call; a
comparison (`assert`, `assertEqual(…)`, `if a != b`, `return a == b`) that reads a name which comes of a call sees that
call's arguments as they were before it, and what plain expressions made of them since. Names are told apart by their
spelling alone.

    tests ─► mark (settle after each statement, enter before each comparison) ─► run ─► record, settle, enter, read
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import ast  # loaded where it is needed: few tests do, and every child would carry it

SETTLE, ENTER, READ, COMPARED = "__berry_settle__", "__berry_enter__", "__berry_read__", "__berry_compared__"
RETURNED = "return"
"""Stands for what the last `return` gave, as if it were a name: calls read it."""
Change = Callable[[Any, Any], None]
"""Gives a list, dict, set or deque another content."""


class CalledAgain(BaseException):
    """Ends an expression that is evaluated once more and would call the candidate."""


class _Changed(NamedTuple):
    """An object that a call changed, and its content before."""

    number: int
    argument: Any
    before: Any


class LateChanges:
    """What calls changed and the tests have not seen yet, which names come of those calls, and what other names would
    be had the calls changed nothing."""

    def __init__(self, change: Change) -> None:
        self._change = change
        self._count = 0
        self._waiting: list[tuple[Any, Any]] = []  # object, content after
        self._made: list[_Changed] = []  # by the calls of the present statement
        self._come_of: dict[str, list[_Changed]] = {}
        self._unchanged: dict[str, Any] = {}  # by name: what it would be of objects as they were given
        self._as_given: list[tuple[Any, Any]] = []  # object, content now: for the length of a comparison
        self._comparisons = 0
        self._again = False

    def called(self) -> None:
        """Notes a call of the candidate. Raises CalledAgain in an expression that is evaluated once more."""
        if self._again:
            raise CalledAgain

    def record(self, argument: Any, value: Any) -> None:
        """Notes that a call changed this argument to `value`."""
        self._count += 1
        self._waiting.append((argument, value))
        self._made.append(_Changed(self._count, argument, argument.copy()))

    def enter(self, *names: str) -> None:
        """Begins a comparison that reads these names."""
        if self._again:
            return
        if not self._comparisons:
            self._apply()
            come_of = [one for name in names for one in self._come_of.get(name, ())]
            self._put_back(come_of)
        self._comparisons += 1

    def read(self, name: str, value: Any) -> Any:
        """The value of a name in a comparison: beside an answer, what it would be had the calls changed nothing."""
        return self._unchanged.get(name, value) if self._as_given else value

    def settle(
        self,
        bound: tuple[str, ...],
        read: tuple[str, ...],
        again: Mapping[str, Callable[[], Any]] | None = None,
        *,
        leave: bool = False,
    ) -> None:
        """Ends a statement that read some names and bound others; `leave`: a comparison; `again` evaluates once more
        what names were bound to. Inside a comparison, and in what is evaluated once more, nothing is shown yet."""
        if self._again:
            return
        come_of = [*(one for name in read for one in self._come_of.get(name, ())), *self._made]
        if RETURNED in read:
            self._come_of.pop(RETURNED, None)
        for name in bound:
            self._unchanged.pop(name, None)
            if again is not None and name in again and not self._made and not self._comparisons:
                self._evaluate_unchanged(name, again[name])
            self._come_of[name] = come_of
        self._comparisons -= leave
        if not self._comparisons:
            self._bring_forward()
            self._apply()
            self._made.clear()

    def _evaluate_unchanged(self, name: str, again: Callable[[], Any]) -> None:
        """Evaluates an expression as it is, and with all objects as they were given; keeps the second where they
        differ."""
        changed = [one for calls in self._come_of.values() for one in calls]
        if not changed:
            return
        self._again = True
        try:
            now = again()
            self._put_back(changed)
            unchanged = again()
            if not hasattr(now, "__next__") and not _equal(now, unchanged):
                self._unchanged[name] = unchanged
        except (Exception, CalledAgain):  # noqa: BLE001 (then it is as it is)
            return
        finally:
            self._again = False
            self._bring_forward()

    def _put_back(self, changed: list[_Changed]) -> None:
        """Gives objects the content that they had before calls changed them, until `_bring_forward`."""
        for _, argument, before in sorted({one.number: one for one in changed}.values(), key=lambda one: -one.number):
            self._as_given.append((argument, argument.copy()))
            self._change(argument, before)

    def _bring_forward(self) -> None:
        while self._as_given:
            self._change(*self._as_given.pop())

    def _apply(self) -> None:
        for argument, value in self._waiting:
            self._change(argument, value)
        self._waiting.clear()


def _equal(a: Any, b: Any) -> bool:
    try:
        return bool(a == b)
    except Exception:  # noqa: BLE001 (arrays, for one, compare item by item)
        return False


_PURE_CALLS = frozenset(
    """
    sorted list tuple set frozenset dict sum min max len abs any all str int float bool repr round divmod reversed
    range zip enumerate map filter ord chr pow Counter deepcopy copy count index keys values items get join split strip
    lower upper replace union intersection difference most_common tolist startswith endswith fsum prod gcd sqrt
    """.split()  # noqa: SIM905
)
"""Functions and methods that change nothing, as tests use them."""


def mark(tree: ast.Module) -> ast.Module:
    """Puts the calls of `settle`, `enter` and `read` into tests. Changes the tree."""
    import ast
    import copy

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

    own_functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}

    def pure(node: ast.AST) -> bool:
        """Whether an expression may be evaluated once more."""
        match node:
            case ast.NamedExpr() | ast.Await() | ast.Yield() | ast.YieldFrom() | ast.Lambda():
                return False
            case ast.Call(func=ast.Name(id=name)) if name not in _PURE_CALLS | own_functions:
                return False
            case ast.Call(func=ast.Attribute(attr="sort"), args=[_, *_]):  # NumPy's
                return all(map(pure, ast.iter_child_nodes(node)))
            case ast.Call(func=ast.Attribute(attr=name)) if name not in _PURE_CALLS:
                return False
            case ast.Call(func=func) if not isinstance(func, ast.Name | ast.Attribute):
                return False
            case _:
                return all(map(pure, ast.iter_child_nodes(node)))

    def plainly_bound(statement: ast.stmt) -> list[tuple[str, ast.expr]]:
        """The names that an assignment of pure expressions binds, each with its expression."""
        match statement:
            case ast.Assign(targets=targets, value=ast.expr() as value):
                pairs: list[tuple[ast.expr, ast.expr]] = [(target, value) for target in targets]
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                pairs = [(target, value)]
            case _:
                return []
        for target, value in list(pairs):
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
                pairs += zip(target.elts, value.elts, strict=True)
        return [(target.id, value) for target, value in pairs if isinstance(target, ast.Name) and pure(value)]

    made_by_expressions = {
        name for node in ast.walk(tree) if isinstance(node, ast.stmt) for name, _ in plainly_bound(node)
    }

    class Reading(ast.NodeTransformer):
        """Has the names that were made by expressions read by `LateChanges.read`."""

        def __init__(self, own: tuple[str, ...]) -> None:
            self.own = own

        def visit_Name(self, node: ast.Name) -> ast.AST:
            if node.id not in made_by_expressions or node.id in self.own or not isinstance(node.ctx, ast.Load):
                return node
            read = ast.Call(ast.Name(READ, ast.Load()), [ast.Constant(node.id), node], [])
            return ast.copy_location(read, node)

    def settled(statement: ast.stmt) -> ast.stmt:
        read, bound = names(statement, ast.Load), names(statement, ast.Store)
        if isinstance(statement, ast.AugAssign):
            read += bound
        if isinstance(statement, ast.Return):
            bound = (RETURNED,)
        if calls(statement):
            read += (RETURNED,)
        arguments = [constants(bound), constants(read)]
        if again := plainly_bound(statement):
            nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
            values = [Reading(names(value, ast.Store)).visit(copy.deepcopy(value)) for _, value in again]
            arguments.append(ast.Dict([ast.Constant(name) for name, _ in again],
                                      [ast.Lambda(nothing, value) for value in values]))  # fmt: skip
        return call(SETTLE, arguments, statement)

    def compared(place: ast.stmt, test: ast.expr, inner: Callable[[ast.expr], ast.stmt]) -> list[ast.stmt]:
        """The statement that `inner` makes of a comparison, between `enter` and `settle`."""
        read, own = names(test, ast.Load), names(test, ast.Store)
        begin = call(ENTER, [ast.Constant(name) for name in read], place)
        end = call(SETTLE, [constants(own), constants(read)], place, leave=True)
        one = ast.copy_location(inner(Reading(own).visit(test)), place)
        return [begin, ast.copy_location(ast.Try([one], [], [], [end]), place)]

    def kept(test: ast.expr) -> ast.stmt:
        return ast.Assign([ast.Name(COMPARED, ast.Store())], test)

    def is_comparison(test: ast.expr) -> bool:
        return isinstance(test.operand if isinstance(test, ast.UnaryOp) else test, ast.Compare)

    def asserts(statement: ast.stmt) -> bool:
        """Whether a statement calls `assertEqual` or the like."""
        match statement:
            case ast.Expr(value=ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name))):
                return name.startswith("assert")
            case _:
                return False

    def marked(statement: ast.stmt) -> list[ast.stmt]:
        match statement:
            case ast.Assert(test=test, msg=message):
                both = isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And)
                parts = test.values if both else [test]  # pyright: ignore[reportAttributeAccessIssue]
                return [
                    new for part in parts for new in compared(statement, part, lambda test: ast.Assert(test, message))
                ]
            case ast.Expr(value=value) if asserts(statement):
                return compared(statement, value, ast.Expr)
            case ast.If(test=test) if is_comparison(test):
                first = compared(statement, test, kept)
                statement.test = ast.copy_location(ast.Name(COMPARED, ast.Load()), test)
                return [*first, statement, settled(statement)]
            case ast.Return(value=ast.Compare() as value):
                last = settled(statement)
                first = compared(statement, value, kept)
                statement.value = ast.copy_location(ast.Name(COMPARED, ast.Load()), value)
                return [*first, last, statement]
            case ast.Return():
                return [settled(statement), statement]
            case ast.Raise() | ast.Break() | ast.Continue() | ast.ImportFrom(module="__future__"):
                return [statement]
            case _:
                return [statement, settled(statement)]

    for node in list(ast.walk(tree)):
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list) and statements and isinstance(statements[0], ast.stmt):
                begins = isinstance(node, ast.If | ast.While | ast.For | ast.AsyncFor | ast.With | ast.AsyncWith)
                begun = [settled(node)] if begins and isinstance(node, ast.stmt) else []
                setattr(node, field, [*begun, *(new for old in statements for new in marked(old))])
    return ast.fix_missing_locations(tree)
