r"""Reads what an equation or inequality says: a name's value, values of several names, or a condition.

assigned(x = 5) == ("x", 5)         named((p, q) = (3, 2)) == {"p": 3, "q": 2}
proportional(2x + z = 1, z = 1 - 2x)
"""

from __future__ import annotations

import re
from fractions import Fraction

from berry.verifiers.maths.answers.shapes import AnswerValue, Many, Opaque, Relation, Scalar, Shape, Words
from berry.verifiers.maths.expressions import evaluate, expr, nodes, normal

_CALL = re.compile(r"[A-Za-z]'*(?:\^\s*\{?-1\}?)?\s*\([A-Za-z]\)")
_INVERSE = re.compile(r"[A-Z]\s*\^\s*\{?-1\}?")  # of a matrix
_NAME = re.compile(r"(?:\\?[A-Za-z]+|\|[A-Z]{2}\|)(?:_\{?\w+\}?)?'*\s*(?:\([^()]*\))?'*")
_DERIVATIVE = re.compile(r"\\frac\s*\{\s*d(?:\^\{?\d\}?)?\s*[A-Za-z]?\s*\}\s*\{\s*d\s*[A-Za-z](?:\^\{?\d\}?)?\s*\}")
_CLAUSE = re.compile(r"\d|\b(?:is|are|was|when|if|where|for|since|because|not|or)\b")  # a sentence, no name
_PLAIN_LETTER = re.compile(r"[A-Za-z]")


def assigned(value: AnswerValue, *, as_answer: bool) -> tuple[str, AnswerValue] | None:
    """(name, value) of `x = 5`, `f(2) = 5`, `x \\in S` and of a chain `x = 2 + 3 = 5`; None for other conditions.

    `as_answer`: `value` is a response's, which may also show a computation, `2 + 3 = 5` (its name is ""), or the
    value of a sum of names, `a + b = 5`. A gold that does is an equation.
    """
    if not isinstance(value, Relation) or not set(value.signs) <= {"=", "in"}:
        return None
    name, last = value.sides[0], value.sides[-1]
    if len(value.sides) == 2 and _is_bare_name(last) and isinstance(name, Scalar) and not expr.symbols(name.tree):
        name, last = last, name  # `5 = x`
    if isinstance(name, Scalar):
        free = expr.symbols(name.tree)
        if not free:
            return ("", last) if as_answer and not (isinstance(last, Scalar) and expr.symbols(last.tree)) else None
        if isinstance(last, Scalar) and free & expr.symbols(last.tree) and not _is_function(name.text):
            return None
        if name.tree[0] != "s" and not _is_name(name.text):
            told = as_answer and (_only_names(name.tree) or _is_ratio_of_angle(name.tree, last))
            return (normal.squeeze(name.text), last) if told else None
        return normal.squeeze(name.text), last
    if isinstance(name, Many):
        return (normal.squeeze(shown(name)), last) if _names(name) is not None else None
    if isinstance(name, Words) and (len(name.text.split()) > 6 or _CLAUSE.search(name.text)):
        return None
    return normal.squeeze(shown(name)), last


def computed(value: Relation) -> Scalar | None:
    """The 12 of the gold `3 * 4 = 12`, a number and how one operation gives it; None of longer equations, which may be
    what was asked for themselves ("put signs between the digits")."""
    if value.signs != ("=",):
        return None
    left, right = value.sides
    if not (isinstance(left, Scalar) and isinstance(right, Scalar) and nodes.is_written(right.tree)):
        return None
    operation = left.tree[0] in ("+", "*", "/", "^") and not nodes.is_written(left.tree)
    parts = left.tree[1] if left.tree[0] in ("+", "*") else left.tree[1:]
    return right if operation and len(parts) == 2 and all(nodes.is_written(part) for part in parts) else None


def is_call(text: str) -> bool:
    """Whether `text` is a function of a name: `f(x)`, `f^{-1}(x)`."""
    return _CALL.fullmatch(text.strip()) is not None


def _is_ratio_of_angle(tree: expr.Expr, value: AnswerValue) -> bool:
    r"""Whether `tree` is `\sin A` or its like, of which `value` gives a number."""
    of_angle = tree[0] == "f" and tree[1] in ("sin", "cos", "tan", "cot", "sec", "csc") and tree[2][0][0] == "s"
    return of_angle and isinstance(value, Scalar) and not expr.symbols(value.tree)


def _is_bare_name(value: AnswerValue) -> bool:
    return isinstance(value, Scalar) and value.tree[0] == "s"


def _is_function(text: str) -> bool:
    r"""Whether `text` names a function of what its value is written with: `f(x)`, `\frac{dy}{dx}`."""
    return is_call(text) or _DERIVATIVE.fullmatch(text.strip()) is not None


def _is_name(text: str) -> bool:
    """Whether `text` names one thing: `f(2)`, `AB`, `|AB|`, `x_1`; not the product `2x` nor the function `\\sin x`."""
    if _is_function(text) or _INVERSE.fullmatch(text.strip()) is not None:
        return True
    match = _NAME.fullmatch(text.strip())
    if match is None or re.search(r"\\(?:sqrt|frac|sin|cos|tan|log|ln|exp)(?![a-z])", text):
        return False
    letters = re.match(r"\|?([A-Za-z]+)", text.strip())
    return letters is None or len(letters[1]) == 1 or letters[1].isupper() or len(letters[1]) > 3


def _only_names(tree: expr.Expr) -> bool:
    """Whether `tree` is a sum or product of bare names, `a + b`, `xyz`, or one of its powers' quotients, `a/b`."""
    if tree[0] == "s":
        return True
    if tree[0] in "+*":
        return all(_only_names(part) or part == ("n", Fraction(-1)) for part in tree[1])
    return tree[0] == "/" and _only_names(tree[1]) and _only_names(tree[2])


