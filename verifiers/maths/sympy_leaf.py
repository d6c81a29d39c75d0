"""Answers the symbolic rung's questions with sympy. Runs in the confined worker only: sympy can be made to take any
time and memory.

    equal(tree, tree)    two scalar expression trees
    puzzle(text, text)   two LaTeX texts that our own parser does not read, through math-verify's

Two expressions are the same when they agree to 20 digits at fixed points where both are real; a constant difference
is zero when 300 digits can't tell it from zero.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import sympy
from math_verify import LatexExtractionConfig, parse, verify

from berry.verifiers.maths.expressions import evaluate
from berry.verifiers.maths.expressions.expr import Expr

_POINTS = tuple(
    tuple(sympy.Rational(n, d) for n, d in row)
    for row in (
        ((17, 13), (29, 11), (7, 19), (41, 17)),
        ((5, 7), (31, 23), (53, 29), (3, 11)),
        ((-11, 17), (19, 13), (-7, 23), (13, 5)),
        ((23, 9), (-8, 13), (15, 11), (-9, 7)),
        ((3, 1), (5, 1), (2, 1), (7, 1)),
        ((4, 1), (3, 1), (6, 1), (2, 1)),
        ((1, 3), (2, 5), (3, 7), (1, 5)),
        ((4, 7), (1, 9), (5, 11), (2, 3)),
        ((10, 9), (5, 4), (7, 6), (6, 5)),
    )
)
_TOWER = re.compile(r"\^\s*\{?[^{}^]*\^\s*\{?[^{}^]*\^|\^\s*\{?\s*-?\d{5,}|\d{5,}\s*\}?!|!!!")


class GoldUnreadable(ValueError):
    """The problem's own answer is not mathematics that can be parsed."""


class AnswerUnreadable(ValueError):
    """The response's answer is not."""


def equal(a: Expr, b: Expr) -> bool | None:
    """Whether two trees have the same value everywhere. None where neither agreement nor difference shows."""
    for tree in (a, b):
        with suppress(evaluate.NotExact, evaluate.Undefined):
            evaluate.exact(tree)  # raises TooLarge before sympy computes a number that never ends
    return _same(to_sympy(a), to_sympy(b))


def puzzle(gold: str, response: str) -> bool | None:
    """Two LaTeX texts. Raises GoldUnreadable, AnswerUnreadable, evaluate.TooLarge."""
    if _TOWER.search(response) and not _TOWER.search(gold):
        raise evaluate.TooLarge("power too large")
    a, b = _latex(gold, GoldUnreadable), _latex(response, AnswerUnreadable)
    if isinstance(a, sympy.Expr) and isinstance(b, sympy.Expr):
        return _same(a, b)
    if isinstance(a, sympy.Expr) or isinstance(b, sympy.Expr):
        return False
    return bool(verify(a, b, float_rounding=12, timeout_seconds=None))


def to_sympy(tree: Expr) -> Any:
    """The same expression in SymPy."""
    kind = tree[0]
    if kind == "n":
        return sympy.Rational(tree[1].numerator, tree[1].denominator)
    if kind == "s":
        return sympy.Symbol(tree[1], real=True)
    if kind == "c":
        return {"pi": sympy.pi, "e": sympy.E, "i": sympy.I, "inf": sympy.oo}[tree[1]]
    if kind == "+":
        return sympy.Add(*map(to_sympy, tree[1]))
    if kind == "*":
        return sympy.Mul(*map(to_sympy, tree[1]))
    if kind == "/":
        return to_sympy(tree[1]) / to_sympy(tree[2])
    if kind == "^":
        base, exponent = to_sympy(tree[1]), to_sympy(tree[2])
        if base.is_Rational and base < 0 and exponent.is_Rational and exponent.q % 2:
            return sympy.real_root(base, exponent.q) ** exponent.p
        return base**exponent
    return _FUNCTIONS[tree[1]](*map(to_sympy, tree[2]))


def _log(x: Any, base: Any = None) -> Any:
    return sympy.log(x) if base is None else sympy.log(x, base)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(sympy, name) for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh")},
    **{name: getattr(sympy, name) for name in ("exp", "sqrt", "gcd", "lcm")},
    "root": lambda x, index: sympy.real_root(x, index) if x.is_Rational else sympy.root(x, index),
    "arcsin": sympy.asin,
    "arccos": sympy.acos,
    "arctan": sympy.atan,
    "ln": sympy.log,
    "log": _log,
    "abs": sympy.Abs,
    "floor": sympy.floor,
    "ceil": sympy.ceiling,
    "max": sympy.Max,
    "min": sympy.Min,
    "fact": sympy.factorial,
    "binom": sympy.binomial,
    "deg": lambda x: x * sympy.pi / 180,
}  # fmt: skip


def _latex(text: str, error: type[ValueError]) -> Any:
    parsed = parse(
        f"${text}$",
        [LatexExtractionConfig()],
        fallback_mode="no_fallback",
        extraction_mode="first_match",
        parsing_timeout=0,  # theirs is SIGALRM; ours is a kill from outside
    )
    expression = next((item for item in parsed if not isinstance(item, str)), None)
    if expression is None:
        raise error(text)
    return expression


def _same(a: Any, b: Any) -> bool | None:
    """Whether `a` and `b` agree at the points where both are real; at all of them where `i` is written."""
    if a == b:
        return True
    if any(value.has(sympy.zoo, sympy.nan) for value in (a, b)):
        return False
    names = sorted(a.free_symbols | b.free_symbols, key=str)
    if not names:
        return _zero(a - b)
    written = a.has(sympy.I) or b.has(sympy.I)
    agreed = {True: 0, False: 0}  # by whether both values are real
    for row in _POINTS:
        at = {name: row[i % len(row)] + i // len(row) for i, name in enumerate(names)}
        x, y = (_number(value, at) for value in (a, b))
        if x is None or y is None:
            continue
        real = bool(x.is_real and y.is_real)
        if abs(x - y) > sympy.Float("1e-20") * (1 + abs(x)):
            if real or written:
                return False
            continue
        agreed[real] += 1
    enough = agreed[True] >= 4 or (not agreed[True] and agreed[False] >= 4) or (written and sum(agreed.values()) >= 4)
    return True if enough else None


def _number(value: Any, at: dict[Any, Any]) -> Any:
    number = value.subs(at).doit().evalf(30, chop=True)
    return number if number.is_number and number.is_finite and not number.has(sympy.nan, sympy.zoo) else None


def _zero(difference: Any) -> bool | None:
    if difference.is_infinite or difference.has(sympy.nan):
        return False
    value = difference.doit().evalf(15, maxn=300)
    if not value.is_number:
        return None
    return all(part == 0 or getattr(part, "_prec", 2) == 1 for part in value.as_real_imag())
