r"""Reads the structure of an answer: tuples, sets, lists, intervals, matrices, equations, inequalities, words,
quantities.

    read(r"\{1, \frac{1}{2}\}") == Many(SET, (Scalar(1), Scalar(1/2)))

Brackets keep their meaning: (1,2) is a tuple or open interval, [1,2] a closed one, {1,2} a set, `1, 2` a list.
What has structure is taken apart here; what is left is read by `quantities`: a scalar, words, or opaque LaTeX.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from berry.verifiers.maths.answers import matrices, quantities
from berry.verifiers.maths.answers.shapes import EVERYTHING, AnswerValue, Many, Opaque, Relation, Scalar, Shape, Words
from berry.verifiers.maths.expressions import nodes, normal

_SIMPLE = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")
_SIGNS = {"=": "=", "<": "<", ">": ">", "\\le": "<=", "\\ge": ">=", "\\ne": "!=", "<=": "<=", ">=": ">=", "!=": "!=",
          "\\in": "in", "==": "=", "\\equiv": "=", "\\approx": "~"}  # fmt: skip
_RELATION = re.compile(r"<=|>=|!=|==|=|<|>|\\(?:le|ge|ne|in|equiv|approx)(?![A-Za-z])")
_OR = re.compile(r"\s*(?:,\s*)?(?:\\text\{\s*(?:and/)?or\s*\}|\b(?:and/)?or\b|\\vee(?![A-Za-z]))\s*", re.IGNORECASE)
_AND = re.compile(r"\s*(?:,\s*)?(?:\\text\{\s*and\s*\}|\band\b|\\wedge(?![A-Za-z])|&(?!\w))\s*", re.IGNORECASE)
_UNION = re.compile(r"\s*\\cup(?![A-Za-z])\s*|(?<=[)\]])\s*[Uu]\s*(?=[(\[])")
_INTERSECTION = re.compile(r"\s*\\cap(?![A-Za-z])\s*")
_DIFFERENCE = re.compile(r"\s*\\setminus(?![A-Za-z])\s*|(?<=\})\s*[-\\]\s*(?=\\\{)")
_SET_OPERATIONS = (
    (_UNION, Shape.UNION),
    (_DIFFERENCE, Shape.DIFFERENCE),
    (_INTERSECTION, Shape.INTERSECTION),
)
_SET_MARK = re.compile(r"\\c[ua]p|\\setminus|\\\{|[)\]]\s*[Uu]\s*[(\[]")  # no set operation without one
_BUILDER = re.compile(r"\s*(?:\||:)\s*")
_RATIO = re.compile(r"[^:=<>]{1,40}(?::[^:=<>]{1,40}){1,8}")
_APPROXIMATION = re.compile(
    r"(.*\S)\s*\(\s*(?:\\text\{\s*(?:approximately|approx\.?|about)\s*\}|\\approx|approximately|approx\.?|about)\s*([^()]+)\)"
)
_OR_ABOUT = re.compile(
    r"(.*?[^\s,]),?\s*(?:\\text\{\s*)?\bor\s+(?:about|approximately|roughly|around)\s*\}?\s*(\S.*)", re.DOTALL
)
_CLOCK = re.compile(r"\d{1,2}:\d{2}")
_POINT = re.compile(r"([A-Z]'?)\s*(\((?=[^()]*[,;]).*\))", re.DOTALL)
_EVERYTHING_WORDS = frozenset(
    {"all real numbers", "the real numbers", "real numbers", "all reals", "the set of real numbers"}
)
_NOTHING_WORDS = frozenset(
    {"no solution", "no solutions", "no real solution", "no real solutions", "empty set", "the empty set", "no such x"}
)


@lru_cache(maxsize=8192)
def read(text: str) -> AnswerValue:
    """What `text`, raw or cleaned, says. Never raises for text that passed `bounds.fault`."""
    simple = text.strip()
    if _SIMPLE.fullmatch(simple):
        return Scalar(("n", Fraction(simple.replace(",", ""))), simple)
    cleaned = normal.clean(text)
    if "or " in cleaned and (shown := _OR_ABOUT.fullmatch(cleaned)) is not None:
        cleaned = rf"{shown[1]} \approx {shown[2]}"
    if cleaned.endswith(")") and (shown := _APPROXIMATION.fullmatch(cleaned)) is not None:
        cleaned = rf"{shown[1]} \approx {shown[2]}"
    if ("," in cleaned or "and" in cleaned) and (quantity := quantities.compound(cleaned)) is not None:
        return quantity
    try:
        return _value(cleaned)
    except RecursionError:
        return Opaque(cleaned)


def _value(text: str, depth: int = 0) -> AnswerValue:
    text = text.strip()
    if not text or depth > 12:
        return Opaque(text)
    if "\\begin" in text and (rows := _system(text)) is not None:
        return _list(rows, depth)
    if "\\begin" in text and (matrix := matrices.read(text, lambda entry: _value(entry, depth + 1))) is not None:
        return matrix
    lower = text.lower()
    if ("or" in lower or "\\vee" in text) and len(alternatives := _split(text, _OR)) > 1:
        return Many(Shape.EITHER, _flat([_value(part, depth + 1) for part in alternatives]))
    if (
        text[0] == "\\"
        and text.startswith(("\\{", "\\emptyset", "\\mathbb"))
        and (special := _set(text, depth)) is not None
    ):
        return special
    joined = _split(text, _AND) if "and" in lower or "&" in text or "\\wedge" in text else [text]
    pieces = [part for whole in joined for part in _split(whole, _SEMICOLON)] if ";" in text else joined
    parts = [part for piece in pieces for part in _commas(piece)]
    if len(parts) > 1:
        if all(parts):
            return _list(parts, depth, both=len(joined) == len(parts))
        return Opaque(text)
    if (relation := _relation(text, depth)) is not None:
        return relation
    for separator, shape in _SET_OPERATIONS if _SET_MARK.search(text) is not None else ():
        if len(pieces := _split(text, separator)) > 1:
            items = tuple(_value(piece, depth + 1) for piece in pieces)
            if shape is Shape.UNION and all(isinstance(item, Many) and item.shape is Shape.SET for item in items):
                return Many(Shape.SET, tuple(part for item in items if isinstance(item, Many) for part in item.items))
            return Many(shape, items)
    if (enclosed := _enclosed(text, depth)) is not None:
        return enclosed
    if "\\pm" in text and (both := _plus_minus(text, depth)) is not None:
        return both
    if ":" in text and (ratio := _ratio(text, depth)) is not None:
        return ratio
    if (point := _POINT.fullmatch(text)) is not None and not _closes_early(point[2]):
        return Relation((Words(point[1]), _value(point[2], depth + 1)), ("=",))
    return _single(text)


def _single(text: str) -> AnswerValue:
    value = quantities.read(text)
    if isinstance(value, Words):
        if value.text in _EVERYTHING_WORDS:
            return Words(EVERYTHING)
        if value.text in _NOTHING_WORDS:
            return Many(Shape.SET, ())
    return value


# ---- splitting outside brackets -------------------------------------------------------------------------------------


def _levels(text: str) -> list[int]:
    """Bracket depth before each character, `\\{` counted, `|` not."""
    depth, levels = 0, []
    for char in text:
        levels.append(depth)
        if char in "{([":
            depth += 1
        elif char in "})]":
            depth -= 1
            levels[-1] = depth
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
_SEMICOLON = re.compile(r"\s*;\s*")
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


def _list(parts: list[str], depth: int, *, both: bool = False) -> AnswerValue:
    """A bare list, or where all `parts` are joined by "and" (`both`) and are inequalities, one condition.

    `x = 1, 2` means both for x, and `(x, y) = (1, 2), (3, 4)` both for (x, y).
    """
    items: list[AnswerValue] = [_value(part, depth + 1) for part in parts]
    if both and all(isinstance(item, Relation) and not {"=", "in", "~"} & set(item.signs) for item in items):
        return Many(Shape.BOTH, tuple(items))
    first = items[0]
    if isinstance(first, Relation) and first.signs == ("=",):
        pairs = isinstance(first.sides[1], Many) and first.sides[1].shape is Shape.TUPLE
        if all(isinstance(i, Scalar) or (pairs and isinstance(i, Many) and i.shape is Shape.TUPLE) for i in items[1:]):
            items = [first, *(Relation((first.sides[0], item), ("=",)) for item in items[1:])]
    return Many(Shape.LIST, _flat(items))


def _flat(items: list[AnswerValue]) -> tuple[AnswerValue, ...]:
    """Lists inside a list or set (`1 \\pm \\sqrt{2}`) are several of its items."""
    flat: list[AnswerValue] = []
    for item in items:
        flat.extend(item.items if isinstance(item, Many) and item.shape is Shape.LIST else (item,))
    return tuple(flat)


def _set(text: str, depth: int) -> AnswerValue | None:
    if text == "\\emptyset" or re.fullmatch(r"\\\{\s*\\\}", text):
        return Many(Shape.SET, ())
    if re.fullmatch(r"\\mathbb\s*\{?\s*R\s*\}?", text):
        return Words(EVERYTHING)
    if not (text.startswith("\\{") and text.endswith("\\}")) or _levels(text)[-1] != 0 or _closes_early(text[1:]):
        return None
    inside = text[2:-2]
    builder = _split(inside, _BUILDER)
    if len(builder) == 2 and not re.fullmatch(r"[\d\s.]*", builder[0]):
        return _value(builder[1], depth + 1)
    return Many(Shape.SET, _flat([_value(part, depth + 1) for part in _commas_inside(inside)]))


def _enclosed(text: str, depth: int) -> AnswerValue | None:
    """(a, b), [a, b], mixed intervals. Nothing when the bracket only groups a scalar."""
    if text[0] not in "([" or text[-1] not in ")]" or _closes_early(text):
        return None
    parts = _commas_inside(text[1:-1])
    if len(parts) < 2:
        inner = parts[0] if parts and text[0] == "(" else ""
        if quantities.is_letter(inner) or _RELATION.search(inner) or _UNION.search(inner):
            return _value(inner, depth + 1)
        return None
    items = tuple(_value(part, depth + 1) for part in parts)
    if text[0] == "[" and all(isinstance(i, Many) and i.shape is Shape.TUPLE and i.brackets == "[]" for i in items):
        return Many(Shape.MATRIX, tuple(Many(Shape.LIST, row.items) for row in items if isinstance(row, Many)))
    return Many(Shape.TUPLE, items, text[0] + text[-1])


def _closes_early(text: str) -> bool:
    """Whether the first bracket closes before the end, as in `(1,2) + (3,4)`."""
    levels = _levels(text)
    return 0 in levels[1:-1]


def _commas_inside(text: str) -> list[str]:
    return [part.strip() for part in _split(text.strip(), _COMMA)] if text.strip() else []


_SYSTEM = re.compile(
    r"(?P<brace>\\\{\s*)?\\begin\{(?P<name>cases|aligned|array|matrix|gathered)\}(?:\{[lcr ]*\})?(?P<body>.*)"
    r"\\end\{(?P=name)\}\s*[.,]?",
    re.DOTALL,
)


def _system(text: str) -> list[str] | None:
    """The equations under a brace, `\\begin{cases} x = 1 \\\\ y = 2 \\end{cases}`; None for anything else."""
    match = _SYSTEM.fullmatch(text)
    if match is None or (match["name"] in ("array", "matrix") and not match["brace"]):
        return None
    rows = [row.replace("&", " ").strip(" ,.") for row in re.split(r"\\\\(?:\[[^\]]*\])?", match["body"])]
    rows = [row for row in rows if row]
    return rows if len(rows) > 1 and all(len(_split(row, _RELATION)) == 2 for row in rows) else None


def _relation(text: str, depth: int) -> AnswerValue | None:
    if _RELATION.search(text) is None:
        return None
    sides = _split(text, _RELATION)
    if len(sides) < 2 or not all(side.strip() for side in sides):
        return None
    levels = _levels(text)
    signs = [m[0] for m in _RELATION.finditer(text) if levels[m.start()] == 0 and m.start() > 0 and m.end() < len(text)]
    values = tuple(_value(side, depth + 1) for side in sides)
    last = values[-1]
    if signs == ["="] and isinstance(last, Many) and last.shape is Shape.LIST and "\\pm" in sides[-1]:
        return Many(Shape.LIST, tuple(Relation((values[0], item), ("=",)) for item in last.items))
    return Relation(values, tuple(_SIGNS[sign] for sign in signs))


def _plus_minus(text: str, depth: int) -> AnswerValue | None:
    if text.count("\\pm") != 1 or "\\mp" in text:
        return None
    plus = text.replace("\\pm", "+", 1).lstrip("+ ")
    minus = text.replace("\\pm", "-", 1)
    return Many(Shape.LIST, (_value(plus, depth + 1), _value(minus, depth + 1)))


def _ratio(text: str, depth: int) -> AnswerValue | None:
    """`1:2:3`; one of two parts is a fraction, unless that is a whole number, which no ratio is."""
    if not _RATIO.fullmatch(text) or _CLOCK.fullmatch(text):
        return None
    items = [_value(part, depth + 1) for part in _split(text, re.compile(r"\s*:\s*"))]
    if not all(isinstance(item, Scalar) for item in items):
        return None
    parts = [item.tree for item in items if isinstance(item, Scalar)]
    whole = all(nodes.is_integer(part) and part[1] for part in parts) and parts[0][1] % parts[-1][1] == 0
    return Many(Shape.RATIO, tuple(items)) if len(items) > 2 or whole else None