def named(value: AnswerValue) -> dict[str, AnswerValue] | None:
    """The values of several different names, in order: `(p, q) = (3, 2)`, or `p = 3, q = 2`; else None."""
    if isinstance(value, Relation):
        if value.signs != ("=",) or (names := _names(value.sides[0])) is None:
            return None
        right = value.sides[1]
        if not isinstance(right, Many) or right.shape is not Shape.TUPLE or len(right.items) != len(names):
            return None
        return dict(zip(names, right.items, strict=True))
    if not isinstance(value, Many) or value.shape is not Shape.LIST or len(value.items) < 2:
        return None
    pairs = [assigned(item, as_answer=False) if _is_equation(item) else None for item in value.items]
    if any(pair is None for pair in pairs):
        return None
    values = {pair[0]: pair[1] for pair in pairs if pair is not None}
    return values if len(values) == len(pairs) else None


def _is_equation(value: AnswerValue) -> bool:
    return isinstance(value, Relation) and set(value.signs) == {"="}


def _names(value: AnswerValue) -> list[str] | None:
    """The names in `(p, q)`, different ones; None where it holds anything else."""
    if not isinstance(value, Many) or value.shape is not Shape.TUPLE:
        return None
    names = [normal.squeeze(i.text) for i in value.items if isinstance(i, Scalar) and i.tree[0] == "s"]
    return names if len(set(names)) == len(value.items) else None


def in_tuple_order(values: dict[str, AnswerValue]) -> list[AnswerValue]:
    """The values as a tuple lists them: by name where the names are neighbours in the alphabet, else as written."""
    names = list(values)
    letters = sorted(names)
    if all(_PLAIN_LETTER.fullmatch(name) for name in names):
        codes = [ord(name) for name in letters]
        if codes == list(range(codes[0], codes[0] + len(codes))):
            names = letters
    return [values[name] for name in names]


def is_numbered(values: dict[str, AnswerValue]) -> bool:
    """Whether the names are one name with numbers, `x_1, x_2`, as the roots of one equation have."""
    stems = {name.partition("_")[0] for name in values}
    return len(stems) == 1 and all("_" in name for name in values)


def difference(relation: Relation) -> expr.Expr | None:
    """Left side less right side, of two scalar sides."""
    a, b = relation.sides
    if not (isinstance(a, Scalar) and isinstance(b, Scalar)):
        return None
    return ("+", (a.tree, ("*", (("n", Fraction(-1)), b.tree))))


def factor(f: expr.Expr, g: expr.Expr) -> Fraction | None:
    """f / g at one point: the only factor by which they can be proportional."""
    env = evaluate.point(expr.symbols(f), 0)
    try:
        below = evaluate.exact(g, env)
        return evaluate.exact(f, env) / below if below else None
    except ArithmeticError:
        return Fraction(1)


# ---- approximations -------------------------------------------------------------------------------------------------

_DECIMALS = re.compile(r"[-+]?\s*(?:\\\$\s*)?([\d,]*)(?:\.(\d+))?(?![\d.])")


def settled(value: AnswerValue) -> tuple[AnswerValue, ...]:
    r"""What `a \approx b` states: both where b is a rounding of the expression a, else b alone; else `value` itself.

    `\sqrt{2} \approx 1.414` states \sqrt{2} and shows it; `142 \approx 143` can only mean 143. Nothing where the two
    are over one per cent apart.
    """
    if not isinstance(value, Relation) or "~" not in value.signs:
        return (value,)
    cut = value.signs.index("~")
    exact, last = value.sides[cut], value.sides[-1]
    if isinstance(exact, Scalar) and expr.symbols(exact.tree):  # `x \approx 12`
        return (Relation(value.sides, tuple("=" if sign == "~" else sign for sign in value.signs)),)
    if not (isinstance(exact, Scalar) and isinstance(last, Scalar)):
        return (last,)
    places = decimal_places(last.text)
    a, b = (evaluate.number(("/", s.tree, ("n", Fraction(100))) if s.percent else s.tree) for s in (exact, last))
    if places is None or a is None or b is None:
        return (last,)
    rounded = abs(a - b) <= (0.5 if places == 0 else 10.0**-places)
    if not rounded and abs(a - b) > 0.01 * max(abs(a), abs(b)):
        return ()
    if exact.tree[0] == "n" or not rounded:
        return (last,)
    head = exact if cut == 0 else Relation(value.sides[: cut + 1], value.signs[:cut])
    return head, last


def decimal_places(text: str) -> int | None:
    """Digits after the point of the number that `text` begins with; 0 for an integer, None where there is none."""
    match = _DECIMALS.match(text.strip())
    if match is None or not (match[1] or match[2]):
        return None
    return len(match[2] or "")


def significant_digits(text: str) -> int:
    """Digits of the decimal that `text` begins with, from its first one that is not 0."""
    match = _DECIMALS.match(text.strip())
    return 0 if match is None else len((match[1].replace(",", "") + (match[2] or "")).lstrip("0"))


def shown(value: AnswerValue) -> str:
    """`value` as text, for messages and for comparing what can't be read."""
    if isinstance(value, Scalar | Words | Opaque):
        return value.text
    if isinstance(value, Many):
        inside = ", ".join(shown(item) for item in value.items)
        if value.shape is Shape.SET:
            return f"\\{{{inside}\\}}"
        return f"{value.brackets[0]}{inside}{value.brackets[1]}" if value.brackets else inside
    parts = [shown(value.sides[0])]
    for sign, side in zip(value.signs, value.sides[1:], strict=True):
        parts += [sign, shown(side)]
    return " ".join(parts)
