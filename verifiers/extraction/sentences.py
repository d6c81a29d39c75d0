r"""Cuts the answer out of the sentence that states it.

    statement("72, in total, so the farmer earns that much") == "72"
    conclusion("So the maximum is $12$ when $x = 5$.") == "$12$"

`statement` reads what follows "the answer is"; `conclusion` reads a whole last line. Mathematics between delimiters is
masked first, so that no rule about words ever looks inside a formula. Every rule costs time linear in the line.
"""

from __future__ import annotations

import re

from berry.verifiers.formulas import math_segments

MAX_LINE = 4_096
_MASK = "\ue000"

_LEAD = re.compile(
    r"^\s*(?:(?:#{1,6}(?=\s)|>|[-*•](?=\s)|\*\*|__)\s*)*"
    r"(?:(?:so|thus|hence|therefore|then|and(?!,)|finally|consequently|overall|either|in conclusion|in summary)\b"
    r",?\s+)*",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"(?:(?:the|an?|equal|equals|to|exactly|precisely|simply|just|only|total|of|value|values|number|numbers|integer"
    r"|fraction|set|interval|point|pair|ordered|triple|matrix|vector|answer|answers|option|choice|letter|maximum"
    r"|minimum|largest|smallest|given|by|therefore|thus|hence|then|also|indeed|clearly|obviously|now|actually|finally"
    r"|following|expression|equation|found|definitely|certainly|surely|be|is|that|it|there|are)\b:?\s+)+",
    re.IGNORECASE,
)
_STARTS = re.compile(rf"[-+]?\s*[\d.({{\[\\$€£|√π{_MASK}]|\(?[A-Z]\b|\(?[a-z]\b(?=\s*(?:[=<>)]|$))")
# What follows one of these is no part of the answer: a condition, a reason, a rejected option.
_TRAILING = re.compile(
    r"[;,]?\s(?:because|since|which|where|when|whenever|if|for|as|given|provided|assuming|with|at|meaning|making"
    r"|rather than|instead of|subject to|but|respectively|occurring|attained|achieved|as well"
    r"|altogether|in total|in all)\b|\s(?:in|on|from|during|over|after|before|until|between|among|each|every|through)"
    r"\s(?!base\b)(?=[A-Za-z])|(?<=[A-Za-z])\s(?:in|over|during|after|every)\s(?=\d)"
    r"|(?<!\bis)(?<!\bare)(?<!\bwas)(?<!\bbe)[;,]?\s(?:and\s|but\s)?not\b"
)
_CONNECTOR = re.compile(
    r"[;,.]?\s(?:and\s)?(?:so|therefore|thus|hence|consequently|giving|namely|we\s(?:get|have|find|obtain|conclude))\b,?\s?"
    r"|;\s(?:but\s)?(?=(?:it|that)(?:['’]s|\sis)\s)",
    re.IGNORECASE,
)
_COMMA_WORD = re.compile(r",\s(?!(?:and|or|sin|cos|tan|cot|sec|csc|ln|log|exp|sqrt|pi)\b)(?=[a-z]{2,}\b(?!\s?[=(^_]))")
_DASH = re.compile(r"\s[-–—]{1,3}\s(?=[A-Za-z]{2,}\s)|(?:\*\*)?:\s(?=[A-Za-z]{2,}(?:\s|$))")
_ASIDE = re.compile(
    r"(?<=\S)\s\((?:(?!base\b|mod\b)[A-Za-z][A-Za-z ,'-]{2,80}"
    r"|(?:since|as|because|where|when|if|from|using"
    r"|after|before|not|without|excluding|including|plus|i\.e\.|that is|namely)\b[^()]{1,160})\)(?=$|\s[a-z])"
)
_DOUBT = re.compile(
    r"\b(?:or|maybe|perhaps|possibly|probably|approximately|approx|about|roughly|either)\b", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$|\*\*|__)(?<!\be\.g\.)(?<!\bi\.e\.)")
