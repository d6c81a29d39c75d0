r"""Finds the formulas of a text and reads what one of several rows ends with.

math_segments("it is $x^2$ for \\(x = 3\\)") == [(6, 11), (16, 25)]
last_row("x &= 3 + 4 \\\\ &= 7") == "7"
"""

from __future__ import annotations

import re

_DISPLAY = re.compile(r"\$\$(.+?)\$\$|\\\[(.+?)\\\]|\\\((.+?)\\\)", re.DOTALL)
_ROW = re.compile(r"\\\\(?:\[[^\]]*\])?")
_ENVIRONMENT = re.compile(
    r"\\(?:begin|end)\{(?:align|aligned|equation|gather|gathered|eqnarray|split)\*?\}(?:\{[lcr]*\})?"
)
_NAMED = re.compile(r"\s*([A-Za-z](?:_\{?\w+\}?)?)\s*=\s*[^=A-Za-z]+\s*")


def last_row(formula: str) -> str:
    """What a display formula of several rows ends with: its last row, or all rows where each gives another name."""
    formula = re.sub(r"\$\$|\\[\[\]](?!\s*[\d.]+\s*(?:pt|em|ex))", " ", formula)
    formula = _ENVIRONMENT.sub(" ", formula) if "\\begin" in formula else formula
    if "\\begin" in formula:
        return formula.strip()
    rows = [row.replace("&", " ").strip() for row in _ROW.split(formula)]
    rows = [row for row in rows if row]
    if not rows:
        return ""
    names = [match[1] for row in rows if (match := _NAMED.fullmatch(row.rstrip(" .,"))) is not None]
    if len(rows) > 1 and len(set(names)) == len(rows):
        return ", ".join(row.rstrip(" .,") for row in rows)
    return rows[-1].lstrip("= ").rstrip(" .,")


def math_segments(text: str) -> list[tuple[int, int]]:
    r"""Where mathematics stands between delimiters: `$…$`, `$$…$$`, `\(…\)`, `\[…\]`; (start, end) of each.

    A dollar opens mathematics only where another closes it: with no space inside either (or inside both) and no digit
    after it, as Pandoc has it; every other dollar is money, as in "$5 + $3 = $8".
    """
    found = [(m.start(), m.end()) for m in _DISPLAY.finditer(text)]
    taken, position, inside = sorted(found), 0, 0
    dollars = [m.start() for m in re.finditer(r"(?<![\\$])\$(?!\$)", text)]
    index = 0
    while index + 1 < len(dollars):
        opening, closing = dollars[index], dollars[index + 1]
        while inside < len(taken) and taken[inside][1] <= opening:
            inside += 1
        if opening < position or (inside < len(taken) and taken[inside][0] <= opening):
            index += 1
            continue
        if _is_pair(text, opening, closing):
            found.append((opening, closing + 1))
            position = closing + 1
            index += 2
        else:
            index += 1
    return sorted(found)


def _is_pair(text: str, opening: int, closing: int) -> bool:
    if closing == opening + 1 or text[closing + 1 : closing + 2].isdigit():
        return False
    spaced = text[opening + 1] == " ", text[closing - 1] == " "
    content = text[opening + 1 : closing].strip()
    if spaced[0] != spaced[1] or not content or content[-1] in "=+*/<>":
        return False
    return not re.search(r"(?<!\\)\b(?:and|or|is|are|for|per|the|each|plus|of|to)\s", content)
