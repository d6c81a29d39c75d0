"""Scores one answer with reasoning-gym's own scorer, in the sandbox; the text of this file is the job's source.

    score(dataset, answer, entry) ─► the scorer's number, in [0, 1]

Some scorers evaluate the answer with Python's `eval` or with sympy's parser, which evaluates too. Here they get a
literal, or an expression that was checked first: numbers, the four operations and powers, the problem's letters and
elementary functions. `Integral(…)`, which gives the question back, is none of them. Where the numbers are given
(countdown, puzzle24) the expression is of plain whole numbers and the four operations, and is evaluated exactly.
"""

from __future__ import annotations

import ast
import re
import sys
from fractions import Fraction
from typing import Any

import reasoning_gym
import sympy

MAX_CHARS, MAX_EXPONENT, MAX_DEPTH = 5_000, 1_000, 100
FUNCTIONS = frozenset(
    (
        *("sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
        *("asinh", "acosh", "atanh", "exp", "log", "ln", "sqrt", "Abs", "erf"),
    )
)
CONSTANTS = frozenset(("pi", "E"))
LITERALS = ("string_insertion", "spiral_matrix", "binary_matrix", "number_sorting", "n_queens")
TUPLES = {"arc_agi": ("input", "output"), "rearc": ("input", "output")}

_NEGATIVE = re.compile(r"[^\d]*[-\u2212]\$?\d").match
_parse = sympy.parse_expr


def score(dataset: str, answer: str, entry: dict[str, Any]) -> float:
    """The scorer's own number for `answer`; problem files are JSON, so what it compares as tuples is made so again."""
    _replace_evaluation()
    for name in TUPLES.get(dataset, ()):
        entry["metadata"][name] = _tuples(entry["metadata"][name])
    if dataset == "puzzle24" and answer.strip() != entry["answer"]:
        value, numbers = exact(answer)
        if sorted(numbers) != sorted(entry["metadata"]["numbers"]) or value != int(value):
            return 0.0  # the scorer looks at neither
    if dataset == "gsm_symbolic" and _NEGATIVE(answer) and not entry["answer"].startswith("-"):
        return 0.0  # the scorer does not read the sign
    return float(reasoning_gym.get_score_answer_fn(dataset)(answer, entry))  # pyright: ignore[reportCallIssue]


def checked(text: str, local_dict: dict[str, Any] | None = None) -> Any:
    """sympy's reading of `text`, an expression as described above. Raises ValueError for anything else."""
    _check(_tree(text), 0)
    return _parse(text, local_dict=local_dict)


def arithmetic(text: str) -> Any:
    """sympy's number for `text`, whole numbers and the four operations. Raises ValueError for anything else."""
    value, _ = exact(text)
    return sympy.Rational(value.numerator, value.denominator)


def exact(text: str) -> tuple[Fraction, list[int]]:
    """(value, the numbers it is made of). Raises ValueError for anything but whole numbers and four operations."""
    numbers: list[int] = []
    try:
        return _exact(_tree(text), numbers, 0), numbers
    except ZeroDivisionError as fault:
        raise ValueError("divides by zero") from fault


def _tree(text: str) -> ast.expr:
    if len(text) > MAX_CHARS or any(c in text for c in "#\\\n;_'\"[]{}:="):
        raise ValueError("is no plain expression")
    try:
        return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, RecursionError, MemoryError) as fault:
        raise ValueError("is no expression") from fault


def _exact(node: ast.expr, numbers: list[int], depth: int) -> Fraction:
    if depth > MAX_DEPTH:
        raise ValueError("is too deep")
    match node:
        case ast.Constant(value=int(value)) if type(value) is int and abs(value) < 10**12:
            numbers.append(value)
            return Fraction(value)
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as op, operand=operand):
            value = _exact(operand, numbers, depth + 1)
            return -value if isinstance(op, ast.USub) else value
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div() as op, right=right):
            a, b = _exact(left, numbers, depth + 1), _exact(right, numbers, depth + 1)
            if isinstance(op, ast.Add):
                return a + b
            if isinstance(op, ast.Sub):
                return a - b
            return a * b if isinstance(op, ast.Mult) else a / b
        case _:
            raise ValueError(f"holds {type(node).__name__}, which is not allowed here")


def _check(node: ast.expr, depth: int) -> None:
    """Raises ValueError unless `node` is an elementary expression."""
    if depth > MAX_DEPTH:
        raise ValueError("is too deep")
    match node:
        case ast.Constant(value=int() | float() as value) if type(value) is not bool:
            return
        case ast.Name(id=name) if len(name) == 1 or name in CONSTANTS:
            return
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            _check(operand, depth + 1)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.Div(), right=right):
            _check(left, depth + 1)
            _check(right, depth + 1)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            if not _small(right) or any(isinstance(n, ast.Pow) for n in ast.walk(right)):
                raise ValueError("has too large an exponent")
            _check(left, depth + 1)
            _check(right, depth + 1)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in FUNCTIONS:
            _check(argument, depth + 1)
        case _:
            raise ValueError(f"holds {type(node).__name__}, which is not allowed here")


def _small(node: ast.expr) -> bool:
    numbers = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
    return all(isinstance(n, int | float) and abs(n) <= MAX_EXPONENT for n in numbers)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _replace_evaluation() -> None:
    """Gives the scorers' modules, in this process, a literal for `eval` and a checked parser for sympy's."""
    sympy.parse_expr = checked
    for name, module in list(sys.modules.items()):
        if name.startswith("reasoning_gym."):
            own = name.rpartition(".")[2]
            if own in LITERALS:
                vars(module)["eval"] = ast.literal_eval
            if own in ("countdown", "puzzle24"):
                vars(module)["parse_expr"] = arithmetic