_LEADING = re.compile(
    r"(?:when|if|for|since|as|because|given|where|with|at|by|using|in|from|after|once|while|although|adding|dividing"
    r"|multiplying|subtracting|substituting|solving|setting|let|note|recall)\b[^,;]*[,;]\s(?:then\s)?",
    re.IGNORECASE,
)
_NAME_VERB = re.compile(r"(?:\(?[A-Za-z]\)?|it|that)(?:\s(?:is|equals|must be)|'s)\s", re.IGNORECASE)
_PRAISE = re.compile(
    r"(?:therefore |thus |indeed )?(?:the )?(?:correct|right|best|final)?\s?(?:answer|option|choice|one|solution)?s?"
    r"(?: here)?",
    re.IGNORECASE,
)
_YES_NO = re.compile(r"(yes|no|true|false)\b(?=[,.;:]|$)", re.IGNORECASE)
_BARE_NAME = re.compile(r"(?:\$|\\\()\s*[A-Za-z]\s*(?:\$|\\\))")
_TURN = re.compile(r"[;,.]\s(?:but|however|yet|whereas)\b,?\s", re.IGNORECASE)
_TAKEN_BACK = re.compile(
    r"\b(?:not|never|cannot|neither|nor|wrong|incorrect|impossible|too|fails?)\b|n't\b", re.IGNORECASE
)
_REPLY = re.compile(r"(?:yes|no|right|correct|okay|well|actually)[,.;:!]\s", re.IGNORECASE)
_HEADING = re.compile(
    r"(?:step|case|part|problem|question|exercise|example|figure|page|line|note|section)\s\d", re.IGNORECASE
)
_VERB = re.compile(
    r".*\b(?:is|are|was|were|equals?|be|gives?(?:\s(?:us|you|me))?|has|have|had|get|gets|got|obtain|obtains|becomes?|contains?|makes?"
    r"|costs|earns?|needs?|takes?|find|that|yields?|remains?|there're|they're|it's|that's|pays?|saves?|satisf(?:y|ies)(?=\s\ue000)"
    r"|(?:I|we|would|I'd|must|should)\s(?:pick|choose|select|go with)|(?<![\w ])(?:pick|choose|select)"
    r")\b\s*(?:[:=]\s*)?",
    re.IGNORECASE,
)
_SIGN = re.compile(r".*(?:(?<!\d):|:(?!\d)|=|\\implies|\\Rightarrow|⇒|→|≈)\s*", re.IGNORECASE)
_NEGATION = re.compile(r"\b(?:not|never|cannot|neither|nor)\b|n't\b", re.IGNORECASE)
_ARROWS = re.compile(r"^(?:[-=]>|[=:≈→⇒∴\s]|\\(?:Rightarrow|rightarrow|implies|therefore|to)(?![A-Za-z]))+")
_END_MARK = re.compile(
    r"\s*(?:[✓✔✅■∎□▪▢◻]\ufe0f?|\$?\s*\\(?:blacksquare|square|Box|qed|checkmark|boxtimes)\s*\$?)[\s.]*$"
)
_CALCULATION = re.compile(r"<<[^<>\n]{0,200}>>")  # the calculator notes of GSM8K's solutions
_COUNT_OF = re.compile(
    r"(?:^|\b(?:exactly|only|just|that)\s)(\d[\d,]*)\s(?:out\s)?of\s(?:the|these|those|his|her|their|our|my|all)\s"
    r"(?:[a-z]+\s)?\d[\d,]*\s[a-z]{2,}",
    re.IGNORECASE,
)
# The share that a sentence goes on to, after a count of a number of things: "…, that is 20%".
_SHARE = re.compile(
    rf"[^,;]*[,;]\s(?:or|so|i\.e\.,?|that(?:['’]s|\sis)|which\s(?:is|makes|gives))\s(\d[\d.,]*\s?\\?%|\d+/\d+|{_MASK}+)"
)
_BY_ELIMINATION = re.compile(
    r".*\b(?:neither|nor|not|cannot|\w+n['’]t)\b.*[,;]\s(?:so|therefore|thus|hence)\s"
    r"(?:it(?:['’]s|\sis|\smust\sbe)\s)?(?:option\s|choice\s|answer\s)?\(?([A-J])\)?",
    re.IGNORECASE,
)
_TIME = re.compile(r"(?<![\d:])\d{1,2}:[0-5]\d(?![\d:])(?:\s?[ap]\.?m\b\.?)?", re.IGNORECASE)
_EXCLAIMED = re.compile(r"(\d{2,})!")
_NUMBER = re.compile(r"(?<![\w.])[-+]?[$€£]?\d[\d,]*(?:\.\d+)?(?:/\d+)?\s?(?:\\?%)?(?!\w)")
_WORD = re.compile(r"[A-Za-z]{3,}")


