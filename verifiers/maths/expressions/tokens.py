"""Cuts cleaned text into tokens: numbers without separators, letters, `\\commands`, signs.

A run of letters is a function's name, a product of variables (`ab`, `xyz`), or a word, which is no expression.
"""

from __future__ import annotations

import re


class Unparsable(ValueError):
    """Not a scalar expression that this parser reads."""


_TOKEN = re.compile(
    r"\s*(?:(?P<num>\d{1,3}(?:(?:,|\{,\}|,\\!)\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d*)?|\.\d+)(?P<exp>[eE][-+]?\d{1,4}(?![\d.A-Za-z]))?"
    r"|(?P<cmd>\\[A-Za-z]+|\\[{}%$|])|(?P<word>[A-Za-z]+)|(?P<op>[-+*/^!()\[\]{}|_',]))"
)
FUNCTIONS = frozenset((
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "ln", "log", "exp",
    "sqrt", "abs", "floor", "ceil", "gcd", "lcm", "max", "min",
))  # fmt: skip
RENAMED = {
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "ceiling": "ceil",
}  # `lg` is read as the logarithm to base 10
_PRODUCTS = (frozenset("abcxyz"), frozenset("abcdkmnpqrstuvwxyz"))
_MAX_TOKENS = 500


def tokens(text: str) -> list[str]:
    """The tokens of cleaned text: numbers without separators, letters, `\\commands`, signs. Raises Unparsable."""
    result: list[str] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None or match.end() == position:
            raise Unparsable(f"unexpected {text[position : position + 10]!r}")
        if match["word"]:
            result.extend(_split_word(match["word"], whole=len(match[0].strip()) == end))
        elif match["num"]:
            result.append(re.sub(r"[,{}\\!]", "", match["num"]) + (match["exp"] or ""))
        else:
            result.append(match[0].strip())
        position = match.end()
    if not result or len(result) > _MAX_TOKENS:
        raise Unparsable("too long" if result else "empty")
    return result


def _split_word(word: str, *, whole: bool) -> list[str]:
    name = RENAMED.get(word.lower(), word.lower())
    if name in FUNCTIONS or name in ("cbrt", "lg"):
        return ["\\" + name]
    if word in ("pi", "Pi", "theta", "alpha", "beta", "lambda"):
        return ["\\" + word.lower()]
    if word in ("inf", "infinity", "oo"):
        return ["\\infty"]
    letters = frozenset(word.lower())
    if len(word) == 1 or (len(word) == 2 and letters <= _PRODUCTS[1]) or (len(word) == 3 and letters <= _PRODUCTS[0]):
        return list(word)
    if not whole and len(word) <= 4 and letters <= _PRODUCTS[0]:
        return list(word)
    raise Unparsable(f"word {word!r}")
