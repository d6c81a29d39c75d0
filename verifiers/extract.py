r"""Where the answer or the program is in a response.

    response ─► after_thinking ─► boxed | answer_is | last_line | tag | whole ─► Found (candidates, the last one first)
                              └─► code (the last fenced block, else everything)

All scans are linear in the response and look at its last `TAIL_CHARS` characters only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec import Struct

from berry.verifiers.specs.base import Place

TAIL_CHARS = 65_536
MAX_CANDIDATES = 8


class Found(Struct, frozen=True):
    """The final answer, and earlier ones given with the same weight (other boxes), distinct, newest first."""

    answer: str
    others: tuple[str, ...] = ()
    place: Place = "whole"
    too_many: bool = False


def after_thinking(response: str) -> str:
    """What follows the last closing `</think>` tag; the whole response where there is none."""
    _, tag, rest = response.rpartition("</think>")
    return rest if tag else response


def find_answer(response: str, places: Sequence[Place]) -> Found | None:
    """The answer, from the first of `places` that has one."""
    text = after_thinking(response)[-TAIL_CHARS:]
    for place in places:
        found = _FINDERS[place](text)
        if found is not None:
            return found
    return None


# ---- boxed ----------------------------------------------------------------------------------------------------------

_BOX = re.compile(r"\\(?:boxed|fbox)(?:\s*(?=\{)|\s+([^\s{}$\\]+))")
_JOINT = re.compile(
    r"^[\s$]*(?:\\\)|\\\])?[\s$]*(?:,?\s*(?:and|or)|,|\\text\{\s*(?:and|or)\s*\})[\s$]*(?:\\\(|\\\[)?[\s$]*$"
)


def _boxed(text: str) -> Found | None:
    """Boxes that follow each other with only a comma, "and" or "or" between are one answer of several values."""
    groups: list[str] = []
    last_end, position = -1, 0
    while (match := _BOX.search(text, position)) is not None:
        if match[1] is not None:
            content, end = match[1], match.end()
        else:
            end = _closing(text, match.end())
            if end < 0:
                break
            content = text[match.end() + 1 : end - 1]
        gap = text[last_end : match.start()] if groups else ""
        if groups and len(gap) <= 40 and _JOINT.match(gap):
            groups[-1] += (" or " if "or" in gap else ", ") + content
        else:
            groups.append(content)
        last_end = position = end
    if not groups:
        return None
    if len(groups) == 1:
        answer = groups[0].strip()
        return Found(answer, place="boxed") if answer else None
    distinct = list(dict.fromkeys([content.strip() for content in reversed(groups)]))
    if not distinct[0]:
        return None
    return Found(distinct[0], tuple(distinct[1:MAX_CANDIDATES]), "boxed", len(distinct) > MAX_CANDIDATES)


_BRACE = re.compile(r"[{}]|\\.", re.DOTALL)  # a backslash takes the character after it along


def _closing(text: str, opening: int) -> int:
    """One past the brace that closes the one at `opening`; -1 when it is never closed."""
    depth = 0
    for match in _BRACE.finditer(text, opening):
        brace = match[0]
        if brace == "{":
            depth += 1
        elif brace == "}":
            depth -= 1
            if depth == 0:
                return match.end()
    return -1


# ---- words ----------------------------------------------------------------------------------------------------------

_ANSWER_IS = re.compile(
    r"\banswer\s*(?:\([^()\n]{0,40}\)\s*)?(?:\*\*|__)?\s*(?:is|are|=|:)(?:\s*(?:equal\s+to|:|\*\*|__))*"
    r"|^\s*####(?!#)",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$|\*\*)|[;,]?\s+(?:because|since|which|where|so|as)\b")
_LEAD = re.compile(
    r"^\s*(?:(?:#{1,6}|>|[-*•](?=\s)|\*\*|__)\s*)*(?:(?:so|thus|hence|therefore|then|and)\b,?\s+)*", re.IGNORECASE
)
_CLAUSE = re.compile(
    r"(?:.*\b(?:is|are|was|were|equals?|be|gives?|has|have|get)|.*(?::|=|\\implies|\\Rightarrow|⇒|→))\s*", re.IGNORECASE
)
_CODE = re.compile(
    r"^(?:print|return|def|class|import|from|assert|echo|let|const|var|console\.|std::)\b|^[A-Za-z_]\w+\([^()]*\)\s*;?$|;\s*$|\)\s*\{\s*$|==|:="
)
_MATH = re.compile(r"\$([^$\n]+)\$|\\\(([^\n]+?)\\\)|\\\[([^\n]+?)\\\]")
_NUMBER = re.compile(r"(?<![\w.])[-+]?[$€£]?\d[\d,]*(?:\.\d+)?(?:/\d+)?\s*(?:\\?%)?(?!\w)")


def _answer_is(text: str) -> Found | None:
    last = None
    for last in _ANSWER_IS.finditer(text):  # noqa: B007 - the last match is wanted
        pass
    if last is None:
        return None
    rest = text[last.end() :].lstrip("* \t\n")
    line = rest.split("\n", 1)[0]
    if line.strip() in ("$$", "\\["):  # a display formula on its own lines
        line = " ".join(rest.split("\n", 3)[:3])
    answer = _tidy(_LEAD.sub("", _first_sentence(line)))
    return Found(answer, place="answer_is") if answer else None


def _last_line(text: str) -> Found | None:
    lines = [line for line in text.splitlines() if line.strip(" \t*_`$#")]
    if not lines:
        return None
    line = _tidy(_LEAD.sub("", lines[-1]))
    if _CODE.search(line):
        return None
    if not line or not re.search(r"[A-Za-z]{3,}", re.sub(r"\\[A-Za-z]+", "", line)):
        return Found(line, place="last_line") if line else None
    segments = [next(filter(None, groups)) for groups in _MATH.findall(line)]
    if segments:
        return Found(segments[-1].strip(), place="last_line")
    numbers = list(dict.fromkeys(n.strip() for n in _NUMBER.findall(line)))
    if (clause := _CLAUSE.match(line)) is not None and (tail := line[clause.end() :].strip()) and numbers:
        return Found(tail, place="last_line")
    if len(numbers) == 1:
        return Found(numbers[0].rstrip(","), place="last_line")
    return Found(line, place="last_line") if len(line.split()) <= 4 else None


def _first_sentence(line: str) -> str:
    end = _SENTENCE_END.search(line)
    return line[: end.start()] if end else line


def _tidy(line: str) -> str:
    """Without emphasis, math delimiters at the ends and closing punctuation."""
    line = line.strip().strip("*_`").strip()
    while line and line[-1] in ".,;:" and not line.endswith("\\,"):
        line = line[:-1].rstrip("*_` ")
    return line.strip()


# ---- tags, all ------------------------------------------------------------------------------------------------------

_TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL | re.IGNORECASE)


def _tag(text: str) -> Found | None:
    tagged = list(dict.fromkeys(content.strip() for content in reversed(_TAG.findall(text))))
    if not tagged or not tagged[0]:
        return None
    return Found(tagged[0], tuple(tagged[1:MAX_CANDIDATES]), "tag", len(tagged) > MAX_CANDIDATES)


def _whole(text: str) -> Found | None:
    return Found(text.strip(), place="whole") if text.strip() else None


_FINDERS = {"boxed": _boxed, "answer_is": _answer_is, "last_line": _last_line, "tag": _tag, "whole": _whole}

# ---- code -----------------------------------------------------------------------------------------------------------

_FENCE = re.compile(r"^[ \t]*(```+|~~~+)[ \t]*([\w+#.-]*)[^\n]*$", re.MULTILINE)


def find_code(response: str) -> str | None:
    """The last fenced block (an unclosed one runs to the end), else the whole text; None when that is empty."""
    text = after_thinking(response)
    block, opened = None, None
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = fence
        elif fence[1].startswith(opened[1]) and not fence[2]:
            block = text[opened.end() + 1 : fence.start()]
            opened = None
    if opened is not None:
        block = text[opened.end() + 1 :]
    code = text if block is None else block
    return code if code.strip() else None