def statement(line: str) -> str | None:
    """The answer in `line`, the words that follow "the answer is"; None where nothing is stated."""
    line, masked = _without_aside(*_corrected(*_first_sentence(*_prepared(line))))
    line, masked = _cut(line, masked, _CONNECTOR)
    line, masked = _without_clauses(line, masked)
    if (reply := _yes_or_no(masked)) is not None:
        return reply
    clause = _VERB.match(masked)
    if clause is not None and _STARTS.match(_without_filler(masked[clause.end() :])):
        line, masked = line[clause.end() :], masked[clause.end() :]
    return _short_quantity(_tidy(_aligned_filler(line, masked))) or None


def _computed(line: str, masked: str) -> str | None:
    """What a computation in plain text comes to, `6 * 2 = 12 hours`; None where the last "=" gives a name's value."""
    end = masked.rfind("=") + 1
    if not end or not _RESULT.match(masked, end) or masked[end - 2 : end - 1] in ("<", ">", "!", "="):
        return None
    before = masked[: end - 1]
    if any(_holds_mathematics(before[: reason.start()]) for reason in _REASON.finditer(before)):
        return None
    if _CONDITION.search(before) or (_NAME_BEFORE.search(before) and _NAME_BEFORE.search(before.rpartition("=")[0])):
        return None
    tail, tail_masked = _cut(line[end:], masked[end:], _CONNECTOR)
    tail, _ = _without_clauses(tail, tail_masked)
    return _short_quantity(_tidy(tail)) or None


_REASON = re.compile(r"[;,]?\s(?:because|since|where|when|whenever|if)\s|,\sas\s", re.IGNORECASE)
_RESULT = re.compile(rf"\s*[-+]?\s*(?:\\?[$€£]\s*)?(?:\d|\.\d|{_MASK})")
_CONDITION = re.compile(
    r"\b(?:when|whenever|if|where|at|for|since|as|because|with|given|provided|assuming|let|setting|by)\s"
    r"(?:we have\s|that\s)?[A-Za-z](?:_\w+)?\s*$",
    re.IGNORECASE,
)
_NAME_BEFORE = re.compile(r"(?:^|[\s,;(])[A-Za-z](?:_\w+)?\s*$")
_COMPARED = re.compile(
    r"\b(?:less|more|fewer|greater|larger|smaller|least|most|under|over|below|above|up to|between|almost|nearly|about"
    r"|approximately|roughly|around|not|or)\b",
    re.IGNORECASE,
)


_BEFORE_NUMBER = re.compile(r"(?:to\s[a-z]|(?:an?|the|its|his|her|their|my|our|your)\s)", re.IGNORECASE)
_LONG_QUANTITY = re.compile(r"([-+]?(?:\\?[$€£]\s?)?\d[\d,]*(?:\.\d+)?\s?(?:\\?%)?)((?:\s[A-Za-z'’-]+){3,40})")
_OPERATION_WORDS = re.compile(
    r"\b(?:plus|minus|squared|cubed|divided|power|root|factorial|mod|modulo|or|not|less|hundred|thousand"
    r"|million|billion|percent|base|half|third|quarter|point|degrees)\b",
    re.IGNORECASE,
)
_UNIT_WORDS = re.compile(r"(?:\s(?!(?:and|to|that|which|of|who|will|were|was|are|is|has|have|had)\b)[A-Za-z'’-]+){1,3}")


