r"""Finds where the answer stands in a response (`code_blocks` finds programs).

    response ─► after_thinking ─► tag | boxed | answer_is | last_line | whole ─► Found (candidates, the last one first)

tag         between `<answer>` and `</answer>`; what is boxed or stated in it, where it is a text of several words
boxed       in `\boxed{…}`; boxes with only a comma, "and" or "or" between them are one answer of several values
answer_is   after "the answer is", "Answer:" or `####`, without the clauses that follow
last_line   what the last line says: its formula, the number after its verb, or its end after "="
whole       everything

The places of a spec are asked in order. One exception: a line that begins with "Answer:" after the last box wins over
it, where both places may be asked. All scans are linear in the response and look at its last `TAIL_CHARS` characters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from msgspec import Struct

from berry.verifiers import formulas
from berry.verifiers.extraction import sentences
from berry.verifiers.specs.base import Place

TAIL_CHARS = 65_536
MAX_CANDIDATES = 8
MAX_LINE = 4_096


class FoundAnswer(Struct, frozen=True):
    """The final answer, and earlier ones given with the same weight (other boxes), distinct, newest first.

    `stated` is the whole text that the answer was cut out of, where something was cut; `following` all that follows
    the words that announce it, over several lines.
    """

    answer: str
    others: tuple[str, ...] = ()
    place: Place = "whole"
    too_many: bool = False
    stated: str | None = None
    following: str | None = None

    @property
    def verbatim(self) -> str:
        """All that the answer's tag holds, where it is in one; else the answer."""
        return self.stated if self.place == "tag" and self.stated is not None else self.answer


# ---- thinking -------------------------------------------------------------------------------------------------------

_THINKING = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("◁think▷", "◁/think▷"),
)
_OPENED = re.compile(r"^[ \t]*(?:" + "|".join(re.escape(opening) for opening, _ in _THINKING) + ")", re.MULTILINE)
_CHANNEL, _FINAL = "<|channel|>", "<|channel|>final<|message|>"
_END_TOKENS = re.compile(r"(?:\s|<\|[A-Za-z_]{1,24}\|>|</s>)+\Z")


def after_thinking(response: str) -> str:
    """What follows the model's thinking: the last closing tag, or the final channel; everything where there is none.

    Thinking that is opened and never closed has nothing after it.
    """
    if _CHANNEL in response:
        _, final, response = response.rpartition(_FINAL)
        if not final and "<|message|>" in response:
            return ""
    angled = ">" in response or "▷" in response
    tagged = angled and ("hink" in response or "hought" in response or "oning>" in response)
    if not (tagged or "THINK]" in response):
        return response
    end = max(response.rfind(tag) + len(tag) if tag in response else 0 for _, tag in _THINKING)
    rest = response[end:]
    opened = _OPENED.search(rest)
    return rest if opened is None else rest[: opened.start()]


def find_answer(response: str, places: Sequence[Place]) -> FoundAnswer | None:
    """The answer, from the first of `places` that has one."""
    text = after_thinking(response)[-TAIL_CHARS:]
    if (ending := text[-256:]) and ending[-1] in "> \n" and (tokens := _END_TOKENS.search(ending)) is not None:
        text = text[: len(text) - len(tokens[0])]
    for place in places:
        if place == "boxed":
            found = _box_or_later_line(text, places)
        else:
            found = _FINDERS[place](text)
        if found is not None:
            return found
    return None


# ---- boxed ----------------------------------------------------------------------------------------------------------

