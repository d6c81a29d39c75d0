"""Finds the numbers of a word problem that may change, draws new ones, and writes the text with them.

    text ─► number_slots ─► draw ─► filled

Numbers that rarely are quantities stay: 0, 1, years, ordinals, fractions, ranges, times of day, exponents, formulas'
arguments; so do those that the text also gives as a word or in a place where they can't change. New numbers keep the
old ones' order, decimals and, next to a percent sign, the bound 100.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from berry.pipeline.stages.variants.dedup import numbers_in

_NUMBER = re.compile(r"(?<![\w.,/^\\{:-])(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?![\w/^}]|[.,:-]\d)")
_YEAR = re.compile(r"1[5-9]\d\d|20\d\d")
_PERCENT = re.compile(r"\s*(?:\\?%|percent\b|per cent\b)", re.IGNORECASE)
_PLAIN = re.compile(r"\s*\$?\s*(-?\d+(?:,\d{3})*(?:\.\d+)?)\s*")
_TRIES = 100


@dataclass(frozen=True, slots=True)
class NumberSlot:
    """One number of the text, wherever it occurs. `percent`: at least once followed by a percent sign."""

    value: Decimal
    percent: bool = False

    @property
    def argument(self) -> int | float:
        """The number as a program takes it."""
        return as_argument(self.value)


def as_argument(value: Decimal) -> int | float:
    """A decimal as a program takes it: whole where it is written so, else a float."""
    return int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else float(value)


def number_slots(text: str) -> list[NumberSlot]:
    """The numbers that may change, in order of first appearance, each once."""
    all_of_them = Counter(Decimal(number) for number in numbers_in(text))
    places: dict[Decimal, list[re.Match[str]]] = {}
    for match in _NUMBER.finditer(text):
        places.setdefault(Decimal(match[0].replace(",", "")), []).append(match)
    found: list[NumberSlot] = []
    for value, matches in places.items():
        percent = any(_PERCENT.match(text, match.end()) for match in matches)
        constant = value in (0, 1) or (percent and value == 100) or any(_YEAR.fullmatch(m[0]) for m in matches)
        if not constant and len(matches) == all_of_them[value]:
            found.append(NumberSlot(value, percent))
    return found


def filled(text: str, new: dict[Decimal, str]) -> str:
    """The text with each changeable number replaced; thousands keep their commas."""

    def one(match: re.Match[str]) -> str:
        value = Decimal(match[0].replace(",", ""))
        if value not in new:
            return match[0]
        return f"{Decimal(new[value]):,}" if "," in match[0] else new[value]

    return _NUMBER.sub(one, text)


def draw(found: list[NumberSlot], change: tuple[float, float], chance: random.Random) -> list[Decimal] | None:
    """New values in the slots' order: all of them others where that can be had, else at least one; None where none of
    many tries fits."""
    order = sorted(range(len(found)), key=lambda i: found[i].value)
    best: list[Decimal] | None = None
    for _ in range(_TRIES):
        new = [_changed(slot, change, chance) for slot in found]
        if any(new[a] >= new[b] for a, b in pairwise(order)):
            continue
        kept = [value == slot.value for value, slot in zip(new, found, strict=True)]
        if not any(kept):
            return new
        if best is None and not all(kept):
            best = new
    return best


def _changed(slot: NumberSlot, change: tuple[float, float], chance: random.Random) -> Decimal:
    unit = Decimal(1).scaleb(int(slot.value.as_tuple().exponent))
    value = (slot.value * Decimal(chance.uniform(*change))).quantize(unit)
    floor = Decimal(2) if unit == 1 else unit
    ceiling = Decimal(99) if slot.percent and slot.value < 100 else None
    value = max(value, floor)
    return value if ceiling is None else min(value, ceiling)


def plain_number(gold: str) -> Fraction | None:
    """The gold as a number, with or without a dollar sign; None if it is anything else."""
    match = _PLAIN.fullmatch(gold)
    return Fraction(match[1].replace(",", "")) if match else None


def as_gold(answer: Fraction) -> str:
    """A number as a gold: whole, or a decimal where that is exact, else a fraction."""
    if answer.denominator == 1:
        return str(answer.numerator)
    rest = answer.denominator
    for prime in (2, 5):
        while rest % prime == 0:
            rest //= prime
    if rest != 1:
        return f"{answer.numerator}/{answer.denominator}"
    return format(Decimal(answer.numerator) / Decimal(answer.denominator), "f")