def _short_quantity(answer: str) -> str:
    """`480 people` of "480 people remained to see the end": a number with the nouns that follow it."""
    match = _LONG_QUANTITY.fullmatch(answer)
    if match is None or _OPERATION_WORDS.search(match[2]):
        return answer
    nouns = _UNIT_WORDS.match(match[2])
    return match[1] + (nouns[0] if nouns else "")


def _only_number(tail: str, masked: str) -> str:
    """`141 plants` of "to buy 141 plants", where one number alone stands in `tail` and nothing is compared with it."""
    numbers = list(_NUMBER.finditer(tail))
    if _MASK in masked or len(numbers) != 1 or _COMPARED.search(tail) or not _BEFORE_NUMBER.match(tail):
        return tail
    return tail[numbers[0].start() :]


def _yes_or_no(masked: str) -> str | None:
    """The yes or no that a sentence without mathematics begins with."""
    reply = _YES_NO.match(masked)
    return reply[1] if reply is not None and not _holds_mathematics(masked) else None


def reply(line: str) -> str | None:
    """The yes or no that `line` begins with, whatever reason follows it."""
    found = _YES_NO.match(_prepared(line)[1])
    return None if found is None else found[1]


def _only_time(line: str, masked: str) -> str | None:
    """The time of day in a sentence that holds no other number."""
    times = list(_TIME.finditer(masked))
    if len(times) != 1 or _holds_mathematics(masked[: times[0].start()] + masked[times[0].end() :]):
        return None
    return None if _NEGATION.search(masked) else line[times[0].start() : times[0].end()]


def exclaimed(answer: str, response: str) -> str | None:
    """The 42 of "It's 42!", where the sign may end an exclamation: the response has no other, and 42 is over 20, since
    a smaller one may well be a factorial. None where `answer` is no such number."""
    match = _EXCLAIMED.fullmatch(answer)
    return match[1] if match is not None and int(match[1]) > 20 and response.count("!") == 1 else None


def _without_praise(line: str, masked: str) -> tuple[str, str]:
    """`D` of "Option D is the correct answer"."""
    clause = re.match(r"(.*\S)\s(?:is|are)\s", masked)
    if clause is None or not (tail := masked[clause.end() :].strip()) or not _PRAISE.fullmatch(tail):
        return line, masked
    line, masked = line[: clause.end(1)], masked[: clause.end(1)]
    return _aligned_filler(line, masked), _without_filler(masked)


