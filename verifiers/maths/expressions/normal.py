r"""Brings text to one way of writing: Unicode and LaTeX spellings of the same thing become one.

clean(r"$\dfrac{1}{2}\,$.") == r"\frac{1}{2}"        words(r"\text{ Yes. }") == "yes"
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_CHARS = {
    "−": "-", "–": "-", "—": "-", "‐": "-", "‑": "-", "﹣": "-",
    "×": "*", "·": "*", "⋅": "*", "∗": "*", "∙": "*", "÷": "/", "∕": "/", "⁄": "/",
    "π": r"\pi ", "∞": r"\infty ", "√": r"\sqrt ", "°": r"^\circ ", "º": r"^\circ ", "±": r"\pm ",
    "≤": r"\le ", "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "∪": r"\cup ", "∩": r"\cap ",
    "∈": r"\in ", "∅": r"\emptyset ", "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "ℚ": r"\mathbb{Q}", "ℕ": r"\mathbb{N}",
    "⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "⟨": "(", "⟩": ")",
    "“": '"', "”": '"', "‘": "'", "’": "'", "…": r"\ldots ", "≈": r"\approx ",
    "∑": r"\sum ", "∫": r"\int ", "∏": r"\prod ", "θ": r"\theta ",
    "α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "λ": r"\lambda ", "φ": r"\phi ",
    "\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": "", "\ufeff": "", "\u00ad": "", "\u200e": "", "\u200f": "",
    "\u200c": "", "\u200d": "", "\u2060": "", "\u2061": "", "\u2062": "*", "\u2064": "+",
}  # fmt: skip
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n")
_SUBSCRIPT = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_SUPERS = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ]+")
_SUBS = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_VULGAR = re.compile("(\\d*)([¼-¾⅐-⅞])")

_DROP = re.compile(
    r"(?<!\\)\\(?:[,!;:>]|(?=\s)|(?:displaystyle|textstyle|limits|left|right|[bB]igg?[lr]?"
    r"|quad|qquad|hspace\{[^{}]*\}|phantom\{[^{}]*\}|nonumber|hfill|rm|bf|it)(?![A-Za-z]))|~"
)
_RENAMED = {
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\cdot": "*", r"\times": "*", r"\ast": "*",
    r"\div": "/",
    r"\leq": r"\le", r"\leqslant": r"\le", r"\geq": r"\ge", r"\geqslant": r"\ge", r"\neq": r"\ne",
    r"\lt": "<", r"\gt": ">",
    r"\lbrace": r"\{", r"\rbrace": r"\}", r"\lbrack": "[", r"\rbrack": "]", r"\varnothing": r"\emptyset",
    r"\Reals": r"\mathbb{R}", r"\tbinom": r"\binom", r"\dbinom": r"\binom", r"\degree": r"^\circ",
    r"\lvert": "|", r"\rvert": "|", r"\vert": "|", r"\imaginaryI": "i", r"\dots": r"\ldots", r"\percent": r"\%",
    r"\langle": "(", r"\rangle": ")", r"\euro": "€", r"\pounds": "£", r"\dollar": r"\$",
    r"\mid": "|", r"\over": "/",
    r"\bar": r"\overline", r"\backslash": r"\setminus", r"\lgroup": "(", r"\rgroup": ")",
    r"\nleq": r"\nle", r"\ngeq": r"\nge", r"\cong": r"\approx", r"\sim": r"\approx", r"\simeq": r"\approx",
    r"\doteq": r"\approx", r"\colon": ":", r"\land": r"\text{ and }", r"\lor": r"\text{ or }",
}  # fmt: skip
_COMMAND = re.compile(r"\\[A-Za-z]+")
_WRAPPERS = re.compile(
    r"\\(?:boxed|fbox|mathbf|mathit|boldsymbol|bm|mathsf|operatorname\*?|underline|ensuremath|displaystyle|mathop|vec|hat|widehat"
    r"|overrightarrow|mathcal|mathnormal)\s*\{"
)
_TEXT = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|mathrm|mbox|hbox|emph)\s*\{([^{}]*)\}")
_LABELS = re.compile(
    r"\s*(?:[IVX]{1,5}|[A-J])(?:\s*(?:,\s*(?:and|or)\b|,|\b(?:and|or)\b|&)\s*(?:[IVX]{1,5}|[A-J])\b){1,8}\s*"
)
_NUMERIC = re.compile(r"\s*[-+]?\d[\d,./\s]*+(?:\\?%\s*|(?:(?:and|or)\s+[-+]?\d[\d,./\s]*+){1,8})?")
_BRACKETED = re.compile(r"\s*\(\s*([-+]?\d[\d,.]*)\s*\)\s*")
_NUMBER_FIRST = re.compile(r"\s*([-+]?(?:\\?\$)?\d[\d,./]*)\s+([A-Za-z].*)", re.DOTALL)
_TEMPERATURE = re.compile(r"\^\s*\{?\s*\\circ\s*\}?\s*(?:\\text\s*\{\s*([CF])\s*\}|([CF])(?![A-Za-z]))")
_PLAIN_ROMAN = re.compile(r"\\mathrm\s*\{\s*([ie])\s*\}")
_ORDINAL = re.compile(
    r"(?<=\d)\s*(?:\^\s*)?(?:\{\s*)?(?:\\text\s*\{\s*(?:th|st|nd|rd)\s*\}(?:\s*\})?|(?<=\d)(?:th|st|nd|rd)\b)(?!\s*[\w(])"
)
_CHOOSE = re.compile(r"\{?\s*([^{}\\]{1,20})\\choose\s*([^{}\\]{1,20})\}?")
_ANY_INTEGER = re.compile(
    r"\s*(?:[,;]|\\text\{\s*(?:for|where)[^{}]*\}|\bwhere\b|\bfor\b)\s*\(?\s*[a-z]\s*\\in\s*\\mathbb\s*\{?\s*Z\s*\}?\s*\)?\s*$"
)
_CONGRUENT = re.compile(
    r"(?<![\w.^{])(-?\d{1,9})\s*(?:\\pmod|\(?\s*(?:\\b?mod|\\text\{\s*mod\s*\}))\s*\{?\s*(\d{1,9})\s*\}?\s*\)?\s*$"
)
_COMBINATIONS = re.compile(
    r"(?<![A-Za-z\\}])C_(?:\{\s*(\d{1,3})\s*\}|(\d))\s*\^\s*(?:\{\s*(\d{1,3})\s*\}|(\d))"
    r"|(?:\{\s*\})?[_^](?:\{\s*(\d{1,3})\s*\}|(\d))\s*C_(?:\{\s*(\d{1,3})\s*\}|(\d))"
)
_MINUTES = re.compile(
    r"(\d+)\s*\^\s*\{?\s*\\circ\s*\}?\s*(\d{1,2})\s*(?:'|\^\s*\{?\s*\\prime\s*\}?)"
    r"(?:\s*(\d{1,2})\s*(?:''|\"|\^\s*\{?\s*\\prime\s*\\prime\s*\}?))?"
)
_SCALES = {"C": "celsius", "F": "fahrenheit"}
_FACTORIAL_IS = re.compile(r"(?<=\d)!=(?=\s*[\d(])")  # `3!=6`: two numbers are not told to differ
_TIMES_TEN = re.compile(r"(?<=\d)\s*[xX]\s*(?=10\s*(?:\^|\*\*))")
_DOTTED = re.compile(r"(\d*\.\d*)\\dot\s*\{?(\d)\}?(?:(\d*)\\dot\s*\{?(\d)\}?)?")
_ELLIPSIS = re.compile(r"(?<![\d.])(\d+\.\d{0,12}?)(\d{1,6}?)\2{2,12}\s*(?:\\ldots|\.\.\.)\s*$")
_SPACES = re.compile(r"\s+")
_TRAILING = re.compile(r"(?:\s|(?<!\\)[.,;:])+$")


@lru_cache(maxsize=4096)
def clean(text: str) -> str:
    r"""`text` in the one spelling that the parser reads. Words keep their `\text{}` so that they stay words."""
    if not text.isascii():
        text = _ascii(text)
    text = _undelimited(_single_backslashes(text.strip()))
    if "\\" in text or " " in text or "_" in text or "{,}" in text or "~" in text or "'" in text:
        text = _DIGIT_GROUPS.sub(_grouped, text)
    if "\\" in text or "~" in text:
        text = _PLAIN_ROMAN.sub(r"\1", _DROP.sub(" ", text))
        text = _COMMAND.sub(lambda m: _RENAMED.get(m[0], m[0]), text)
        text = _unwrap(text)
        text = _TEXT.sub(_words_of, text)
        if "\\choose" in text:
            text = _CHOOSE.sub(r"\\binom{\1}{\2}", text)
        if "\\in" in text:
            text = _ANY_INTEGER.sub("", text)
        if "mod" in text:
            text = _CONGRUENT.sub(_residue, text)
        if "\\circ" in text:
            text = _MINUTES.sub(_degrees, text)
            text = _TEMPERATURE.sub(lambda m: rf" \text{{ {_SCALES[m[1] or m[2]]}}}", text)
        if "\\dot" in text or "\\ldots" in text:
            text = _recurring(text)
    elif "..." in text:
        text = _recurring(text)
    if "C_" in text:
        text = _COMBINATIONS.sub(_combinations, text)
    if "!=" in text:
        text = _FACTORIAL_IS.sub("! =", text)
    if "th" in text or "st" in text or "nd" in text or "rd" in text:
        text = _ORDINAL.sub("", text)
    if "x 10" in text.lower():
        text = _TIMES_TEN.sub("*", text)
    if "**" in text:
        text = text.replace("**", "^") if re.search(r"[\w)]\s*\*\*\s*[\w(-]", text) else text.replace("**", "")
    text = _SPACES.sub(" ", text).strip()
    text = _TRAILING.sub("", text)
    return _unwrap_braces(text.strip("`").strip())


def _words_of(match: re.Match[str]) -> str:
    """What `\\text{…}` holds: numbers bare, words still in it, a quantity's number before it."""
    inside = match[1]
    if inside.strip() in ("lcm", "gcd", "LCM", "GCD"):
        return rf"\{inside.strip().lower()} "
    if inside.strip() in ("\\$", "€", "£", "¥", "-", "+") or _CLOCK.fullmatch(inside):
        return inside
    if (bracketed := _BRACKETED.fullmatch(inside)) is not None:
        return bracketed[1]
    if _NUMERIC.fullmatch(inside) or _LABELS.fullmatch(inside):
        return inside
    if (quantity := _NUMBER_FIRST.fullmatch(inside)) is not None and not _OPERATING.match(quantity[2]):
        return rf"{quantity[1]} \text{{{quantity[2]}}}"
    return rf"\text{{{inside}}}"


