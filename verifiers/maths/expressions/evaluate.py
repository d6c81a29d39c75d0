"""Works out the values of scalar expressions: exact fractions where there are any, else 110 decimal digits.

    equal(a, b) -> True | False | None        None: not decided here, ask sympy

Expressions with free symbols are tested at fixed rational points (Schwartz 1980, Zippel 1979): a difference at
one point where both are real proves that they differ; agreement at four of those, with 40-bit coordinates, is taken
as equality.
Numbers without an exact value are equal when 95 of 110 digits agree and nothing was lost to cancellation.
Powers and factorials are bounded before they are computed: `TooLarge`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from decimal import Context, Decimal, DecimalException, DivisionByZero, InvalidOperation, Overflow, localcontext
from fractions import Fraction
from functools import lru_cache

from berry.verifiers.maths.expressions.expr import Expr, symbols

MAX_BITS = 100_000
MAX_FACTORIAL = 1_000
DIGITS = 110
AGREE = Decimal(10) ** -95
PROBES = 15
LOST = Decimal(10) ** 30  # numbers above this have too few digits left after the point

Env = Mapping[str, Fraction]
PI = Decimal(
    "3.141592653589793238462643383279502884197169399375105820974944592307816406286208"
    "99862803482534211706798214808651328230664709384461"
)
_CONTEXT = Context(prec=DIGITS, Emax=1_000_000, Emin=-1_000_000, traps=[InvalidOperation, DivisionByZero, Overflow])


class NotExact(ArithmeticError):
    """No rational value; or none that can be had here."""


class Undefined(ArithmeticError):
    """No real value here: division by zero, an even root of a negative number, an unknown function."""


class TooLarge(ArithmeticError):
    """Over the bounds on what is worth computing."""


def exact(tree: Expr, env: Env = {}) -> Fraction:  # noqa: B006 - never written to
    """The rational value. Raises NotExact, Undefined, TooLarge."""
    kind = tree[0]
    if kind == "n":
        return tree[1]
    if kind == "+":
        total = exact(tree[1][0], env)
        for part in tree[1][1:]:
            total = total + exact(part, env)
        return _bounded(total)
    if kind == "*":
        product = exact(tree[1][0], env)
        for part in tree[1][1:]:
            product = _bounded(product * exact(part, env))
        return product
    if kind == "/":
        below = exact(tree[2], env)
        if below == 0:
            raise Undefined("division by zero")
        return _bounded(exact(tree[1], env) / below)
    if kind == "^":
        return _power(exact(tree[1], env), exact(tree[2], env))
    if kind == "s":
        if tree[1] not in env:
            raise NotExact(tree[1])
        return env[tree[1]]
    if kind == "f":
        return _function(tree[1], [exact(part, env) for part in tree[2]])
    raise NotExact(kind)


def _bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
        raise TooLarge("number too long")
    return value


def _power(base: Fraction, exponent: Fraction) -> Fraction:
    if exponent.denominator == 1:
        n = exponent.numerator
        if base == 0 and n <= 0:
            raise Undefined("zero to a power that is not positive")
        if base not in (0, 1, -1):
            bits = max(base.numerator.bit_length(), base.denominator.bit_length())
            if abs(n) * bits > MAX_BITS:
                raise TooLarge("power too large")
        return base ** (n % 2 if base in (1, -1) else n)
    if exponent.denominator > 64:
        raise NotExact("root")
    return _power(_root(base, exponent.denominator), Fraction(exponent.numerator))


def _root(value: Fraction, index: int) -> Fraction:
    """The real root; that of odd order of a negative number is negative."""
    if value < 0:
        if index % 2 == 0:
            raise Undefined("root of a negative number")
        return -_root(-value, index)
    over, under = _integer_root(value.numerator, index), _integer_root(value.denominator, index)
    if over is None or under is None:
        raise NotExact("root")
    return Fraction(over, under)


def _integer_root(n: int, index: int) -> int | None:
    if n.bit_length() > 20_000:
        raise NotExact("root of a long number")
    if index == 2:
        root = math.isqrt(n)
    else:
        low, high = 0, 1 << (n.bit_length() // index + 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if middle**index <= n else (low, middle - 1)
        root = low
    return root if root**index == n else None


def _function(name: str, args: list[Fraction]) -> Fraction:
    x = args[0]
    if name == "abs":
        return abs(x)
    if name == "sqrt":
        return _root(x, 2)
    if name == "root" and args[1].denominator == 1 and 2 <= args[1] <= 64:
        return _root(x, int(args[1]))
    if name == "floor":
        return Fraction(math.floor(x))
    if name == "ceil":
        return Fraction(math.ceil(x))
    if name in ("max", "min"):
        return max(args) if name == "max" else min(args)
    if name in ("gcd", "lcm") and all(a.denominator == 1 for a in args):
        return Fraction((math.gcd if name == "gcd" else math.lcm)(*(a.numerator for a in args)))
    if name == "fact":
        if x.denominator != 1 or x < 0:
            raise Undefined("factorial of what is no natural number")
        if x > MAX_FACTORIAL:
            raise TooLarge("factorial too large")
        return Fraction(math.factorial(int(x)))
    if name == "binom" and all(a.denominator == 1 and a >= 0 for a in args):
        if x > MAX_FACTORIAL:
            raise TooLarge("binomial too large")
        return Fraction(math.comb(int(x), int(args[1])))
    if name == "log" and len(args) == 2:
        return _exact_log(x, args[1])
    if name in ("ln", "log") and x == 1:
        return Fraction(0)
    raise NotExact(name)


def _exact_log(x: Fraction, base: Fraction) -> Fraction:
    if x <= 0 or base <= 0 or base == 1:
        raise Undefined("logarithm")
    if x.numerator.bit_length() > 2_000 or x.denominator.bit_length() > 2_000:
        raise NotExact("log")
    guess = round(_log(x) / _log(base))
    if abs(guess) <= 2_000 and base**guess == x:
        return Fraction(guess)
    raise NotExact("log")


def _log(x: Fraction) -> float:
    return math.log(x.numerator) - math.log(x.denominator)


class _Digits:
    """Evaluation in decimal digits; `scale` is the largest magnitude met on the way."""

    def __init__(self, env: Env) -> None:
        self.env, self.scale = env, Decimal(1)

    def of(self, tree: Expr) -> Decimal:
        value = self._of(tree)
        self.scale = max(self.scale, abs(value))
        return value

    def _of(self, tree: Expr) -> Decimal:
        kind = tree[0]
        if kind == "n" or kind == "s":
            value = exact(tree, self.env)
            return Decimal(value.numerator) / Decimal(value.denominator)
        if kind == "+":
            return sum((self.of(part) for part in tree[1]), Decimal(0))
        if kind == "*":
            product = Decimal(1)
            for part in tree[1]:
                product *= self.of(part)
            return product
        if kind == "/":
            return self.of(tree[1]) / self.of(tree[2])
        if kind == "^":
            return self._power(tree[1], tree[2])
        if kind == "c" and tree[1] in ("pi", "e"):
            return +PI if tree[1] == "pi" else Decimal(1).exp()
        if kind == "f":
            return self._function(tree[1], tree[2])
        raise Undefined(str(tree[1]))

    def _power(self, base: Expr, exponent: Expr) -> Decimal:
        below, above = self.of(base), self.of(exponent)
        if abs(above) > 10_000:
            raise TooLarge("power too large")
        if below < 0 and above != above.to_integral_value():
            order = exact(exponent, self.env)  # NotExact: no real value
            if order.denominator % 2 == 0:
                raise Undefined("root of a negative number")
            return (-1 if order.numerator % 2 else 1) * (-below) ** above
        return below**above

    def _function(self, name: str, args: tuple[Expr, ...]) -> Decimal:
        try:
            value = exact(("f", name, args), self.env)
            return Decimal(value.numerator) / Decimal(value.denominator)
        except NotExact:
            pass
        x = self.of(args[0])
        if name == "sqrt" and x >= 0:
            return x.sqrt()
        if name == "root" and x > 0:
            return x ** (1 / self.of(args[1]))
        if name == "root" and x < 0 and exact(args[1], self.env) % 2 == 1:
            return -((-x) ** (1 / self.of(args[1])))
        if name == "abs":
            return abs(x)
        if name == "exp" and abs(x) <= 10_000:
            return x.exp()
        if name == "ln" and x > 0:
            return x.ln()
        if name == "log" and x > 0 and len(args) == 2:
            return x.ln() / self.of(args[1]).ln()
        raise Undefined(name)  # plain `log` has no agreed base; angles are sympy's


def equal(a: Expr, b: Expr) -> bool | None:
    """Whether both have the same value wherever both are real. Raises TooLarge when one can't be computed in bounds.

    Points at which either is undefined (a root or logarithm of a negative number) say nothing: `\\sqrt{1/n}` and
    `1/\\sqrt{n}` are the same for n > 0, which is what is meant.
    """
    if a == b:
        return True
    free = symbols(a) | symbols(b)
    if not free:
        return _equal_at(a, b, {})
    agreed = 0
    for probe in range(PROBES):
        same = _equal_at(a, b, point(free, probe))
        if same is False:
            return False
        agreed += same is True
        if agreed >= 6 and probe >= 6:
            break
    return True if agreed >= 4 else None


def _equal_at(a: Expr, b: Expr, env: Env) -> bool | None:
    try:
        return exact(a, env) == exact(b, env)
    except NotExact:
        pass
    except Undefined:
        return None
    with localcontext(_CONTEXT):
        digits = _Digits(env)
        try:
            left, right = digits.of(a), digits.of(b)
        except (Undefined, NotExact, DecimalException, ZeroDivisionError):
            return None
        difference = abs(left - right)
        if difference > AGREE * 10**10 * digits.scale:
            return False
        if digits.scale < LOST and left and right and difference <= AGREE * min(abs(left), abs(right)):
            return True
        return None


@lru_cache(maxsize=2048)
def _coordinate(name: str, point: int) -> Fraction:
    digest = int.from_bytes(hashlib.blake2b(f"{name}/{point}".encode(), digest_size=10).digest(), "big")
    unit = Fraction((digest >> 40) | 1, 1 << 40)  # in (0, 1)
    kind = point % 5
    if kind in (0, 1):
        return 16 * unit + Fraction(1, 7)
    if kind == 2:
        return -16 * unit - Fraction(1, 7)
    return unit if kind == 3 else 60 + 40 * unit


def point(names: frozenset[str], probe: int) -> dict[str, Fraction]:
    """Fixed rational coordinates for `names`: of five points two lie in (0, 17), one in (-17, 0), one in (0, 1) and
    one in (60, 100), so that most domains hold some of them. At points 1 and 6 every other name is negative."""
    if probe not in (1, 6) or len(names) < 2:
        return {name: _coordinate(name, probe) for name in names}
    signs = (1, -1) if probe == 1 else (-1, 1)
    return {name: signs[i % 2] * _coordinate(name, probe) for i, name in enumerate(sorted(names))}


@lru_cache(maxsize=4096)
def number(tree: Expr) -> float | None:
    """The value as a float, for tolerances; None when it has none."""
    try:
        return float(exact(tree))
    except (NotExact, Undefined, OverflowError):
        pass
    with localcontext(_CONTEXT):
        try:
            return float(_Digits({}).of(tree))
        except (Undefined, NotExact, DecimalException, ZeroDivisionError, OverflowError):
            return None
