r"""Reads scalars with what is written around them: percent signs, bases, units, money, numbers in words.

read("50 pct") == Scalar(50, percent=True)          read("1011_2") == Scalar(11, base=2)
read(r"5 \text{ cm}") == Scalar(5, unit=cm)         read("twenty-one") == Scalar(21)
"""

from __future__ import annotations

import re
from fractions import Fraction

from berry.verifiers.maths.answers import units
from berry.verifiers.maths.answers.shapes import AnswerValue, Opaque, Scalar, Words
from berry.verifiers.maths.expressions import expr, normal

_BASE = re.compile(
    r"\(?([0-9A-Za-z]+)\)?\s*(?:_\s*\{?\s*(?:\\text\{)?\s*(\d{1,2}|[a-z]+)\s*\}?\s*\}?"
    r"|\s*(?:\\text\s*)?[({]?\s*[({]?\s*(?:in\s+)?(?<![A-Za-z])base[-_ ]{0,2}(\d{1,2}|[a-z]+)\s*[)}]{0,2})"
)
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_WORDS = {word: n for n, word in enumerate(_ONES)} | {word: 10 * n for n, word in enumerate(_TENS, 2)}
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {
    "half": 2,
    "halves": 2,
    "third": 3,
    "quarter": 4,
    "fourth": 4,
    "fifth": 5,
    "sixth": 6,
    "eighth": 8,
    "tenth": 10,
}
_BASES = {word: n for word, n in _WORDS.items() if 2 <= n <= 16}
_QUANTITY = re.compile(
    r"(?P<money>\\\$|[€£₹¥]|(?:USD|EUR|GBP|Rs\.?)(?=\s))?\s*(?P<value>.*?[\d)}|])\s*"
    r"(?P<scale>(?:\\text\{\s*)?(?:dozen|hundred|thousand|million|billion|trillion)(?![a-z])\s*\}?)?\s*"
    r"(?P<unit>\^\{?\\circ\s*\}?(?:\s*[CF])?"
    r"|/?\s?(?:(?:\\text\{[^{}]*\}|[A-Za-z¢]{2,}+|(?<=[\d /])[a-z]|[€£₹¥¢])(?:\^\{?[23]\}?)?[\s/.-]*+){1,6}+)?",
    re.DOTALL,
)
_QUANTITY_CHARS = 200
_NO_UNIT = re.compile(  # words that change the number, or take it back
    r"\d|\b(?:squared|cubed|plus|minus|factorial|mod|modulo|power|or|not|no|nor|maybe|perhaps|less|wrong|if|when"
    r"|unless|except|half|halves|thirds?|quarters?|point|base|approximately|about|and)\b",
    re.IGNORECASE,
)
_PLAIN_UNIT = re.compile(
    r"(?<=[\d)}])\s*(?:[cmk]m|[km]g|ml|lb|oz|ft|in|yd|mi|hr|sec|mph|k?m\s*/\s*(?:s|h|hr))(?:\^\{?[23]\}?)?\s*$",
    re.IGNORECASE,
)
_RATIO = re.compile(r"([\d.]+)\s*(?::|\bto\b|\bout of\b|\bin\b)\s*([\d.]+)")
_CLOCK = re.compile(r"\d{1,2}:\d{2}")
_PERCENT = re.compile(
    r"\s*(?:\\?%|\\text\{\s*(?:%|pct\.?|per\s?cent)\s*\}|\b(?:pct\b\.?|per\s?cent(?:age)?))\s*$", re.IGNORECASE
)
_PREAMBLE = re.compile(r"(?:there (?:are|is|were|will be)|it is|it's|they are)\s+(?=[\d\\(])", re.IGNORECASE)
_IN_BRACKETS = re.compile(
    r"(.*[\d)}])\s*\(\s*(?:\\text\{)?\s*([A-Za-z][A-Za-z /]{0,30}(?:\^\{?\d\}?)?)\s*\}?\s*\)", re.DOTALL
)
_UNIT_FRACTION = re.compile(
    r"\\frac\s*\{\s*\\text\{\s*([A-Za-z]+)\s*\}\s*\}\s*\{\s*\\text\{\s*([A-Za-z]+)\s*\}\s*\}\s*$"
)
_NEGATIVE = re.compile(r"(?:negative|minus)\s+(?=[\w.])")
_COMPOUND = re.compile(
    r"(\d[\d,.]*\s*(?:\\text\{[^{}]*\}|[A-Za-z]+))(\s*,\s*(?:and\s+)?|\s+and\s+|[\s,]*)"
    r"(\d[\d,.]*\s*(?:\\text\{[^{}]*\}|[A-Za-z]+))"
)
_IN_ONE_BREATH = (frozenset({"foot", "inch"}), frozenset({"pound", "ounce"}), frozenset({"dollar", "cent"}))
_TIME_OF_DAY = re.compile(
    r"(?:\\text\s*\{\s*)?(\d{1,2}):([0-5]\d)\s*(?:\}\s*)?(?:\\text\s*\{\s*)?(?:([ap])\.?\s?m\.?)?\s*\}?", re.IGNORECASE
)
_INFINITIES = {"negative infinity": "-\\infty", "minus infinity": "-\\infty", "positive infinity": "\\infty"}
_SYNONYMS = {
    "dne": "does not exist",
    "doesn't exist": "does not exist",
    "all reals": "all real numbers",
    "all real": "all real numbers",
    "any real number": "all real numbers",
    "infinite": "infinitely many",
}


