"""Checks what a text must be like: counts, keywords, casing, form, language (`constraints`; IFEval, Zhou et al. 2023).

    response ─► after_thinking ─► each constraint: met or not ─► weight of those met over all ─► PASS at `threshold`

Every constraint has a verdict of its own in the evidence. One that can't be checked here (a language, without the
detector) makes the whole UNVERIFIABLE where it could change the outcome. A pattern that can't get through a text is not
met by it: the text is the response's choice, and a failure must not become "could not check".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import regex

from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.extraction.code_blocks import fenced
from berry.verifiers.extraction.extract import after_thinking
from berry.verifiers.specs import answers as spec_of
from berry.verifiers.specs.answers import Constraint, ConstraintsSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

MAX_CHARS = 1 << 20
PATTERN_S = 1.0
"""Seconds that one regular expression of a problem may take."""
_WORD = re.compile(r"\w[\w'’-]*")
_SENTENCE_END = re.compile(r"(?<![.!?…。！？])[.!?…。！？]++[\"'”’)\]]*+(?=\s|$)")
_ABBREVIATION = re.compile(
    r"\b(?:Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St|vs|etc|e\.g|i\.e|No|Inc|Ltd|Co|Fig|[A-Z])\.$"
)  # a stop behind these ends no sentence
_LIST_MARK = re.compile(r"(?:^|\n)[ \t]*(?:\d{1,3}|[A-Za-z])\.$")  # "2." before an item, which is no sentence
_BULLET = re.compile(r"^[ \t]*(?:[*-][ \t]+|\*(?=[^*\s]))", re.MULTILINE)
_HIGHLIGHT = re.compile(r"\*\*[^\n*]+\*\*|\*[^\n*]+\*")
_TITLE = re.compile(r"<<[^\n<>]+>>")
_PLACEHOLDER = re.compile(r"\[[^\[\]]*\]")
_QUOTES = '"“”„«»'


class Unchecked(RuntimeError):
    """Says why a constraint could not be looked at here."""


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:  # noqa: ARG001 - one signature for all
    """Looks at each constraint in turn."""
    spec = request.spec
    assert isinstance(spec, ConstraintsSpec)
    text = after_thinking(request.response).strip()
    if not text:
        return verdict(Reason.NO_ANSWER)
    if len(text) > MAX_CHARS:
        return verdict(Reason.ANSWER_TOO_LARGE, note=f"over {MAX_CHARS} characters")
    met, missed, unknown = 0.0, 0.0, 0.0
    said: dict[str, str] = {}
    for number, constraint in enumerate(spec.constraints):
        name = f"{number}:{getattr(constraint, 'kind', '')}"
        try:
            holds = is_met(constraint, text)
        except Unchecked as error:
            unknown, said[name] = unknown + constraint.weight, f"unverifiable ({error})"
            continue
        met, missed = met + constraint.weight * holds, missed + constraint.weight * (not holds)
        said[name] = "pass" if holds else "fail"
    total = met + missed + unknown
    evidence = {"constraints": said, "met": met / total}
    wanted = spec.threshold * total - 1e-9
    if met >= wanted:
        return verdict(Reason.CORRECT, **evidence)
    if met + unknown < wanted:
        return verdict(Reason.WRONG_ANSWER, **evidence)
    return verdict(Reason.NOT_CHECKED, **evidence)


def fault(spec: ConstraintsSpec) -> str | None:
    """Why no text could meet all of them: two that contradict each other. None where one could."""
    if spec.threshold < 1:
        return None
    cases = {c.case for c in spec.constraints if isinstance(c, spec_of.Casing)}
    if len(cases) > 1:
        return "constraints: a text can't be in capitals and without capitals"
    wanted = {w.casefold() for c in spec.constraints if isinstance(c, spec_of.Contains) for w in c.words}
    banned = {w.casefold() for c in spec.constraints if isinstance(c, spec_of.Excludes) for w in c.words}
    if both := sorted(wanted & banned):
        return f"constraints: {both[0]!r} is both wanted and excluded"
    return None


def is_met(constraint: Constraint, text: str) -> bool:
    """Whether `text` (thinking cut off, ends stripped) meets one constraint. Raises Unchecked."""
    if isinstance(constraint, spec_of.Amount):
        count = _COUNTS[type(constraint)](constraint, text)
        low = constraint.min is None or count >= constraint.min
        return low and (constraint.max is None or count <= constraint.max)
    return _CHECKS[type(constraint)](constraint, text)


# ---- counts ---------------------------------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    """The words of a text: letters and digits, with apostrophes and hyphens inside."""
    return _WORD.findall(text)


def sentences(text: str) -> int:
    """How many sentences a text has; the last needs no stop. Common abbreviations and initials end none."""
    count, begun = 0, 0
    for match in _SENTENCE_END.finditer(text):
        piece = text[begun : match.end()]
        if match.group().startswith(".") and _ABBREVIATION.search(piece.rstrip("\"'”’)]")[-12:]):
            continue
        if _LIST_MARK.search(piece) and text[match.end() : match.end() + 1] in (" ", "\t"):
            continue
        count += bool(_WORD.search(piece))
        begun = match.end()
    return count + bool(_WORD.search(text[begun:]))


def paragraphs(text: str, divider: str) -> list[str]:
    """The paragraphs that hold something, divided by blank lines or by lines of three asterisks."""
    pieces = re.split(r"\n[ \t]*\n" if divider == "blank" else r"\s?\*\*\*\s?", text)
    return [piece.strip() for piece in pieces if piece.strip()]


def occurrences(word: str, text: str) -> int:
    """How often a word or phrase stands in a text as a whole, in any casing."""
    start = r"\b" if word[:1].isalnum() else ""
    end = r"\b" if word[-1:].isalnum() else ""
    return len(re.findall(start + re.escape(word) + end, text, re.IGNORECASE))


_COUNTS: dict[type[Constraint], Callable[[Any, str], int]] = {
    spec_of.WordCount: lambda _c, text: len(words(text)),
    spec_of.Sentences: lambda _c, text: sentences(text),
    spec_of.Paragraphs: lambda c, text: len(paragraphs(text, c.divider)),
    spec_of.Keyword: lambda c, text: occurrences(c.word, text),
    spec_of.Letter: lambda c, text: text.casefold().count(c.letter.casefold()),
    spec_of.CapitalWords: lambda _c, text: sum(word.isupper() for word in words(text)),
    spec_of.Bullets: lambda _c, text: len(_BULLET.findall(text)),
    spec_of.Highlights: lambda _c, text: sum(bool(h.strip("* \t")) for h in _HIGHLIGHT.findall(text)),
    spec_of.Sections: lambda c, text: len(
        re.findall(rf"^[ \t#*]*{re.escape(c.name)}[ \t]+[\w]+", text, re.MULTILINE | re.IGNORECASE)
    ),
    spec_of.Placeholders: lambda _c, text: len(_PLACEHOLDER.findall(text)),
}


# ---- the rest -------------------------------------------------------------------------------------------------------


def _cased(constraint: spec_of.Casing, text: str) -> bool:
    if not any(letter.isalpha() for letter in text):
        return False
    return text == (text.upper() if constraint.case == "upper" else text.lower())


def _first_word(constraint: spec_of.FirstWord, text: str) -> bool:
    pieces = paragraphs(text, "blank")
    if len(pieces) != constraint.paragraphs or constraint.paragraph > len(pieces):
        return False
    found = words(pieces[constraint.paragraph - 1])
    return bool(found) and found[0].strip("'’").casefold() == constraint.word.casefold()


def _is_json(text: str) -> bool:
    whole = fenced(text) if text.startswith("```") and text.endswith("```") else []
    try:
        shown = whole[0].text if len(whole) == 1 and whole[0].label in ("", "json") else text
        json.loads(shown, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _one_of(constraint: spec_of.OneOf, text: str) -> bool:
    if constraint.alone:
        return text.strip(" \t\n*.\"'").casefold() in {o.strip(" *.\"'").casefold() for o in constraint.options}
    return sum(option.casefold() in text.casefold() for option in constraint.options) >= 1


def _two_responses(constraint: spec_of.TwoResponses, text: str) -> bool:  # noqa: ARG001 - one signature for all
    pieces = [piece.strip() for piece in text.split("******")]
    held = [piece for piece in pieces if piece]
    return len(pieces) - len(held) <= 2 and len(held) == 2 and held[0] != held[1]


def _matches(constraint: spec_of.Matches, text: str) -> bool:
    try:
        return (regex.search(constraint.pattern, text, timeout=PATTERN_S) is not None) == constraint.wanted
    except TimeoutError:
        return False


def _language(constraint: spec_of.TextLanguage, text: str) -> bool:
    try:
        import py3langid
    except ImportError as error:
        raise Unchecked("py3langid is not installed here") from error
    return py3langid.classify(text)[0] == constraint.code


_CHECKS: dict[type[Constraint], Callable[[Any, str], bool]] = {
    spec_of.Contains: lambda c, text: all(word.casefold() in text.casefold() for word in c.words),
    spec_of.Excludes: lambda c, text: not any(occurrences(word, text) for word in c.words),
    spec_of.Casing: _cased,
    spec_of.StartsWith: lambda c, text: text.casefold().startswith(c.text.strip().casefold()),
    spec_of.EndsWith: lambda c, text: (
        text.rstrip(_QUOTES + " \n").casefold().endswith(c.text.strip().rstrip(_QUOTES).casefold())
    ),
    spec_of.FirstWord: _first_word,
    spec_of.Title: lambda _c, text: any(match.strip("<> ") for match in _TITLE.findall(text)),
    spec_of.Quoted: lambda _c, text: len(text) > 1 and text[0] in '"“„«' and text[-1] in '"”“»',
    spec_of.NoCommas: lambda _c, text: not any(comma in text for comma in ",，、"),
    spec_of.IsJson: lambda _c, text: _is_json(text),
    spec_of.Postscript: lambda c, text: bool(
        re.search(rf"^[ \t*]*{re.escape(c.marker)}.*\S", text, re.MULTILINE | re.IGNORECASE)
    ),
    spec_of.OneOf: _one_of,
    spec_of.TwoResponses: _two_responses,
    spec_of.RepeatsPrompt: lambda c, text: text.casefold().startswith(c.prompt.strip().casefold()),
    spec_of.TextLanguage: _language,
    spec_of.Matches: _matches,
}