_OPERATING = re.compile(r"(?:and|or|to|if|when|base|in base|mod)\b", re.IGNORECASE)


def _residue(match: re.Match[str]) -> str:
    """A residue and its modulus, in the one way of writing them."""
    modulus = int(match[2])
    return rf"{int(match[1]) % modulus} \pmod{{{modulus}}}" if modulus else match[0]


def _combinations(match: re.Match[str]) -> str:
    """Choices written `C_{10}^3` or `{}_{10}C_3` as a binomial coefficient."""
    n, k = (int(group) for group in match.groups() if group is not None)
    return rf"\binom{{{n}}}{{{k}}}" if k <= n else match[0]


def _degrees(match: re.Match[str]) -> str:
    """Degrees, minutes and seconds as a fraction of degrees."""
    seconds = int(match[1]) * 3600 + int(match[2]) * 60 + int(match[3] or 0)
    return rf"\frac{{{seconds}}}{{3600}}^\circ"


def _recurring(text: str) -> str:
    """With periods written as `\\overline`: `0.\\dot{3}`, and `0.333…` once a period stands there three times."""
    text = _DOTTED.sub(lambda m: rf"{m[1]}\overline{{{m[2]}{m[3] or ''}{m[4] or ''}}}", text)
    return _ELLIPSIS.sub(lambda m: rf"{m[1]}\overline{{{m[2]}}}", text)


