"""Lists units of measure: which there are, and when two quantities agree."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_KNOWN: dict[str, dict[str, Fraction | int | str]] = {
    "length": {"mm": 1, "cm": 10, "dm": 100, "m": 1000, "km": 10**6, "in": "25.4", "inch": "25.4", "ft": "304.8",
               "foot": "304.8", "feet": "304.8", "yd": "914.4", "yard": "914.4", "mi": "1609344", "mile": "1609344",
               "meter": 1000, "metre": 1000, "centimeter": 10, "centimetre": 10, "millimeter": 1, "kilometer": 10**6,
               "kilometre": 10**6},
    "mass": {"mg": 1, "g": 1000, "gram": 1000, "kg": 10**6, "kilogram": 10**6, "lb": "453592.37", "pound": "453592.37",
             "oz": "28349.523125", "ounce": "28349.523125", "ton": 10**9, "tonne": 10**9},
    "time": {"ms": "0.001", "s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hr": 3600, "hour": 3600,
             "day": 86400, "week": 604800},
    "volume": {"ml": 1, "cl": 10, "l": 1000, "liter": 1000, "litre": 1000, "milliliter": 1, "millilitre": 1},
    "money": {"$": 1, "dollar": 1, "usd": 1, "buck": 1, "cent": "0.01", "¢": "0.01"},
    "euro": {"€": 1, "euro": 1, "eur": 1},
    "sterling": {"£": 1, "gbp": 1},
    "rupee": {"₹": 1, "rs": 1, "rupee": 1, "inr": 1},
    "yen": {"¥": 1, "yen": 1, "jpy": 1},
    "temperature": {"celsius": 1},
    "fahrenheit": {"fahrenheit": 1},
    "angle": {"degree": 1, "deg": 1, "\\circ": 1},
}  # fmt: skip
_TABLE = {name: (kind, Fraction(factor)) for kind, names in _KNOWN.items() for name, factor in names.items()}
_IRREGULAR = {"feet": "foot", "inches": "inch", "people": "person", "men": "man", "women": "woman", "children": "child",
              "pence": "penny", "halves": "half", "mice": "mouse", "geese": "goose"}  # fmt: skip
_SKIP = frozenset(
    ["of", "the", "a", "an", "in", "total", "altogether", "each", "all", "per", "about", "exactly", "only", "more"]
)
_SHORT = {"mph": ("mile", "/", "hour"), "kph": ("km", "/", "hour"), "kmh": ("km", "/", "hour"),
          "fps": ("foot", "/", "second"), "sqft": ("square", "foot")}  # fmt: skip
_WORD = re.compile(r"[A-Za-z$€£¢₹¥\\]+|\^\{?[23]\}?|/")


@dataclass(frozen=True, slots=True)
class Unit:
    """`kind` is a dimension ("length", "length^2", "length/time") with its factor to the base unit; None for a
    thing that is counted ("clips"), of which `words` are the nouns."""

    kind: str | None
    factor: Fraction
    words: frozenset[str]


def read(text: str) -> Unit | None:
    """The unit written as `text`; None when it says nothing ("in total")."""
    before, of, _ = text.partition(" of ")
    if of and (measure := read(before)) is not None and measure.kind is not None:
        return measure
    pieces_written = _WORD.findall(text.replace(r"\text", " ").replace("^ ", "^"))
    pieces = [name for piece in pieces_written for name in _SHORT.get(piece.lower(), (piece,))]
    names: list[str] = []
    parts: list[tuple[str, Fraction, int]] = []  # dimension, factor, power
    sign, pending, known = 1, 1, True
    for piece in pieces:
        if piece.startswith("^"):
            if parts:
                kind, factor, power = parts[-1]
                parts[-1] = (kind, factor, power * int(piece.strip("^{}")))
            continue
        word = piece.lower()
        if word in ("/", "per", "an", "a") and parts:
            sign = -1
            continue
        if word in ("square", "sq", "cubic", "cu"):
            pending = 2 if word.startswith("sq") else 3
            continue
        if word in _SKIP and not (word == "in" and len(pieces) == 1):
            continue
        name = singular(word)
        names.append(name)
        entry = _TABLE.get(word) or _TABLE.get(name)
        if entry is None:
            known = False
            continue
        parts.append((entry[0], entry[1], sign * pending))
        pending = 1
    if not names:
        return None
    if not known or not parts:
        return Unit(None, Fraction(1), frozenset(names))
    factor, kinds = Fraction(1), []
    for kind, unit_factor, power in parts:
        factor *= unit_factor**power
        kinds.append(f"{kind}^{power}")
    return Unit(" ".join(sorted(kinds)), factor, frozenset(names))


def ratio(a: Unit, b: Unit) -> Fraction | None:
    """The factor by which a number of `a` is multiplied to be one of `b`; None where the units don't agree."""
    if a.kind is not None and b.kind is not None:
        return a.factor / b.factor if a.kind == b.kind else None
    if a.words <= b.words or b.words <= a.words:
        return Fraction(1)
    return None


def singular(word: str) -> str:
    """`clip` for `clips`: English plurals, roughly."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 3 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith(("ses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if len(word) > 2 and word.endswith("s") and not word.endswith("ss") else word