def read(text: str) -> AnswerValue:
    """The scalar, with percent, base and unit, or the words that `text` (cleaned) is; Opaque where it is neither."""
    percent = _PERCENT.search(text) if "%" in text or "pct" in (lower := text.lower()) or "cent" in lower else None
    if percent is not None and percent.start() > 0 and not text[: percent.start()].endswith(("%", "percent")):
        inner = read(text[: percent.start()])
        if isinstance(inner, Scalar) and not inner.percent:
            return Scalar(inner.tree, text, percent=True)
    if (base := _based(text)) is not None:
        return base
    if "\\frac" in text:
        text = _UNIT_FRACTION.sub(r"\\text{\1/\2}", text)
    if text.endswith(")") and (unit := _IN_BRACKETS.fullmatch(text)) is not None:
        known = units.read(unit[2])
        if known is not None and (known.kind is not None or unit[2] in ("unit", "units")) and len(unit[2]) > 1:
            text = rf"{unit[1]} \text{{{unit[2]}}}"
    if _PLAIN_UNIT.search(text) and (quantity := _quantity(text)) is not None:
        return quantity
    try:
        tree = expr.parse(text)
        degrees = tree[0] == "f" and tree[1] == "deg"
        return Scalar(tree[2][0] if degrees else tree, text, unit=units.read("degree") if degrees else None)
    except expr.Unparsable:
        pass
    if ":" in text and (time := _time_of_day(text)) is not None:
        return Words(time)
    if (ratio := _RATIO.fullmatch(text)) is not None:
        return read(f"({ratio[1]})/({ratio[2]})")
    if (quantity := compound(text) or _quantity(text)) is not None:
        return quantity
    return _words(text)


def _time_of_day(text: str) -> str | None:
    """`3:30 pm` of `3:30PM`, `03:30 p.m.` and `15:30`; a time that may be either half of the day stays as it is."""
    match = _TIME_OF_DAY.fullmatch(text.strip())
    if match is None or int(match[1]) > 23:
        return text if _CLOCK.fullmatch(text) else None
    hour, minutes, half = int(match[1]), match[2], match[3]
    if half is None:
        if 1 <= hour <= 12:
            return text
        half = "a" if hour == 0 else "p"
    elif not 1 <= hour <= 12:
        return None
    return f"{hour % 12 or 12}:{minutes} {half.lower()}m"


def compound(text: str) -> Scalar | None:
    """`2 hours 30 minutes` as one quantity, in the first unit; None where the second is not a part of the first.

    With a comma or "and" between them lengths are two answers ("10 m, 20 cm"), times and feet with inches are one.
    """
    match = _COMPOUND.fullmatch(text) if len(text) <= _QUANTITY_CHARS else None
    if match is None:
        return None
    whole, part = _quantity(match[1]), _quantity(match[3])
    if whole is None or part is None or whole.unit is None or part.unit is None:
        return None
    if match[2].strip() and whole.unit.kind != "time^1" and whole.unit.words | part.unit.words not in _IN_ONE_BREATH:
        return None
    factor = units.ratio(part.unit, whole.unit)
    if factor is None or factor >= 1 or part.tree[0] != "n" or part.tree[1] * factor >= 1:
        return None
    if whole.tree[0] != "n":
        return None
    return Scalar(("n", whole.tree[1] + part.tree[1] * factor), text, unit=whole.unit)


