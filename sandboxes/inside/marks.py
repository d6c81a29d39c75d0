"""Marks tests so that they tell what they do to names: see `as_given`.

    r = f(x)                     r = f(x); settle(("r",), ("f", "x"))
    assert r == sorted(x)        try: assert r == sorted(x)
                                 except BaseException:
                                     if counts(("r", "sorted", "x")): raise
                                 settle((), ("r", "sorted", "x"))
    if r != sorted(x): raise E   if r != sorted(x): settle(("if 1",), ("r", "sorted", "x")); raise E
    def g(a): BODY               def g(a):
                                     enter("a")
                                     try: BODY
                                     finally: leave()
    s = g(r)                     about(("g", "r")); s = g(r); settle(("s",), ("g", "r"))

Names are told apart by their spelling alone; `a.b` is a name besides `a`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import ast

SETTLE, ABOUT, ENTER, LEAVE, COUNTS = (f"__berry_{name}__" for name in ("settle", "about", "enter", "leave", "counts"))
_SAME_CONTENT = frozenset({"sorted", "list", "set", "tuple", "len"})
"""Calls that show an argument whole."""


class Marked(NamedTuple):
    """Tests with marks, and the names that the statement on each line reads."""

    tree: ast.Module
    read_by_line: dict[int, tuple[str, ...]]


def load_ast() -> None:
    """Imports `ast`, which few tests need: each fork of a template that held it would pay for its hundred pages."""
    global ast
    import ast


def mark(tree: ast.Module) -> Marked:
    """Puts the marks into tests. Changes the tree."""
    load_ast()
    marker = _Marks(tree)
    tree.body = marker.marked(tree.body, "")
    return Marked(ast.fix_missing_locations(tree), marker.read_by_line)


class _Marks:
    """Walks tests from the outside in."""

    def __init__(self, tree: ast.Module) -> None:
        nodes = list(ast.walk(tree))
        self._own = {n.name for n in nodes if isinstance(n, ast.FunctionDef)}
        self._modules = {
            (n.asname or n.name).partition(".")[0]
            for node in nodes if isinstance(node, ast.Import | ast.ImportFrom) for n in node.names
        }  # fmt: skip
        self.read_by_line: dict[int, tuple[str, ...]] = {}

    def marked(self, statements: Iterable[ast.stmt], condition: str) -> list[ast.stmt]:
        """A block with its marks; `condition` is the name that stands for the nearest condition around it."""
        return [new for old in statements for new in self._statement(old, condition)]

    def _statement(self, node: ast.stmt, condition: str) -> list[ast.stmt]:
        read = _names(node, ast.Load)
        if isinstance(node, ast.AugAssign):
            read += _names(node, ast.Store)
        if condition and (isinstance(node, ast.Raise) or _is_constant(node)):
            read += (condition,)
        for line in range(node.lineno, _last_line(node) + 1):
            self.read_by_line[line] = (*self.read_by_line.get(line, ()), *read)
        about = (
            [_call(ABOUT, node, read)] if self._own.intersection(part for n in read for part in n.split(".")) else []
        )
        match node:
            case ast.FunctionDef():
                return [self._function(node)]
            case ast.AsyncFunctionDef() | ast.ClassDef():
                node.body = self.marked(node.body, "")
                return [node]
            case ast.Assert(test=test, msg=message):
                both = isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And)
                parts: list[ast.expr] = test.values if both else [test]  # pyright: ignore[reportAttributeAccessIssue]
                tests = [self._assertion(ast.Assert(part, message), part, node) for part in parts]
                return [new for one in tests for new in (*about, *one)]
            case ast.Expr(value=value) if _is_assertion(value):
                return [*about, *self._assertion(ast.Expr(value), value, node)]
            case ast.Return() | ast.Raise():
                return [_call(SETTLE, node, (), read), *about, node]
            case ast.Break() | ast.Continue() | ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
                return [node]
            case ast.Pass() | ast.Global() | ast.Nonlocal():
                return [node]
        own = _names(node, ast.Store)
        inner = condition
        begins: list[ast.stmt] = []
        if isinstance(node, ast.If | ast.While | ast.For | ast.AsyncFor | ast.Match):
            inner = f"if {node.lineno}"
            begins = [_call(SETTLE, node, (*own, inner), read)]
        elif isinstance(node, ast.With | ast.AsyncWith):
            begins = [_call(SETTLE, node, own, read)]
        for field in ("body", "orelse", "finalbody"):
            if block := getattr(node, field, None):
                first = begins if field != "finalbody" else []
                setattr(node, field, [*first, *self.marked(block, inner)])
        for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
            part.body = [*begins, *self.marked(part.body, inner)]
        return [*about, node, _call(SETTLE, node, own, read, self._filled(node), _given(node))]

    def _function(self, node: ast.FunctionDef) -> ast.stmt:
        parameters = [arg.arg for arg in ast.walk(node.args) if isinstance(arg, ast.arg)]
        generates = any(isinstance(n, ast.Yield | ast.YieldFrom) for n in ast.walk(node))
        body = self.marked(node.body, "")
        if generates:  # its statements run between those of whoever asks it for more
            node.body = body
            return node
        enter = ast.Expr(ast.Call(ast.Name(ENTER, ast.Load()), [ast.Constant(name) for name in parameters], []))
        whole = ast.Try(body, [], [], [_call(LEAVE, node)])
        node.body = [ast.copy_location(enter, node), ast.copy_location(whole, node)]
        return node

    def _assertion(self, inner: ast.stmt, test: ast.expr, place: ast.stmt) -> list[ast.stmt]:
        read = _names(test, ast.Load)
        arguments: list[ast.expr] = [_constants(read)]
        for names in _shown(test):
            nothing = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
            values = ast.Tuple([ast.Name(name, ast.Load()) for name in names], ast.Load())
            arguments.append(ast.Tuple([_constants(names), ast.Lambda(nothing, values)], ast.Load()))
        raising = ast.If(ast.Call(ast.Name(COUNTS, ast.Load()), arguments, []), [ast.Raise()], [])
        handler = ast.ExceptHandler(ast.Name("BaseException", ast.Load()), None, [raising])
        tried = ast.Try([ast.copy_location(inner, place)], [handler], [], [])
        return [ast.copy_location(tried, place), _call(SETTLE, place, _names(test, ast.Store), read)]

    def _filled(self, node: ast.stmt) -> tuple[str, ...]:
        """The names into whose content a statement may put something: `a` of `a.append(r)` and `a[0] = r`, `h` of
        `heapq.heappush(h, r)`."""
        found = [
            _root(n.value) for n in ast.walk(node) if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)
        ]
        match node:
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=owner, attr=name), args=arguments)):
                root = _root(owner)
                if root in self._modules:
                    found += [argument.id for argument in arguments if isinstance(argument, ast.Name)]
                elif name not in self._own:
                    found.append(root)
        return tuple(name for name in found if name)


def _given(node: ast.stmt) -> tuple[str, ...]:
    """The names that a statement gives to functions which may change what they hold."""
    calls = [one for one in _own_nodes(node) if isinstance(one, ast.Call)]
    changing = [c for c in calls if not (isinstance(c.func, ast.Name) and c.func.id in _SAME_CONTENT)]
    return tuple(dict.fromkeys(a.id for call in changing for a in call.args if isinstance(a, ast.Name)))


def _call(name: str, place: ast.stmt, *names: tuple[str, ...]) -> ast.stmt:
    return ast.copy_location(ast.Expr(ast.Call(ast.Name(name, ast.Load()), [_constants(n) for n in names], [])), place)


def _constants(names: tuple[str, ...]) -> ast.expr:
    return ast.Tuple([ast.Constant(name) for name in names], ast.Load())


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """A statement with its own expressions, not the statements inside it."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += [child for child in ast.iter_child_nodes(one) if not isinstance(child, ast.stmt)]


