r"""Parses scalar expressions: cleaned LaTeX or plain text into a tree, by precedence climbing. No eval, no sympy.

    parse(r"2\sqrt{3} + x") == ("+", (("*", (("n", 2), ("f", "sqrt", (("n", 3),)))), ("s", "x")))

Nodes are tuples: ("n", Fraction), ("s", name), ("c", pi|e|i|inf), ("+"|"*", (a, b, …)), ("/", a, b), ("^", a, b),
("f", name, (a, …)). Juxtaposition multiplies with the precedence of `*`, except that an integer before a numeric
fraction is a mixed number. What isn't understood raises `Unparsable`; the symbolic rung may still know it.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

from berry.verifiers.maths.expressions.nodes import Expr, is_integer, negative, number, symbols, times
from berry.verifiers.maths.expressions.tokens import FUNCTIONS, RENAMED, Unparsable, tokens

__all__ = ["Expr", "Unparsable", "parse", "symbols", "tokens"]


_GREEK = frozenset((
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "kappa", "lambda",
    "mu", "nu", "xi", "rho", "sigma", "tau", "phi", "varphi", "chi", "psi", "omega", "ell", "Gamma", "Delta", "Theta",
    "Lambda", "Sigma", "Phi", "Psi", "Omega",
))  # fmt: skip
_MAX_DEPTH = 60


@lru_cache(maxsize=4096)
def parse(text: str) -> Expr:
    """The tree of `text` (already cleaned). Raises Unparsable."""
    parser = _Parser(tokens(text))
    tree = parser.sum()
    if parser.at < len(parser.tokens):
        raise Unparsable(f"unexpected {parser.peek()!r}")
    return tree


class _Parser:
    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at, self.depth = tokens, 0, 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def next(self) -> str:
        if self.at >= len(self.tokens):
            raise Unparsable("ends too early")
        self.at += 1
        return self.tokens[self.at - 1]

    def expect(self, token: str) -> None:
        if (got := self.next()) != token:
            raise Unparsable(f"expected {token!r}, got {got!r}")

    def sum(self) -> Expr:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise Unparsable("nested too deeply")
        terms = [self.product()]
        while self.peek() in ("+", "-"):
            sign = self.next()
            term = self.product()
            terms.append(negative(term) if sign == "-" else term)
        self.depth -= 1
        return terms[0] if len(terms) == 1 else ("+", tuple(terms))

    def product(self) -> Expr:
        left = self.unary()
        while True:
            token = self.peek()
            if token in ("*", "/"):
                self.at += 1
                right = self.unary()
                left = ("/", left, right) if token == "/" else times(left, right)
            elif self._starts_atom(token):
                left = self._juxtaposed(left)
            else:
                return left

    def _juxtaposed(self, left: Expr) -> Expr:
        start = self.at
        right = self.power()
        mixed = is_integer(left) and self.tokens[start - 1].isdigit()
        if mixed and self.tokens[start] == "\\frac" and is_integer(right[1]) and is_integer(right[2]):
            return ("+", (left, negative(right) if left[1] < 0 else right))
        if mixed and self.tokens[start].isdigit():  # "1 1/2" is mixed, "1 2" is nothing
            if self.peek() == "/" and is_integer(right):
                self.at += 1
                under = self.power()
                if is_integer(under):
                    fraction = ("/", right, under)
                    return ("+", (left, negative(fraction) if left[1] < 0 else fraction))
            raise Unparsable("two numbers side by side")
        if right[0] == left[0] == "n" and self.tokens[start][0].isdigit():
            raise Unparsable("two numbers side by side")
        return times(left, right)

    def unary(self) -> Expr:
        token = self.peek()
        if token in ("-", "+"):
            self.at += 1
            self.depth += 1
            if self.depth > _MAX_DEPTH:
                raise Unparsable("nested too deeply")
            inner = self.unary()
            self.depth -= 1
            return negative(inner) if token == "-" else inner
        return self.power()

    def power(self) -> Expr:
        base = self.postfix()
        if self.peek() == "^":
            self.at += 1
            if self.peek() == "\\circ" or self.tokens[self.at : self.at + 3] == ["{", "\\circ", "}"]:
                self.at += 1 if self.peek() == "\\circ" else 3
                return ("f", "deg", (base,))
            return ("^", base, self._exponent())
        return base

    def _exponent(self) -> Expr:
        token = self.peek()
        if token in ("-", "+"):
            self.at += 1
            inner = self._exponent()
            return negative(inner) if token == "-" else inner
        return self.power()

    def postfix(self) -> Expr:
        value = self.atom()
        while self.peek() in ("!", "\\%"):
            value = ("f", "fact", (value,)) if self.next() == "!" else ("/", value, ("n", Fraction(100)))
        return value

    def _starts_atom(self, token: str) -> bool:
        if not token or token in (
            "+",
            "-",
            "*",
            "/",
            "^",
            "!",
            ")",
            "]",
            "}",
            "|",
            "_",
            "'",
            ",",
            "\\}",
            "\\%",
            "\\rfloor",
            "\\rceil",
        ):
            return False
        return token not in ("\\pm", "\\mp", "\\cup", "\\cap", "\\le", "\\ge", "\\in", "\\ne", "\\to")

    def atom(self) -> Expr:
        token = self.next()
        if token[0].isdigit() or token[0] == ".":
            return self._repeating(token) if self.peek() == "\\overline" else number(token)
        if token in ("(", "[", "{"):
            inner = self.sum()
            self.expect({"(": ")", "[": "]", "{": "}"}[token])
            return inner
        if token == "|":
            inner = self.sum()
            self.expect("|")
            return ("f", "abs", (inner,))
        if len(token) == 1 and token.isalpha():
            return self._symbol(token)
        if token[0] == "\\":
            return self._command(token[1:])
        raise Unparsable(f"unexpected {token!r}")

    def _repeating(self, token: str) -> Expr:
        """0.1\\overline{6} is 1/6."""
        period = "".join(self.tokens[self.at + 2 : self.at + 3])
        if "." not in token or self.tokens[self.at + 1 : self.at + 4] != ["{", period, "}"] or not period.isdigit():
            raise Unparsable("overline")
        self.at += 4
        places = len(token) - token.index(".") - 1
        return ("n", number(token)[1] + Fraction(int(period), (10 ** len(period) - 1) * 10**places))

    def _symbol(self, name: str) -> Expr:
        if self.peek() == "_":
            self.at += 1
            sub = self.next()
            if sub == "{":
                parts = []
                while (part := self.next()) != "}":
                    parts.append(part)
                sub = "".join(parts)
            return ("s", f"{name}_{sub}")
        if name in ("e", "i"):
            return ("c", name)
        return ("s", name)

    def _command(self, name: str) -> Expr:
        name = RENAMED.get(name, name)
        if name == "frac":
            return ("/", self._argument(), self._argument())
        if name == "binom":
            return ("f", "binom", (self._argument(), self._argument()))
        if name == "sqrt":
            return self._root()
        if name == "cbrt":
            return ("f", "root", (self._argument(), ("n", Fraction(3))))
        if name in ("pi", "infty"):
            return ("c", {"pi": "pi", "infty": "inf"}[name])
        if name in ("lfloor", "lceil"):
            inner = self.sum()
            self.expect("\\r" + name[1:])
            return ("f", "floor" if name == "lfloor" else "ceil", (inner,))
        if name in ("overline", "bar"):
            raise Unparsable(name)
        if name in _GREEK:
            return self._symbol("\\" + name)
        if name == "lg":
            call = self._function("log")
            return ("f", "log", (*call[2], ("n", Fraction(10)))) if call[0] == "f" and len(call[2]) == 1 else call
        if name in FUNCTIONS:
            return self._function(name)
        raise Unparsable(f"command {name!r}")

    def _argument(self) -> Expr:
        """A LaTeX argument: a braced group, or one digit or token."""
        token = self.peek()
        if token == "{":
            self.at += 1
            inner = self.sum()
            self.expect("}")
            return inner
        if len(token) > 1 and token.isdigit():
            self.tokens[self.at] = token[1:]
            return number(token[0])
        return self.atom()

    def _root(self) -> Expr:
        if self.peek() == "[":
            self.at += 1
            index = self.sum()
            self.expect("]")
            return ("f", "root", (self._argument(), index))
        inner = self.atom() if self.peek() in ("(", "{") or not self.peek().isdigit() else number(self.next())
        return ("f", "sqrt", (inner,))

    def _function(self, name: str) -> Expr:
        base: Expr | None = None
        power: Expr | None = None
        while self.peek() in ("_", "^"):
            if self.next() == "_":
                base = self._argument()
            else:
                power = self._exponent()
        if power == ("n", Fraction(-1)):
            name, power = _INVERSE.get(name, ""), None
        if not name:
            raise Unparsable("inverse of a function")
        if self.peek() in ("(", "[", "{"):
            closing = {"(": ")", "[": "]", "{": "}"}[self.next()]
            arguments = [self.sum()]
            while self.peek() == ",":
                self.at += 1
                arguments.append(self.sum())
            self.expect(closing)
        else:
            arguments = [self._bare_argument()]
        if base is not None:
            if name != "log":
                raise Unparsable(f"{name} with a base")
            arguments.append(base)
        call: Expr = ("f", name, tuple(arguments))
        return call if power is None else ("^", call, power)

    def _bare_argument(self) -> Expr:
        """`\\sin 2x`: the factors that follow, up to a sign or another function."""
        value = self.power()
        while self._starts_atom(self.peek()) and self.peek() not in ("(", "[") and self.peek()[1:] not in FUNCTIONS:
            value = times(value, self.power())
        return value


_INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}
