"""Defines the nodes of a scalar expression: plain tuples, listed in `expr.py`, and how to make and look at them."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

Expr = tuple[Any, ...]


def symbols(tree: Expr) -> frozenset[str]:
    """Names of the free symbols."""
    if tree[0] == "s":
        return frozenset((tree[1],))
    names: frozenset[str] = frozenset()
    for part in tree[1:]:
        if isinstance(part, tuple):
            for child in part if tree[0] in "+*f" else (part,):
                names |= symbols(child)
    return names


def functions(tree: Expr) -> frozenset[str]:
    """Names of the functions applied anywhere in `tree`."""
    names: frozenset[str] = frozenset((tree[1],)) if tree[0] == "f" else frozenset()
    for part in tree[1:]:
        if isinstance(part, tuple):
            for child in part if tree[0] in "+*f" else (part,):
                names |= functions(child)
    return names


def put(tree: Expr, name: str, value: Expr) -> Expr:
    """`tree` with `value` in place of the symbol `name`."""
    if tree[0] == "s":
        return value if tree[1] == name else tree
    if tree[0] in "+*":
        return (tree[0], tuple(put(part, name, value) for part in tree[1]))
    if tree[0] == "f":
        return ("f", tree[1], tuple(put(part, name, value) for part in tree[2]))
    return (tree[0], *(put(part, name, value) for part in tree[1:])) if tree[0] in "/^" else tree


def number(token: str) -> Expr:
    """The node of a number as it is written: digits, with or without a decimal point."""
    if token.isdigit():
        return ("n", Fraction(int(token)))
    return ("n", Fraction(token.rstrip(".") if not token.startswith(".") else "0" + token))


def is_integer(tree: Expr) -> bool:
    """Whether a node is a whole number."""
    return tree[0] == "n" and tree[1].denominator == 1


def negative(tree: Expr) -> Expr:
    """The node of minus a tree."""
    return ("n", -tree[1]) if tree[0] == "n" else ("*", (("n", Fraction(-1)), tree))


def times(left: Expr, right: Expr) -> Expr:
    """The node of a product; factors of a product on the left join it."""
    return ("*", (*left[1], right)) if left[0] == "*" else ("*", (left, right))


def is_written(tree: Expr) -> bool:
    """A number as it is written down: 3, -0.5, 2/3, 1 1/2, 1.2 * 10^5; not 6 * 7 or 5!."""
    match tree:
        case ("n", _) | ("/", ("n", _), ("n", _)) | ("^", ("n", 10), ("n", _)):
            return True
        case ("+", (("n", _), ("/", ("n", _), ("n", _)) | ("*", (("n", -1), ("/", ("n", _), ("n", _)))))):
            return True
        case ("*", (("n", _), ("^", ("n", 10), ("n", _)))):
            return True
        case ("*", (("n", factor), inner)):
            return factor == -1 and is_written(inner)
    return False
