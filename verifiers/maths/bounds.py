"""Refuses answers that would cost too much, before anything parses them.

Length, digits of one number, nesting, and characters that make text read as what it is not. Exponents are bounded
where they are evaluated (`evaluate.py`), since their size is only known there.
"""

from __future__ import annotations

import re
from enum import StrEnum

MAX_CHARS = 4_096
ANSWER_CHARS = 1_024
MAX_DIGITS = 1_000
MAX_NESTING = 40

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ufffd\ud800-\udfff]")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")  # can make 12 be displayed as 21
_LONG_NUMBER = re.compile(rf"\d(?:[\d,]|\{{,\}}){{{MAX_DIGITS},}}")


class TextFault(StrEnum):
    """Why text is not looked at."""

    EMPTY = "empty"
    TOO_LONG = "too many characters"
    TOO_MANY_DIGITS = f"a number of over {MAX_DIGITS} digits"
    TOO_NESTED = f"nested over {MAX_NESTING} deep"
    UNBALANCED = "brackets or braces that don't match"
    CONTROL = "control characters"
    BIDI = "text-direction overrides"

    @property
    def too_large(self) -> bool:
        """Whether the text is refused for its size."""
        return self in (TextFault.TOO_LONG, TextFault.TOO_MANY_DIGITS, TextFault.TOO_NESTED)


def fault(text: str, *, max_chars: int = MAX_CHARS) -> TextFault | None:
    """Why `text` can't be an answer; None when it is worth parsing."""
    if not text.strip():
        return TextFault.EMPTY
    if len(text) > max_chars:
        return TextFault.TOO_LONG
    if text.isascii() and text.isalnum():
        return TextFault.TOO_MANY_DIGITS if len(text) > MAX_DIGITS else None
    if _CONTROL.search(text):
        return TextFault.CONTROL
    if _BIDI.search(text):
        return TextFault.BIDI
    if _LONG_NUMBER.search(text):
        return TextFault.TOO_MANY_DIGITS
    return _nesting(text)


def _nesting(text: str) -> TextFault | None:
    """Braces must match; brackets may be mixed, `[1, 2)` is an interval, so only their depth counts."""
    braces = depth = deepest = 0
    escaped = False
    for char in text:
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in "{([":
            depth += 1
            deepest = max(deepest, depth)
            braces += char == "{"
        elif char in "})]":
            depth -= 1
            braces -= char == "}"
            if braces < 0 or depth < 0:
                return TextFault.UNBALANCED
    if deepest > MAX_NESTING or text.count("^") > MAX_NESTING * 2:
        return TextFault.TOO_NESTED
    return TextFault.UNBALANCED if braces or depth else None