def conclusion(line: str) -> str | None:
    """The answer in `line`, the last one of a response; None where it states none or several unrelated ones."""
    line, masked = _corrected(*_last_sentence(*_prepared(line)))
    if (said := _REPLY.match(masked)) is not None and _holds_mathematics(masked[said.end() :]):
        line, masked = line[said.end() :], masked[said.end() :]
    if not _WORD.search(re.sub(r"\\[A-Za-z]+", "", masked)) and not _NAME_VERB.match(masked):
        return _tidy(line) or None
    if (leading := _LEADING.match(masked)) is not None and _holds_mathematics(masked[leading.end() :]):
        line, masked = line[leading.end() :], masked[leading.end() :]
    if (reply := _yes_or_no(masked)) is not None:
        return reply
    if (letter := _BY_ELIMINATION.fullmatch(masked)) is not None and letter[1].isupper():
        return letter[1]
    line, masked = _without_aside(*_after_turn(line, masked))
    if (time := _only_time(line, masked)) is not None:
        return time
    if (count := _COUNT_OF.search(masked)) is not None and (share := _SHARE.fullmatch(masked, count.end())) is not None:
        return line[share.start(1) : share.end(1)]
    if (count := _COUNT_OF.search(masked)) is not None and not _holds_mathematics(masked[count.end() :]):
        return count[1]
    if _HEADING.match(masked):
        return None
    if (result := _computed(line, masked)) is not None:
        return result
    line, masked = _after_connector(line, masked)
    line, masked = _without_clauses(line, masked)
    line, masked = _without_praise(line, masked)
    if (clause := _VERB.match(masked)) is not None and _tidy(line[clause.end() :]):
        tail, tail_masked = line[clause.end() :], masked[clause.end() :]
        equal = tail_masked.rfind("=") + 1
        if _WORD.search(tail_masked[:equal]) and _chain(tail_masked) and _holds_mathematics(tail_masked[equal:]):
            tail, tail_masked = tail[equal:], tail_masked[equal:]
        if _holds_mathematics(tail_masked) or not _holds_mathematics(masked):
            answer = _tidy(_only_number(_aligned_filler(tail, tail_masked), tail_masked))
            return None if _NEGATION.search(masked[: clause.end()]) else _short_quantity(answer) or None
    if _NEGATION.search(masked):
        return None
    segments = [line[m.start() : m.end()] for m in re.finditer(f"{_MASK}+", masked)]
    if segments:
        told = [segment for segment in segments if not _BARE_NAME.fullmatch(segment)] or segments
        return ", ".join(told)
    if len(re.findall(r"[,;]|\band\b", masked)) and masked.count("=") > 1 and not _chain(masked):
        return _tidy(line) or None
    numbers = list(dict.fromkeys(n.strip() for n in _NUMBER.findall(masked)))
    if (clause := _SIGN.match(masked)) is not None and numbers and (tail := _tidy(line[clause.end() :])):
        return tail
    if len(numbers) == 1:
        return numbers[0].rstrip(",")
    return _tidy(line) if len(line.split()) <= 4 else None


def _prepared(line: str) -> tuple[str, str]:
    """`line` with single spaces and without its lead-in; and the same with its mathematics masked."""
    line = re.sub(r"\s+", " ", _CALCULATION.sub("", line[:MAX_LINE])).strip()
    line = _tidy(line[_lead_end(line) :])
    line = _ARROWS.sub("", line)
    masked = list(line)
    for start, end in math_segments(line):
        masked[start:end] = _MASK * (end - start)
    return line, "".join(masked)


def strip_markup(line: str) -> str:
    """`line` without the marks of lists, headings and emphasis around it, and without a leading "so" or "then"."""
    line = line[:MAX_LINE].strip()
    return _tidy(line[_lead_end(line) :])


def _lead_end(line: str) -> int:
    lead = _LEAD.match(line)
    return lead.end() if lead is not None else 0


def _first_sentence(line: str, masked: str) -> tuple[str, str]:
    end = _SENTENCE_END.search(masked)
    return (line[: end.start()], masked[: end.start()]) if end else (line, masked)


def _last_sentence(line: str, masked: str) -> tuple[str, str]:
    """The last sentence that holds a number or mathematics, else the last."""
    ends = [m.end() for m in _SENTENCE_END.finditer(masked) if masked[m.end() :].strip(" *_")]
    for start in reversed(ends):
        if _holds_mathematics(masked[start:]):
            lead = start + _lead_end(line[start:])
            return line[lead:], masked[lead:]
    return (line[: ends[0]], masked[: ends[0]]) if ends and _holds_mathematics(masked[: ends[0]]) else (line, masked)


def _holds_mathematics(masked: str) -> bool:
    return _MASK in masked or any(char.isdigit() for char in masked)


def _cut(line: str, masked: str, pattern: re.Pattern[str]) -> tuple[str, str]:
    for match in pattern.finditer(masked):
        if masked[: match.start()].strip(" *_"):
            return line[: match.start()], masked[: match.start()]
    return line, masked


_CORRECTION = re.compile(r"\bnot\s(?!only|just|merely)[^.;:]{1,60}?,?\sbut\s(?:rather\s|instead\s)?", re.IGNORECASE)


