"""Tells values over which tests may run out of time or memory, whatever they do with them."""

from __future__ import annotations

import itertools
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

LARGE_NUMBER, MANY_ITEMS = 10**6, 10_000
_LARGE_NUMERAL = re.compile(r"\d{7}")


def is_large(value: Any) -> bool:
    """Whether plain data is, or holds, a large number (as text too), or is of many items in all."""
    left, waiting = MANY_ITEMS, [value]
    while waiting:
        item = waiting.pop()
        if type(item) is int or type(item) is float:
            if not -LARGE_NUMBER < item < LARGE_NUMBER:
                return True
        elif isinstance(item, int | float | complex | Decimal | Fraction):
            if _is_large_number(item):
                return True
        elif isinstance(item, dict):
            waiting += [*item, *item.values()][: left + 1]
        elif isinstance(item, range):  # whose length may be more than `len` can say
            left -= max(0, (item.stop - item.start) // item.step)
        elif isinstance(item, str | bytes):
            left -= len(item)
            if isinstance(item, str) and left >= 0 and _LARGE_NUMERAL.search(item) is not None:
                return True
        elif hasattr(item, "__iter__"):
            waiting += list(itertools.islice(item, left + 1))
        left -= 1
        if left < len(waiting):
            return True
    return False


def _is_large_number(number: Any) -> bool:
    try:
        return not abs(number) < LARGE_NUMBER
    except ArithmeticError:  # a Decimal that is no number
        return True
