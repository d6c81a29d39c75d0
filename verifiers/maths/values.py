r"""The structure of an answer: tuples, sets, lists, intervals, matrices, equations, inequalities, words, quantities.

    read(r"\{1, \frac{1}{2}\}") == Many(SET, (Scalar(1), Scalar(1/2)))

Brackets keep their meaning: (1,2) is a tuple or open interval, [1,2] a closed one, {1,2} a set, `1, 2` a list.
What has structure is taken apart here; what is left is a scalar expression, words, or opaque LaTeX.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from berry.verifiers.maths import expr, normal, units
from berry.verifiers.maths.shapes import EVERYTHING, Many, Opaque, Relation, Scalar, Shape, Value, Words

_SIMPLE = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")
_SIGNS = {"=": "=", "<": "<", ">": ">", "\\le": "<=", "\\ge": ">=", "\\ne": "!=", "<=": "<=", ">=": ">=", "!=": "!=",
          "\\in": "in", "==": "=", "\\equiv": "=", "\\approx": "~"}  # fmt: skip
_RELATION = re.compile(r"<=|>=|!=|==|=|<|>|\\(?:le|ge|ne|in|equiv|approx)(?![A-Za-z])")
_OR = re.compile(r"\s*(?:,\s*)?(?:\\text\{\s*(?:and/)?or\s*\}|\b(?:and/)?or\b|\\vee(?![A-Za-z]))\s*", re.IGNORECASE)
_AND = re.compile(r"\s*(?:,\s*)?(?:\\text\{\s*and\s*\}|\band\b|&(?!\w))\s*", re.IGNORECASE)
_UNION = re.compile(r"\s*\\cup(?![A-Za-z])\s*|(?<=[)\]])\s*[Uu]\s*(?=[(\[])")
_MATRIX = re.compile(r"\\begin\{([pbBv]?matrix|array)\}(?:\{[lcr| ]*\})?(.*)\\end\{\1\}", re.DOTALL)
_BASE = re.compile(
    r"([0-9A-Za-z]+)\s*(?:_\s*\{?\s*(?:\\text\{)?\s*(\d{1,2}|[a-z]+)\s*\}?\s*\}?"
    r"|(?:\\text)?\s*[({]\s*base\s*(\d{1,2}|[a-z]+)\s*[)}]|\s+(?:in\s+)?base[- ](\d{1,2}|[a-z]+))"
)
_BASES = {
    name: n
    for n, name in enumerate(
        ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"], 2
    )
} | {"sixteen": 16}
_NUMBER_WORDS = {
    w: n
    for n, w in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
    )
}
_QUANTITY = re.compile(
    r"(?P<money>\\\$|[€£])?\s*(?P<value>.*?[\d)}|])\s*(?P<unit>\^\{?\\circ\s*\}?(?:\s*[CF])?"
    r"|(?:(?:\\text\{[^{}]*\}|[A-Za-z¢]{2,}+|(?<=[\d /])[a-z]|€)(?:\^\{?[23]\}?)?[\s/.-]*+){1,6}+)?",
    re.DOTALL,
)
_QUANTITY_CHARS = 200
_PLAIN_UNIT = re.compile(
    r"(?<=[\d)}])\s*(?:[cmk]m|[km]g|ml|lb|oz|ft|in|yd|mi|hr|sec|k?m\s*/\s*(?:s|h|hr))(?:\^\{?[23]\}?)?\s*$",
    re.IGNORECASE,
)
_RATIO = re.compile(r"([\d.]+)\s*(?::|\bto\b)\s*([\d.]+)")
_CLOCK = re.compile(r"\d{1,2}:\d{2}")
_PERCENT = re.compile(r"\s*(?:\\?%|\\text\{\s*(?:%|per\s?cent)\s*\}|\bper\s?cent(?:age)?)\s*$", re.IGNORECASE)


@lru_cache(maxsize=8192)
def read(text: str) -> Value:
    """What `text`, raw or cleaned, says. Never raises for text that passed `bounds.fault`."""
    simple = text.strip()
    if _SIMPLE.fullmatch(simple):
        return Scalar(("n", Fraction(simple.replace(",", ""))), simple)
    cleaned = normal.clean(text)
    try:
        return _value(cleaned)
    except RecursionError:
        return Opaque(cleaned)


def _value(text: str, depth: int = 0) -> Value:
    text = text.strip()
    if not text or depth > 12:
        return Opaque(text)
    if (match := _MATRIX.fullmatch(text)) is not None and match[1] != "vmatrix":
        return _matrix(match[2], depth)
    if len(alternatives := _split(text, _OR)) > 1:
        return Many(Shape.EITHER, tuple(_value(part, depth + 1) for part in alternatives))
    if (
        text[0] == "\\"
        and text.startswith(("\\{", "\\emptyset", "\\mathbb"))
        and (special := _set(text, depth)) is not None
    ):
        return special
    parts = [part for joined in _split(text, _AND) for part in _commas(joined)]
    if len(parts) > 1:
        if all(parts):
            return _list(parts, depth)
        return Opaque(text)
    if len(pieces := _split(text, _UNION)) > 1:
        return Many(Shape.UNION, tuple(_value(piece, depth + 1) for piece in pieces))
    if (relation := _relation(text, depth)) is not None:
        return relation
    if (enclosed := _enclosed(text, depth)) is not None:
        return enclosed
    if "\\pm" in text and (both := _plus_minus(text, depth)) is not None:
        return both
    return _scalar(text)


# ---- splitting outside brackets -------------------------------------------------------------------------------------


def _levels(text: str) -> list[int]:
    """Bracket depth before each character, `\\{` counted, `|` not."""
    depth, levels, escaped = 0, [], False
    for char in text:
        levels.append(depth)
        if char in "{([":
            depth += 1
        elif char in "})]":
            depth -= 1
            levels[-1] = depth
        escaped = char == "\\" and not escaped
    return levels


def _split(text: str, separator: re.Pattern[str]) -> list[str]:
    """`text` cut at the separators that are in no bracket."""
    matches = list(separator.finditer(text))
    if not matches:
        return [text]
    levels, parts, start = _levels(text), [], 0
    for match in matches:
        if levels[match.start()] == 0 and match.start() > 0 and match.end() < len(text):
            parts.append(text[start : match.start()])
            start = match.end()
    parts.append(text[start:])
    return parts


_COMMA = re.compile(r"\s*[,;]\s*")
_THOUSANDS = re.compile(r"(?<![\d,])\d{1,3}(?:,\d{3})+(?![\d,])")


def _commas(text: str) -> list[str]:
    """List items; `1,234` is one number, `1, 234` and `(1,234)` are two."""
    if "," not in text and ";" not in text:
        return [text]
    guarded = text.replace("{,}", "\0") if "{,}" in text else text
    levels = _levels(guarded)
    guarded = _THOUSANDS.sub(lambda m: m[0].replace(",", "\0") if levels[m.start()] == 0 else m[0], guarded)
    return [part.replace("\0", ",").strip() for part in _split(guarded, _COMMA)]


# ---- kinds ----------------------------------------------------------------------------------------------------------


def _list(parts: list[str], depth: int) -> Value:
    """`x = 1, x = 2` keeps its relations; `x = 1, 2` means both for x."""
    items: list[Value] = [_value(part, depth + 1) for part in parts]
    first = items[0]
    if isinstance(first, Relation) and first.signs == ("=",) and all(isinstance(i, Scalar) for i in items[1:]):
        items = [first, *(Relation((first.sides[0], item), ("=",)) for item in items[1:])]
    return Many(Shape.LIST, _flat(items))


def _flat(items: list[Value]) -> tuple[Value, ...]:
    """Lists inside a list or set (`1 \\pm \\sqrt{2}`) are several of its items."""
    flat: list[Value] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Many) and item.shape is Shape.LIST else (item,))
    return tuple(flat)


def _set(text: str, depth: int) -> Value | None:
    if text == "\\emptyset" or re.fullmatch(r"\\\{\s*\\\}", text):
        return Many(Shape.SET, ())
    if re.fullmatch(r"\\mathbb\s*\{?\s*R\s*\}?", text):
        return Words(EVERYTHING)
    if not (text.startswith("\\{") and text.endswith("\\}")) or _levels(text)[-1] != 0 or _closes_early(text[1:]):
        return None
    inside = text[2:-2]
    builder = _split(inside, re.compile(r"\s*(?:\||:)\s*"))
    if len(builder) == 2:
        return _value(builder[1], depth + 1)
    return Many(Shape.SET, _flat([_value(part, depth + 1) for part in _commas_inside(inside)]))


def _enclosed(text: str, depth: int) -> Value | None:
    """(a, b), [a, b], mixed intervals. Nothing when the bracket only groups a scalar."""
    if text[0] not in "([" or text[-1] not in ")]" or _closes_early(text):
        return None
    parts = _commas_inside(text[1:-1])
    if len(parts) < 2:
        return _value(parts[0], depth + 1) if parts and text[0] == "(" and _letter(parts[0]) else None
    items = tuple(_value(part, depth + 1) for part in parts)
    if text[0] == "[" and all(isinstance(i, Many) and i.shape is Shape.TUPLE and i.brackets == "[]" for i in items):
        return Many(Shape.MATRIX, tuple(Many(Shape.LIST, row.items) for row in items if isinstance(row, Many)))
    return Many(Shape.TUPLE, items, text[0] + text[-1])


def _letter(text: str) -> bool:
    return re.fullmatch(r"[A-J]|\\text\{\s*\(?[A-Ja-j]\)?\s*\}", text.strip()) is not None


def _closes_early(text: str) -> bool:
    """Whether the first bracket closes before the end, as in `(1,2) + (3,4)`."""
    levels = _levels(text)
    return 0 in levels[1:-1]


def _commas_inside(text: str) -> list[str]:
    return [part.strip() for part in _split(text.strip(), _COMMA)] if text.strip() else []


def _matrix(body: str, depth: int) -> Value:
    rows = [row for row in re.split(r"\\\\(?:\[[^\]]*\])?", body.replace("\\hline", "")) if row.strip()]
    return Many(
        Shape.MATRIX,
        tuple(Many(Shape.LIST, tuple(_value(cell, depth + 1) for cell in row.split("&"))) for row in rows),
    )


def _relation(text: str, depth: int) -> Value | None:
    sides = _split(text, _RELATION)
    if len(sides) < 2 or not all(side.strip() for side in sides):
        return None
    levels = _levels(text)
    signs = [m[0] for m in _RELATION.finditer(text) if levels[m.start()] == 0 and m.start() > 0 and m.end() < len(text)]
    return Relation(tuple(_value(side, depth + 1) for side in sides), tuple(_SIGNS[sign] for sign in signs))


def _plus_minus(text: str, depth: int) -> Value | None:
    if text.count("\\pm") != 1 or "\\mp" in text:
        return None
    plus = text.replace("\\pm", "+", 1).lstrip("+ ")
    minus = text.replace("\\pm", "-", 1)
    return Many(Shape.LIST, (_value(plus, depth + 1), _value(minus, depth + 1)))


def _scalar(text: str) -> Value:
    percent = _PERCENT.search(text)
    if percent is not None and percent.start() > 0 and not text[: percent.start()].endswith(("%", "percent")):
        inner = _scalar(text[: percent.start()])
        if isinstance(inner, Scalar) and not inner.percent:
            return Scalar(inner.tree, text, percent=True)
    if (base := _based(text)) is not None:
        return base
    if _PLAIN_UNIT.search(text) and (quantity := _quantity(text)) is not None:
        return quantity
    try:
        tree = expr.parse(text)
        degrees = tree[0] == "f" and tree[1] == "deg"
        return Scalar(tree[2][0] if degrees else tree, text, unit=units.read("degree") if degrees else None)
    except expr.Unparsable:
        pass
    if _CLOCK.fullmatch(text):
        return Words(text)
    if (ratio := _RATIO.fullmatch(text)) is not None:
        return _scalar(f"({ratio[1]})/({ratio[2]})")
    if (quantity := _quantity(text)) is not None:
        return quantity
    word = normal.words(text)
    if word in _NUMBER_WORDS:
        return Scalar(("n", Fraction(_NUMBER_WORDS[word])), text)
    if re.search(r"[^\W\d_]{2}", word) and not re.search(r"\\(?!text\b)[A-Za-z]+|\^|_\{", text):
        return Words(word)
    return Words(word) if _letter(text) else Opaque(text)


def _based(text: str) -> Scalar | None:
    if "_" not in text and "base" not in text:
        return None
    match = _BASE.fullmatch(text)
    if match is None:
        return None
    written = match[2] or match[3] or match[4]
    base = _BASES.get(written) or (int(written) if written.isdigit() else 0)
    try:
        return Scalar(("n", Fraction(int(match[1], base))), text, base=base) if 2 <= base <= 36 else None
    except ValueError:
        return None


def _quantity(text: str) -> Scalar | None:
    match = _QUANTITY.fullmatch(text) if len(text) <= _QUANTITY_CHARS else None
    if match is None or not (match["money"] or match["unit"]):
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
    return Scalar(tree, text, unit=unit)