_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s{0,8}(?:(?=\{)|([-+]?\d(?:[\d.,/]{0,40}\d)?|[A-J](?![A-Za-z])))")
_JOINT = re.compile(
    r"(?=.*?(?:[,;&]|\b(?:and|or)\b|quad|\\\\))"
    r"(?:[\s$.,;&]|\\[()\[\],;:! \\]|\\q?quad(?![a-z])|\b(?:and|or|also|as well as)\b|\\text\{\s?(?:and|or)\s?\})*",
    re.DOTALL,
)
_PREAMBLE = re.compile(r"\\text\s*\{(?![^{}]*\bnot\b)[^{}\d]{2,}?(?:\b(?:is|are)\s*:?|\w\s*:)\s*\}\s*(?=\S)")
_JOINT_CHARS = 60
_PLACEHOLDER = re.compile(
    r"(?!.*[∅∞])(?!\s*\\\{\s*\\\}\s*\Z)(?!\s*\[\]\s*\Z)"  # an empty set or list is an answer
    r"\W*(?:\\(?:text|ldots|dots|cdots|square|ldotp|mathrm)\b\W*)?(?:(?:your |the |final )*(?:answer|result|solution)s?"
    r"(?: here)?)?\W*",
    re.IGNORECASE,
)


def _box_or_later_line(text: str, places: Sequence[Place]) -> FoundAnswer | None:
    if "\\boxed" not in text and "\\fbox" not in text and "\\framebox" not in text:
        return None
    found, end = _boxes(text)
    if found is not None and "answer_is" in places and (later := _answer_line(text[end:])) is not None:
        return later
    return found


def _boxes(text: str) -> tuple[FoundAnswer | None, int]:
    """The boxes of `text`, empty ones and placeholders left out, and where the last one ends."""
    groups: list[list[str]] = []
    either: list[bool] = []
    last_end, position = -1, 0
    while (match := _BOX.search(text, position)) is not None:
        if match[1] is not None:
            content, end = match[1], match.end()
        else:
            end = _closing(text, match.end())
            if end < 0 and (end := _closing_on_line(text, match.end())) < 0:
                break
            content = text[match.end() + 1 : end - 1].strip()
            if content.endswith("\\") and content.count("{") == content.count("}"):
                content = content.rstrip("\\ ")
        position = end
        if len(content) < 40 and not content[:1].isdigit() and _PLACEHOLDER.fullmatch(content):
            continue
        if content.startswith("\\text") and (preamble := _PREAMBLE.match(content)) is not None:
            content = content[preamble.end() :]
        gap = text[last_end : match.start()] if groups and match.start() - last_end <= _JOINT_CHARS else None
        if gap is not None and _JOINT.fullmatch(gap):
            groups[-1].append(content)
            either[-1] = either[-1] or re.search(r"\bor\b", gap) is not None
        else:
            groups.append([content])
            either.append(False)
        last_end = end
    if not groups:
        return None, last_end
    if len(groups) == len(groups[0]) == 1:
        return FoundAnswer(groups[0][0], place="boxed"), last_end
    answers = [
        (" or " if either_of else ", ").join(dict.fromkeys(group))
        for group, either_of in zip(groups, either, strict=True)
    ]
    distinct = list(dict.fromkeys(reversed(answers)))
    return FoundAnswer(
        distinct[0], tuple(distinct[1:MAX_CANDIDATES]), "boxed", len(distinct) > MAX_CANDIDATES
    ), last_end


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


def _closing_on_line(text: str, opening: int) -> int:
    """The same within the line, where a backslash before a brace is a stray one: `\\boxed{\\frac{1}{2}\\}`."""
    end = text.find("\n", opening)
    line = text[opening : end if end >= 0 else len(text)][:MAX_LINE]
    depth = 0
    for match in re.finditer(r"[{}]", line):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return opening + match.end()
    return -1


# ---- words ----------------------------------------------------------------------------------------------------------

_SUBJECT = re.compile(
    r"\banswers?\b|\b(?:correct|right|best|final) (?:option|choice|statement|result|value|solution)s?\b"
    r"|^[ \t]{0,3}####(?!#)",
    re.IGNORECASE | re.MULTILINE,
)
_VERB = re.compile(
    r"(?:\s{0,9}\([^()\n]{0,40}\))?(?:\s{1,9}(?:to|for|of|here|in)\b[^.:\n$\\=]{0,80}?)?\s{0,9}[*_]{0,3}\s{0,9}"
    r"(?:(?:is|are|(?:must|should|would|will|has to|can only) be|becomes|comes (?:out )?to)\b|[=:：])"
    r"(?:\s{0,9}(?:equal\s{1,9}to\b|:|\*\*|__))*",
    re.IGNORECASE,
)
_ANSWER_LINE = re.compile(
    r"^[ \t>*_#-]{0,12}(?:(?:the|my|final|correct|so) ){0,3}answer[ *_]{0,4}[:：]", re.IGNORECASE | re.MULTILINE
)
_SET_OFF_MINUS = re.compile(r"\A([ \t*_:]*)[-−]\s+(?=[\d$.(\\])")  # no bullet, on the line of "the answer is"
_HEADING = re.compile(r"[ *_]{0,5}(?=\n)")
_NOT_STATED = re.compile(
    r"(?!\[\]\Z)\W*(?:(?:correct|right|wrong|incorrect|below|above|clear|obvious|as follows|found|the following"
    r"|in the box|unique|verified)\b(?:\s(?:because|since|as|and|if|so|by)\b.{0,80})?)?\W*",
    re.IGNORECASE | re.DOTALL,
)
_BARE_NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")
# A last line that nothing need be cut out of, in the words in which most data sets state a number.
_PLAIN_ENDING = re.compile(
    r"(?:[ \t]{0,3}####[ \t]*|.{0,80}?\b[Aa]nswer(?: is: ?| is |: ?))((-?\d+(?:,\d{3})*(?:\.\d+)?)\.?)"
)
_MAX_SUBJECTS = 24
_NEAR_END = 200  # characters
_DISPLAYED = (("$$", "$$"), ("\\[", "\\]"), ("\\begin{", "\\end{"))
_DISPLAY_CHARS = 4_096


def _answer_is(text: str) -> FoundAnswer | None:
    """What the last statement of an answer says; most stand near the end, which is looked at first."""
    if (plain := _PLAIN_ENDING.fullmatch(text, text.rfind("\n") + 1)) is not None:
        answer, following = plain[2], plain[1]
        stated = None if following == answer else following
        return FoundAnswer(answer, place="answer_is", stated=stated, following=following)
    near = text.rfind("\n", 0, max(0, len(text) - _NEAR_END)) + 1
    if near:
        found = _last_statement(text[near:])
        if found is not None:
            return found
    return _last_statement(text)


def _last_statement(text: str) -> FoundAnswer | None:
    for subject in reversed(list(_SUBJECT.finditer(text))[-_MAX_SUBJECTS:]):
        end = subject.end()
        if not subject[0].lstrip().startswith("#"):
            verb = _VERB.match(text, end)
            heading = text[text.rfind("\n", 0, end) + 1 : subject.start()].strip("#*_ \t").lower() in (
                "",
                "final",
                "the",
            )
            if verb is None and heading:
                verb = _HEADING.match(text, end)
            if verb is None:
                continue
            end = verb.end()
        if (found := _stated(text, end)) is not None:
            return found
    return None


def _answer_line(text: str) -> FoundAnswer | None:
    """What the last line of `text` that begins with "Answer:" states."""
    last = None
    for last in _ANSWER_LINE.finditer(text):  # noqa: B007 - the last match is wanted
        pass
    return None if last is None else _stated(text, last.end())


def _stated(text: str, start: int) -> FoundAnswer | None:
    """The answer that follows `start`: a display formula, or the statement of a line."""
    rest = _SET_OFF_MINUS.sub(r"\1-", text[start : start + 2 * _DISPLAY_CHARS]).lstrip("*_ \t\n:")
    following = text[start:].strip()
    line = rest.split("\n", 1)[0].strip()
    if _BARE_NUMBER.fullmatch(line):
        return FoundAnswer(line, place="answer_is", following=following)
    if (formula := _displayed(rest)) is not None:
        return FoundAnswer(formula, place="answer_is", following=following)
    answer = sentences.statement(line)
    if answer is None or (_NOT_STATED.fullmatch(answer) and not _holds_symbol(answer)):
        return None
    return FoundAnswer(answer, place="answer_is", stated=line if answer != line else None, following=following)


def _holds_symbol(text: str) -> bool:
    """Whether there is a symbol in `text` that is neither punctuation nor markup: `∞`, or the cells of a grid."""
    return any(not char.isascii() and unicodedata.category(char) in ("Sm", "So") for char in text)


def _displayed(text: str) -> str | None:
    """The display formula that `text` begins with, delimiters included."""
    for opening, closing in _DISPLAYED:
        if text.startswith(opening):
            end = text.find(closing, len(opening), _DISPLAY_CHARS)
            if end < 0:
                return None
            end = text.find("}", end) + 1 if opening == "\\begin{" else end + len(closing)
            return text[:end] if end else None
    return None


_CODE = re.compile(
    r"^(?:print|return|def|class|import|from|assert|echo|let|const|var|console\.|std::)\b|^[A-Za-z_]\w+\([^()]*\)\s*;?$"
    r"|;\s*$|\)\s*\{\s*$|==|:="
)
_DISPLAY_END = re.compile(
    r"(\$\$|\\\]|\\end\{(?:align|equation|gather|aligned|eqnarray)\*?\}(?:\s*(?:\$\$|\\\]))?)[\s.,]*\Z"
)
_NOTHING = " \t*_`$#-"


def _last_line(text: str) -> FoundAnswer | None:
    text = _without_courtesy(text.rstrip())
    if (block := _last_display(text)) is not None:
        return FoundAnswer(block, place="last_line")
    line = next((line for line in _lines_from_end(text) if line.strip(_NOTHING)), "")
    if (
        not line
        or _CODE.search(sentences.strip_markup(line))
        or _PLACEHOLDER.fullmatch(line[:200].replace("\\boxed", ""))
    ):
        return None
    answer = sentences.conclusion(line)
    return None if not answer else FoundAnswer(answer, place="last_line", stated=line if answer != line else None)


_COURTESY = re.compile(
    r"[ \t*_]*(?:let me know|(?:I )?hope (?:this|that|it)|feel free|please (?:let|feel)"
    r"|if you(?:'d| would)? (?:have|need|like|want)"
    r"|is there anything|would you like|do you (?:have|need|want))\b",
    re.IGNORECASE,
)


def _without_courtesy(text: str) -> str:
    """`text` without lines at its end that only speak to the reader: "Let me know if you have questions!"."""
    while (start := text.rfind("\n") + 1) and _COURTESY.match(text, start) is not None:
        text = text[:start].rstrip()
    return text


def _lines_from_end(text: str) -> Iterator[str]:
    end = len(text)
    while end > 0:
        start = max(text.rfind("\n", 0, end), text.rfind("\r", 0, end)) + 1
        yield text[start:end]
        end = start - 1


def _last_display(text: str) -> str | None:
    """The display formula that ends `text`, which may run over several lines; the last row where it is a derivation."""
    ending = _DISPLAY_END.search(text[-64:])
    if ending is None:
        return None
    end = len(text) - (len(text[-64:]) - ending.start())
    closing = ending[1][:2]
    opening = {"$$": "$$", "\\]": "\\[", "\\e": "\\begin{"}[closing]
    start = text.rfind(opening, max(0, end - _DISPLAY_CHARS), end)
    if start < 0:
        return None
    if closing == "\\e":
        return formulas.last_row(text[start : end + len(ending[1])]) or None
    return formulas.last_row(text[start + len(opening) : end]) or None


# ---- tags, all ------------------------------------------------------------------------------------------------------

_OPEN_TAG = re.compile(r"<answer>", re.IGNORECASE)
_CLOSE_TAG = re.compile(r"</answer>", re.IGNORECASE)


def _tag(text: str) -> FoundAnswer | None:
    """The tagged answers; one that is still open at the end counts, since a stop string may have cut its tag off."""
    if ">" not in text:
        return None
    contents: list[str] = []
    position = 0
    while (opening := _OPEN_TAG.search(text, position)) is not None:
        closing = _CLOSE_TAG.search(text, opening.end())
        contents.append(text[opening.end() : closing.start() if closing else len(text)])
        if closing is None:
            break
        position = closing.end()
    if not contents or not contents[-1].strip():
        return None
    answers = {_inside_tag(content): content.strip() for content in reversed(contents[-2 * MAX_CANDIDATES :])}
    tagged = [answer for answer in answers if len(answer) >= 40 or not _PLACEHOLDER.fullmatch(answer)]
    if not tagged:
        return None
    others = tuple(tagged[1:MAX_CANDIDATES])
    return FoundAnswer(tagged[0], others, "tag", len(tagged) > MAX_CANDIDATES, stated=answers[tagged[0]])


def _inside_tag(content: str) -> str:
    """What a tag holds: its box, what it states in words, else all of it."""
    content = content[_OPEN_TAG.match(content).end() :] if _OPEN_TAG.match(content) else content  # type: ignore[union-attr]
    content = content.strip()
    boxed, _ = _boxes(content)
    if boxed is not None and not boxed.others:
        return boxed.answer
    if len(re.findall(r"[A-Za-z]{2,}", re.sub(r"\\[A-Za-z]+", "", content[:400]))) < 3:
        return content
    found = _answer_is(content) or _last_line(content)
    return found.answer if found is not None else content


def _whole(text: str) -> FoundAnswer | None:
    return FoundAnswer(text.strip(), place="whole") if text.strip() else None


_FINDERS = {"answer_is": _answer_is, "last_line": _last_line, "tag": _tag, "whole": _whole}
