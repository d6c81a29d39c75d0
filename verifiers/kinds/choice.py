r"""Checks an answer that names one option of several, or several exactly (`choice`).

    "**Answer: (B)**"   "\boxed{\text{B}}"   "B. Paris"   "option B"   "Paris"   "A and C"   "A, C"   "AC"

The answer is found where every answer is (`extract`), then read as names of options, or as one option's whole text.
What names two options where one is wanted is wrong; what names none is UNPARSABLE, which fails too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.extraction.extract import find_answer
from berry.verifiers.specs.answers import ChoiceSpec

if TYPE_CHECKING:
    from berry.verifiers.context import CheckRequest, VerifierContext

LETTERS = dict.fromkeys("ABCDEFGHIJ", "")
MAX_CHARS = 2_000
_DRESS = re.compile(r"\\(?:text|textbf|mathrm|mathbf|boxed|rm|bf)\b|[{}$*_`\"“”'\\]")
_LEAD = re.compile(
    r"\A(?:the\s+)?(?:(?:correct|right|best|final)\s+)*(?:answers?|options?|choices?)?\s*(?:is|are)?\s*[:=]?\s*",
    re.IGNORECASE,
)
_NAME_AND_TEXT = re.compile(
    r"\A(?:option|choice|answer)?\s*[(\[]?\s*([^\s()\[\].:,;]{1,40})\s*[)\]]?\s*[.:)\-–]*\s*(.*)\Z",
    re.IGNORECASE | re.DOTALL,
)
_JOINTS = re.compile(r"\s*(?:,|;|/|&|\+|\band\b|\bund\b)\s*", re.IGNORECASE)


async def verify(request: CheckRequest, context: VerifierContext) -> Verdict:  # noqa: ARG001 - one signature for all
    """Reads which options the response names and compares them with the right ones."""
    spec = request.spec
    assert isinstance(spec, ChoiceSpec)
    found = find_answer(request.response, spec.extract)
    if found is None:
        return verdict(Reason.NO_ANSWER)
    options = spec.options or LETTERS
    wanted = frozenset(_right(spec, options))
    stated = found.stated or found.answer
    given = None if _contradicts(stated, options) else named(stated, options) or named(found.answer, options)
    for other in found.others:
        read = named(other, options)
        if given is not None and read is not None and read != given:
            return verdict(Reason.CONFLICTING_ANSWERS, answer=found.answer, others=list(found.others))
    if given is None:
        return verdict(Reason.UNPARSABLE_ANSWER, answer=found.answer)
    return verdict(Reason.CORRECT if given == wanted else Reason.WRONG_ANSWER, answer=", ".join(sorted(given)))


def fault(spec: ChoiceSpec) -> str | None:
    """Why the answer names no option; None where it does."""
    options = spec.options or LETTERS
    answers = [spec.answer] if isinstance(spec.answer, str) else list(spec.answer)
    for answer in answers:
        if named(answer, options) is None:
            return f"answer {answer!r} names none of the options {', '.join(options)}"
    return None


def _right(spec: ChoiceSpec, options: Mapping[str, str]) -> frozenset[str]:
    answers = [spec.answer] if isinstance(spec.answer, str) else list(spec.answer)
    return frozenset(name for answer in answers for name in named(answer, options) or ())


def named(text: str, options: Mapping[str, str]) -> frozenset[str] | None:
    """The options that a text names, or None where it is not just names (or one option's text)."""
    if len(text) > MAX_CHARS:
        return None
    bare = _LEAD.sub("", _plain(text), count=1)
    whole = {_plain(words).casefold().rstrip(". "): name for name, t in options.items() for words in (t, name) if words}
    for candidate in (_plain(text), bare):
        if (name := _single(candidate, options, whole)) is not None:
            return frozenset({name})
    parts = [part for part in _JOINTS.split(bare.strip("()[] .")) if part]
    read = [_single(part, options, whole) for part in parts]
    if len(parts) > 1 and None not in read:
        return frozenset(name for name in read if name is not None)
    squeezed = re.sub(r"[\s()\[\].]", "", bare)
    if len(squeezed) > 1 and squeezed.isupper() and all(letter in options for letter in squeezed):
        return frozenset(squeezed)
    return None


def _plain(text: str) -> str:
    return " ".join(_DRESS.sub(" ", text).split())


def _single(text: str, options: Mapping[str, str], whole: Mapping[str, str]) -> str | None:
    """`B`, `(B)`, `B.`, `option B`, an option's text, or `B: its text`; the text behind a name must be its own."""
    if (name := whole.get(text.casefold().rstrip(". "))) is not None:
        return name
    match = _NAME_AND_TEXT.match(text.strip())
    if match is None:
        return None
    name = next((n for n in options if n.casefold() == match[1].casefold()), None)
    if name is None or (len(name) == 1 and name.isalpha() and match[1].islower() and match[2]):
        return None  # "a number" does not name option A
    rest = match[2].strip().rstrip(". ").casefold()
    if not rest:
        return name
    labelled = not options[name].strip() and match[1].isupper() and ":" in text
    return name if labelled or whole.get(rest) == name else None


def _contradicts(text: str, options: Mapping[str, str]) -> bool:
    """Whether a text names one option and puts another's text behind it."""
    match = _NAME_AND_TEXT.match(_LEAD.sub("", _plain(text[:MAX_CHARS]), count=1))
    if match is None or not match[2]:
        return False
    texts = {_plain(t).casefold(): name for name, t in options.items() if t.strip()}
    owner = texts.get(match[2].strip().rstrip(". ").casefold())
    return owner is not None and owner.casefold() != match[1].casefold()