def unbracketed(text: str) -> str:
    """Intervals with their brackets turned outwards, `]1, 2[`, in the other spelling, `(1, 2)`."""
    text = text.strip()
    if not text.endswith("[") and not _OUTWARD.search(text):
        return text
    pieces = _PIECES.split(text)
    turned = [_INTERVAL.sub(_turned, piece) for piece in pieces]
    return "".join(turned)


_OUTWARD = re.compile(r"(?:^|\\in\s*|\\cup\s*|∈\s*|∪\s*)\][^\[\]]{1,80}[,;]")
_PIECES = re.compile(r"(\\cup(?![A-Za-z])|∪)")
_INTERVAL = re.compile(r"([\[\]])([^\[\]]{1,80}[,;][^\[\]]{1,80})([\[\]])\s*$")


def _turned(match: re.Match[str]) -> str:
    return ("(" if match[1] == "]" else "[") + match[2] + (")" if match[3] == "[" else "]")


def point_decimals(text: str) -> str:
    """`text` with decimal commas, `1.234,5`, written with decimal points, `1234.5`."""
    text = re.sub(r"(?<![\d,.])\d{1,3}(?:\.\d{3})+(?![\d.])", lambda m: m[0].replace(".", ""), text)
    return re.sub(r"(?<=\d),(?=\d)", ".", text)


