r"""Finds the names that an answer may choose: the integer of a family of solutions, the constant of an antiderivative.

renamed(r"k\pi, k \in \mathbb{Z}", r"n\pi") == r"k\pi"          renamed("x^2 + C", "x^2 + c") == "x^2 + C"
"""

from __future__ import annotations

import re

_INTEGERS = r"(?:\\mathbb\s*\{?\s*[ZN]\s*\}?|ℤ|\\Z(?![A-Za-z]))"
_FAMILY = re.compile(
    rf"[\s,;($]*(?:\\q?quad\s*)?(?:\\text\s*\{{\s*)?(?:(?:where|for|with)\s+)?(?:any\s+|all\s+)?(?:integers?\s+)?(?:\}}\s*)?"
    rf"[\s($]*(?P<name>[a-z])\s*(?:(?:\\in|∈)\s*{_INTEGERS}|(?:\\text\s*\{{)?\s*(?:is|any|are)\s+(?:an\s+|any\s+)?integers?\s*\}}?)"
    r"[\s)$.}]*$"
    r"|[\s,;({]*(?:\\text\s*\{\s*)?(?:for|where|with)\s+(?:any|all|every|each|some)\s+integers?\s*\}?[\s($]*(?P<other>[a-z])[\s)$.}]*$"
)
_NAMES = "kmnlt"
_CONSTANT = re.compile(
    r"\+\s*(?:c|K|k|\\text\s*\{\s*(?:c|constant|const\.?)\s*\}|C_\{?[01]\}?|\\mathrm\s*\{\s*[Cc]\s*\})\s*$"
)
_COMMAND = re.compile(r"\\[A-Za-z]+")
_ENDS_IN_CONSTANT = re.compile(r"\+\s*C\s*\$?\s*$|^\s*\$?\s*C\s*\+")


_BUILDER = re.compile(
    r"\s*\$?\s*(?:\\left\s*)?\\\{(?P<held>(?:[^{}:|]|\{[^{}]*\})*?)(?:\||:|\\mid(?![A-Za-z]))"
    r"(?P<when>.*?)(?:\\right\s*)?\\\}\s*\$?\s*",
    re.DOTALL,
)
_SET_CHARS = 400
_MEMBER = re.compile(rf"([a-z])(?:\s*(?:\\in|∈)\s*{_INTEGERS})?")


def unbraced(text: str) -> str:
    r"""`4k+1, k \in \mathbb{Z}` of `\{4k+1 : k \in \mathbb{Z}\}`, and `n = 4k+1, …` of `\{n : n = 4k+1, …\}`."""
    match = _BUILDER.fullmatch(text) if "{" in text and len(text) <= _SET_CHARS else None
    if match is None or family(f"x, {match['when']}") is None:
        return text
    member = _MEMBER.fullmatch(match["held"].strip())
    if member is None:
        return f"{match['held']}, {match['when']}"
    return match["when"] if re.match(rf"\s*{member[1]}\s*=", match["when"]) else text


def family(text: str) -> tuple[str, str] | None:
    r"""(`2k\pi`, `k`) of `2k\pi, k \in \mathbb{Z}`; None of what is no family over the integers."""
    if "Z" not in text and "ℤ" not in text and "integer" not in text:
        return None
    match = _FAMILY.search(text)
    return None if match is None or not match.start() else (text[: match.start()], match["name"] or match["other"])


def renamed(gold: str, response: str) -> str:
    """`response` with the names that it may choose as `gold` has them."""
    if (of_gold := family(gold)) is not None:
        of_response = family(response)
        name = of_response[1] if of_response is not None else _only_name(response)
        body = response if of_response is None else of_response[0]
        return body if name is None or name == of_gold[1] or _holds(body, of_gold[1]) else _with(body, name, of_gold[1])
    if (of_response := family(response)) is not None and (own := _only_name(gold)) is not None:
        body, name = of_response
        return body if _holds(body, own) else _with(body, name, own)
    if "C" in gold and _ENDS_IN_CONSTANT.search(gold) and not re.search("[cKk]", _COMMAND.sub("", gold)):
        return _CONSTANT.sub("+ C", response)
    return response


def _letter(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z\\]){name}(?![A-Za-z])")


def _holds(text: str, name: str) -> bool:
    return _letter(name).search(text) is not None


def _with(text: str, name: str, other: str) -> str:
    return _letter(name).sub(other, text)


def _only_name(text: str) -> str | None:
    """The one letter in `text`, after "n =", by which integers are usually called."""
    held = [name for name in _NAMES if _holds(text.rpartition("=")[2], name)]
    return held[0] if len(held) == 1 else None