def _words(text: str) -> AnswerValue:
    word = normal.words(text)
    if word in _INFINITIES:
        return Scalar(expr.parse(_INFINITIES[word]), text)
    if (preamble := _PREAMBLE.match(word)) is not None:
        inner = read(word[preamble.end() :])
        if isinstance(inner, Scalar):
            return inner
    if (sign := _NEGATIVE.match(word)) is not None:
        inner = read(word[sign.end() :])
        if isinstance(inner, Scalar) and inner.tree[0] == "n":
            return Scalar(("n", -inner.tree[1]), text, inner.percent, inner.unit)
    if (number := number_in_words(word)) is not None:
        return Scalar(("n", number), text)
    if re.search(r"[^\W\d_]{2}", word) and not re.search(r"\\(?!text\b)[A-Za-z]+|\^|_\{", text):
        return Words(_SYNONYMS.get(word, word))
    return Words(word) if is_letter(text) else Opaque(text)


def is_letter(text: str) -> bool:
    """Whether `text` is the letter of an option: `C`, `\\text{(C)}`."""
    return re.fullmatch(r"[A-J]|\\text\{\s*\(?[A-Ja-j]\)?\s*\}", text.strip()) is not None


def number_in_words(text: str) -> Fraction | None:
    """The number that English `text` (lower case) names, `twenty-one`, `three hundred`, `two thirds`; else None."""
    names = text.replace("-", " ").split()
    if not names or len(names) > 12:
        return None
    part = _PARTS.get(names[-1].removesuffix("s") if names[-1] != "halves" else names[-1])
    if part is not None and len(names) >= 2:
        over = _whole_in_words(["one"] if names[:-1] in (["a"], ["an"]) else names[:-1])
        return Fraction(over, part) if over is not None else None
    whole = _whole_in_words(names)
    return None if whole is None else Fraction(whole)


def _whole_in_words(names: list[str]) -> int | None:
    total = group = 0
    last = 1000  # a smaller number than the one before must follow: "five twenty" is none
    for name in names:
        if name in _WORDS:
            value = _WORDS[name]
            if value >= last or (last < 100 and last % 10) or (last < 20):
                return None
            group, last = group + value, value or 1
        elif name == "hundred" and 0 < group < 10:
            group, last = group * 100, 100
        elif name in _SCALES and name not in ("hundred", "dozen") and group:
            total, group, last = total + group * _SCALES[name], 0, 1000
        elif name != "and":
            return None
    return total + group


def _based(text: str) -> Scalar | None:
    if "_" not in text and "base" not in text:
        return None
    match = _BASE.fullmatch(text)
    if match is None or text.startswith("(") != (")" in text[: match.end(1) + 1]):
        return None
    written = match[2] or match[3]
    base = _BASES.get(written) or (int(written) if written.isdigit() else 0)
    try:
        return Scalar(("n", Fraction(int(match[1], base))), text, base=base) if 2 <= base <= 36 else None
    except ValueError:
        return None


def _quantity(text: str) -> Scalar | None:
    match = _QUANTITY.fullmatch(text) if len(text) <= _QUANTITY_CHARS else None
    if match is None or not (match["money"] or match["unit"] or match["scale"]):
        return None
    written = (
        (match["money"] or "").replace("\\$", "$")
        + " "
        + re.sub(r"[{}.]", " ", (match["unit"] or "")).replace("^ \\", "\\")
    )
    try:
        tree = expr.parse(match["value"].strip())
    except expr.Unparsable:
        return None
    unit = units.read(re.sub(r"\^ *\\circ *[CF]?", "degree", written))
    if (
        unit is not None
        and unit.kind is None
        and re.match(r"[A-Za-z]", match["unit"] or "")
        and text[match.start("unit") - 1] != " "
    ):
        return None  # `5ish`
    if _NO_UNIT.search(re.sub(r"\^\s*\{?[23]\}?", "", match["unit"] or "")):
        return None
    if match["scale"]:
        scale = _SCALES[re.sub(r"\\text|[^a-z]", "", match["scale"])]
        tree = ("n", tree[1] * scale) if tree[0] == "n" else ("*", (tree, ("n", Fraction(scale))))
    return Scalar(tree, text, unit=unit)