_DOUBLED = re.compile(r"\\\\(?=(?:d?frac|tfrac|sqrt|text|boxed|begin|left|pi|cdot|times|in|le|ge|circ|infty|cup|pm)\b)")
_SINGLE = re.compile(r"(?<!\\)\\(?=[A-Za-z])")


def _single_backslashes(text: str) -> str:
    """Without the second backslash of text that was escaped twice, and without lone ones at the end."""
    if "\\\\" in text and _SINGLE.search(text) is None and _DOUBLED.search(text) is not None:
        text = text.replace("\\\\", "\\")
    if text.endswith("\\"):
        text = text.rstrip("\\ ")
    return text


_DIGIT_GROUPS = re.compile(
    r"(?<![\w.,}])\d{1,3}"
    r"(?:(?:\s{0,2}(?:\{,\}|,)\s{0,2}\\!\s{0,2}|\{,\}\s{0,2}|\s{0,2}(?:\\[,;:! ]|~)\s{0,2}|[ '_])\d{3}(?!\d))+"
    r"(?![\d/]|\s*\\d?frac|\{?,)"
)


def _grouped(match: re.Match[str]) -> str:
    """A number whose thousands are set apart by thin spaces, plain spaces or guarded commas, in digits alone."""
    return re.sub(r"\D", "", match[0])


_DOLLAR = re.compile(r"(?<!\\)\$")


def _undelimited(text: str) -> str:
    """Without math delimiters. Dollars come in pairs there; an odd one before a number is money."""
    if "$" in text:
        if len(_DOLLAR.findall(text)) % 2:
            text = re.sub(r"(?<![\\$])\$(?=\s*\d|\.\d)", r"\\$", text, count=1)
        text = _DOLLAR.sub(" ", text)
    return re.sub(r"\\[()\[\]]", " ", text) if "\\" in text else text


def _ascii(text: str) -> str:
    text = _SUPERS.sub(lambda m: "^{" + m[0].translate(_SUPERSCRIPT) + "}", text)
    text = _SUBS.sub(lambda m: "_{" + m[0].translate(_SUBSCRIPT) + "}", text)
    text = _VULGAR.sub(_vulgar, text)
    text = "".join(_CHARS.get(char, char) for char in text)
    text = unicodedata.normalize("NFKC", text)
    return "".join(str(unicodedata.decimal(c)) if not c.isascii() and c.isdecimal() else _CHARS.get(c, c) for c in text)


def _vulgar(match: re.Match[str]) -> str:
    over, _, under = unicodedata.normalize("NFKC", match[2]).partition("⁄")
    fraction = rf"\frac{{{over}}}{{{under}}}"
    return match[1] + fraction


def _unwrap(text: str) -> str:
    """Without font and box commands; their braces go too where they can be matched."""
    while (match := _WRAPPERS.search(text)) is not None:
        depth, end = 1, match.end()
        while end < len(text) and depth:
            depth += (text[end] == "{") - (text[end] == "}")
            end += 1
        text = text[: match.start()] + " " + text[match.end() : end - 1] + " " + text[end:]
    return text


def _unwrap_braces(text: str) -> str:
    while text.startswith("{") and text.endswith("}") and "}" not in text[1:-1] and "{" not in text[1:-1]:
        text = text[1:-1].strip()
    return text


_CLOCK = re.compile(r"\s*\d{1,2}:\d{2}\s*")
_HALF_DAY = re.compile(r"\b([ap])\.\s?m\b\.?")
_NOT_WORD = re.compile(r"[^\w+\-/.%]+")


def words(text: str) -> str:
    r"""`text` as words alone: no `\text`, case, punctuation or repeated space."""
    text = _TEXT.sub(lambda m: f" {m[1]} ", text)
    text = re.sub(r"\\[,;:! ]|[{}$\\*`\"']", " ", text)
    text = _NOT_WORD.sub(" ", text).strip(" .").casefold()
    return _HALF_DAY.sub(r"\1m", text) if ".m" in text or ". m" in text else text


_NEEDLESS = re.compile(r"(?<=,) +(?!\d{3}(?!\d))|(?<![0-9A-Za-z,]) +| +(?![0-9A-Za-z])")


def squeeze(text: str) -> str:
    """`text` without needless space, how normalised strings are compared: `1 2` is not `12`, `1, 234` not `1,234`."""
    return _NEEDLESS.sub("", text) if " " in text else text