_DENIED = re.compile(
    r"(?:(?:\b(?:is|was|are|were)|['’](?:s|re))\snot|\b(?:is|was|are|were)n['’]t|^not)\s[^.;:,]{1,60}[,;]\s(?:but\s)?"
    r"(?=(?:it|that|they)(?:['’](?:s|re)|\s(?:is|was|are|were))\s(?!not\b))",
    re.IGNORECASE,
)
_SUPPOSED = re.compile(r"\b(?:if|when|whenever|unless|where|suppose|assuming)\b", re.IGNORECASE)


def _corrected(line: str, masked: str) -> tuple[str, str]:
    """`it is 13` of "it is not 12 but 13" and of "it isn't 12, it is 13"."""
    denied = _DENIED.search(masked)
    if denied is not None and not _SUPPOSED.search(masked[: denied.end()]):
        return line[denied.end() :], masked[denied.end() :]
    match = _CORRECTION.search(masked)
    if match is None:
        return line, masked
    return line[: match.start()] + line[match.end() :], masked[: match.start()] + masked[match.end() :]


def _after_turn(line: str, masked: str) -> tuple[str, str]:
    """What follows the last ", but", where that states something: `which is 16` of "it is 12, but we need its double,
    which is 16"."""
    for match in reversed(list(_TURN.finditer(masked))):
        rest = masked[match.end() :]
        if _holds_mathematics(rest) and not _TAKEN_BACK.search(rest):
            return line[match.end() :], rest
    return line, masked


def _after_connector(line: str, masked: str) -> tuple[str, str]:
    """What follows the last "so" or "therefore", where that holds mathematics; else what stands before it."""
    for match in reversed(list(_CONNECTOR.finditer(masked))):
        if _holds_mathematics(masked[match.end() :]):
            return line[match.end() :], masked[match.end() :]
        if _holds_mathematics(masked[: match.start()]):
            line, masked = line[: match.start()], masked[: match.start()]
    return line, masked


def _without_clauses(line: str, masked: str) -> tuple[str, str]:
    """Without the conditions, reasons and asides after a part that holds mathematics or a letter to choose."""
    for pattern in (_TRAILING, _COMMA_WORD, _DASH):
        for match in pattern.finditer(masked):
            before = masked[: match.start()].strip(" *_")
            if _holds_mathematics(before) or re.search(r"(?:^|\s)\(?[A-J]\)?$", before):
                line, masked = line[: match.start()], masked[: match.start()]
                break
    return _without_aside(line.rstrip(" .*_-–—"), masked.rstrip(" .*_-–—"))


def _without_aside(line: str, masked: str) -> tuple[str, str]:
    """Without a remark in brackets: `18 marbles` of "18 marbles (after giving away 7)"."""
    aside = _ASIDE.search(masked)
    if aside is not None and not _DOUBT.search(aside[0]):
        line = line[: aside.start()] + line[aside.end() :]
        masked = masked[: aside.start()] + masked[aside.end() :]
    return line, masked


def _without_filler(masked: str) -> str:
    filler = _FILLER.match(masked)
    return masked[filler.end() :] if filler and _STARTS.match(masked[filler.end() :]) else masked


def _aligned_filler(line: str, masked: str) -> str:
    return line[len(masked) - len(_without_filler(masked)) :]


def _chain(masked: str) -> bool:
    """Whether `masked` is one chain of equalities, `2 + 3 = 4 + 1 = 5`, not several assignments."""
    return re.search(r"=[^=]*(?:[,;]|\band\b)[^=]*=", masked) is None


def _tidy(line: str) -> str:
    """`line` without emphasis at its ends and without closing punctuation."""
    line = _END_MARK.sub("", line.strip().strip("*_`").strip()) if not line.isascii() or "\\" in line else line
    line = line.strip().strip("*_`").strip()
    while line and line[-1] in ".,;:!" and not line.endswith(("\\,", "\\;", "\\:", "\\!")) and not line.endswith("!!"):
        if line[-1] == "!" and re.search(r"[\d)]!$", line):
            break
        line = line[:-1].rstrip("*_` ")
    return line.strip()
