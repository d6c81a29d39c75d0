r"""Reads matrices in any environment, and sums, products, multiples and powers of them.

    read(r"2\begin{pmatrix}1&2\end{pmatrix}") == Many(MATRIX, (Many(LIST, (Scalar(2), Scalar(4))),))

Each environment is replaced by a symbol of its own, the text is parsed as an expression, and the expression is worked
out on the entries' trees. A determinant (`vmatrix`, `\det`) is no matrix and is left to the symbolic rung.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from berry.verifiers.maths.answers.shapes import AnswerValue, Many, Scalar, Shape
from berry.verifiers.maths.expressions import evaluate, expr, nodes

MatrixRows = tuple[tuple[expr.Expr, ...], ...]

_ENVIRONMENT = re.compile(
    r"(?P<open>[\[(]\s*)?\\begin\{(?P<name>[pbB]?(?:small)?matrix|array)\*?\}(?:\{[lcr| ]*\})?(?P<body>.*?)"
    r"\\end\{(?P=name)\*?\}(?P<close>\s*[\])])?",
    re.DOTALL,
)
_ROW = re.compile(r"\\\\(?:\[[^\]]*\])?")
_TRANSPOSED = re.compile(r"\^\s*(?:\{\s*)?(?:\\text\s*\{\s*)?(?:T|\\top|\\intercal|t)(?:\s*\})*(?![A-Za-z])")
_MAX_MATRICES, _MAX_POWER, _MAX_ENTRIES = 12, 12, 400


def read(text: str, cell: Callable[[str], AnswerValue]) -> AnswerValue | None:
    """The matrix that `text` (cleaned) is or comes to; None where it is none. `cell` reads an entry."""
    if "matrix}" not in text and "array}" not in text:
        return None
    environments: list[Many] = []

    def placeholder(match: re.Match[str]) -> str:
        environments.append(_matrix(match["body"], cell))
        keep_open, keep_close = match["open"] or "", match["close"] or ""
        if keep_open and keep_close:
            keep_open = keep_close = ""
        return f"{keep_open} \\Omega_{{{len(environments)}}} {keep_close}"

    left = _ENVIRONMENT.sub(placeholder, text)
    if not environments or len(environments) > _MAX_MATRICES or "\\begin" in left:
        return None
    if re.fullmatch(r"\s*\\Omega_\{1\}\s*", left):
        return environments[0]
    left = _TRANSPOSED.sub("^{\\\\tau}", left)
    try:
        tree = expr.parse(left.strip())
        named = {f"\\Omega_{n}": _rows(matrix) for n, matrix in enumerate(environments, 1)}
        result = _value(tree, named)
    except (expr.Unparsable, ValueError):
        return None
    return _shown(result) if _is_rows(result) else None  # type: ignore[arg-type]


def _matrix(body: str, cell: Callable[[str], AnswerValue]) -> Many:
    rows = [row for row in _ROW.split(body.replace("\\hline", "")) if row.strip()]
    return Many(
        Shape.MATRIX, tuple(Many(Shape.LIST, tuple(cell(entry.strip()) for entry in row.split("&"))) for row in rows)
    )


def _rows(matrix: Many) -> MatrixRows:
    """The entries' trees. Raises ValueError where an entry is no scalar or the rows differ in length."""
    rows = []
    for row in matrix.items:
        assert isinstance(row, Many)
        entries = [entry.tree for entry in row.items if isinstance(entry, Scalar)]
        if len(entries) != len(row.items):
            raise ValueError("an entry that is no scalar")
        rows.append(tuple(entries))
    if len({len(row) for row in rows}) != 1 or len(rows) * len(rows[0]) > _MAX_ENTRIES:
        raise ValueError("not rectangular, or too large")
    return tuple(rows)


def _is_rows(value: expr.Expr | MatrixRows) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], tuple)


def _shown(rows: MatrixRows) -> Many:
    return Many(Shape.MATRIX, tuple(Many(Shape.LIST, tuple(Scalar(entry, "") for entry in row)) for row in rows))


def _value(tree: expr.Expr, named: dict[str, MatrixRows]) -> expr.Expr | MatrixRows:
    """A scalar's tree, or rows. Raises ValueError for what is not defined between matrices."""
    if not any(name in named for name in expr.symbols(tree)):
        return tree
    kind = tree[0]
    if kind == "s":
        return named[tree[1]]
    if kind in "+*":
        total = _value(tree[1][0], named)
        for part in tree[1][1:]:
            total = (_sum if kind == "+" else _product)(total, _value(part, named))
        return total
    if kind == "/" and not any(name in named for name in expr.symbols(tree[2])):
        return _product(("/", ("n", Fraction(1)), tree[2]), _value(tree[1], named))
    if kind == "^" and _is_rows(base := _value(tree[1], named)):
        return _power(base, tree[2])
    raise ValueError("not defined between matrices")


def _power(base: MatrixRows, exponent: expr.Expr) -> MatrixRows:
    if exponent == ("s", "\\tau"):
        return tuple(zip(*base, strict=True))
    if exponent[0] != "n" or exponent[1].denominator != 1 or not 1 <= exponent[1] <= _MAX_POWER:
        raise ValueError("power")
    result = base
    for _ in range(int(exponent[1]) - 1):
        result = _product(result, base)  # type: ignore[assignment]
    return result


def _sum(a: expr.Expr | MatrixRows, b: expr.Expr | MatrixRows) -> expr.Expr | MatrixRows:
    if not (_is_rows(a) and _is_rows(b)) or len(a) != len(b) or len(a[0]) != len(b[0]):
        raise ValueError("sizes of a sum")
    return tuple(tuple(_add(x, y) for x, y in zip(r, s, strict=True)) for r, s in zip(a, b, strict=True))


def _product(a: expr.Expr | MatrixRows, b: expr.Expr | MatrixRows) -> expr.Expr | MatrixRows:
    if not _is_rows(a) and not _is_rows(b):
        return _times(a, b)
    if not _is_rows(a) or not _is_rows(b):
        factor, rows = (b, a) if _is_rows(a) else (a, b)
        return tuple(tuple(_times(factor, entry) for entry in row) for row in rows)
    if len(a[0]) != len(b):
        raise ValueError("sizes of a product")
    columns = list(zip(*b, strict=True))
    result = []
    for row in a:
        entries = []
        for column in columns:
            total = _times(row[0], column[0])
            for x, y in zip(row[1:], column[1:], strict=True):
                total = _add(total, _times(x, y))
            entries.append(total)
        result.append(tuple(entries))
    return tuple(result)


def _add(a: expr.Expr, b: expr.Expr) -> expr.Expr:
    x, y = _number(a), _number(b)
    if x is not None and y is not None:
        return ("n", x + y)
    return b if x == 0 else a if y == 0 else ("+", (a, b))


def _times(a: expr.Expr, b: expr.Expr) -> expr.Expr:
    x, y = _number(a), _number(b)
    if x is not None and y is not None:
        return ("n", x * y)
    if x == 0 or y == 0:
        return ("n", Fraction(0))
    return b if x == 1 else a if y == 1 else ("*", (a, b))


def _number(tree: expr.Expr) -> Fraction | None:
    if tree[0] == "n":
        return tree[1]
    try:
        return evaluate.exact(tree) if nodes.is_written(tree) else None
    except ArithmeticError:
        return None