def _names(node: ast.AST, kind: type[ast.expr_context]) -> tuple[str, ...]:
    """The names in a statement's own expressions."""
    found: list[str] = []
    for one in _own_nodes(node):
        match one:
            case ast.Name(id=name, ctx=context) if isinstance(context, kind):
                found.append(name)
            case ast.Attribute(value=ast.Name(id=owner), attr=name, ctx=context) if isinstance(context, kind):
                found.append(f"{owner}.{name}")
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) if kind is ast.Store:
                found.append(name)
    return tuple(dict.fromkeys(found))


def _root(node: ast.AST) -> str:
    """The name that an expression begins with: `a` of `a[0].b`, `self.a` of `self.a[0]`; empty where it is no name."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            return f"{owner}.{name}"
        case ast.Attribute(value=inner) | ast.Subscript(value=inner) | ast.Call(func=inner):
            return _root(inner)
        case _:
            return ""


def _last_line(node: ast.stmt) -> int:
    """Where a statement ends, or its head where other statements stand in it."""
    body = getattr(node, "body", None) or getattr(node, "cases", None)
    if isinstance(body, list):
        first = body[0].pattern if isinstance(body[0], ast.match_case) else body[0]
        return max(node.lineno, first.lineno - 1)
    return node.end_lineno or node.lineno


def _is_constant(node: ast.stmt) -> bool:
    """Whether a statement gives something a value in which no name stands: `ok = False`, `wrong += 1`."""
    value = getattr(node, "value", None)
    kinds = ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Return
    return isinstance(node, kinds) and (value is None or not any(isinstance(n, ast.Name) for n in ast.walk(value)))


def _is_assertion(value: ast.expr) -> bool:
    """Whether an expression calls `assertEqual` or the like."""
    match value:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name.startswith("assert")
        case _:
            return False


def _shown(test: ast.expr) -> list[tuple[str, ...]]:
    """What may be an argument, as a call left it, with the names that it is compared with: `x`, `w` of `x[:k] == w`,
    `x` alone of `x == [1, 2]`."""
    match test:
        case ast.Call(func=ast.Name(id="all"), args=[ast.GeneratorExp(elt=inner) | ast.ListComp(elt=inner)]):
            return _shown(inner)
        case ast.Compare(left=left, ops=[ast.Eq()], comparators=[right]):
            pairs = [(_content(a, b), _written(b)) for a, b in ((left, right), (right, left))]
            return [(name, *names) for name, names in pairs if name and names is not None]
        case _:
            return []


def _content(node: ast.expr, other: ast.expr) -> str:
    """The name whose content an expression shows: whole, a slice of it, or an item of it where `other` is the same item
    of something else; empty for any other expression."""
    match node:
        case ast.Name(id=name) | ast.Subscript(value=ast.Name(id=name), slice=ast.Slice()):
            return name
        case ast.Subscript(value=ast.Name(id=name), slice=index):
            return name if isinstance(other, ast.Subscript) and ast.dump(other.slice) == ast.dump(index) else ""
        case ast.Call(func=ast.Name(id=function), args=[inner], keywords=[]) if function in _SAME_CONTENT:
            return _content(inner, other)
        case _:
            return ""


def _written(node: ast.expr) -> tuple[str, ...] | None:
    """The names in an expression that only shows what stands somewhere: a literal, a name, a part of what it holds."""
    match node:
        case ast.Constant():
            return ()
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant()):
            return ()
        case ast.Name(id=name) | ast.Subscript(value=ast.Name(id=name)):
            return (name,)
        case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
            inner = [_written(part) for part in parts]
            return None if None in inner else tuple(name for names in inner if names for name in names)
        case _:
            return None
