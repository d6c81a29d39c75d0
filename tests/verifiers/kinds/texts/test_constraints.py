"""Constraints on a text, each met and missed; what can't be looked at is unverifiable only where it matters."""

from __future__ import annotations

import sys

import pytest

from berry.verifiers.base import Outcome, Reason
from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.config import CheckerConfig
from berry.verifiers.kinds.texts.constraints import sentences
from berry.verifiers.registry import fault
from berry.verifiers.specs.answers import ConstraintsSpec

CASES = [
    ({"kind": "words", "min": 3, "max": 4}, "one two three", "one two"),
    ({"kind": "words", "max": 2}, "It's well-kept", "one, two, three"),
    ({"kind": "sentences", "min": 2}, "One. And two!", "Only one of them."),
    ({"kind": "sentences", "max": 1}, "Dr. Smith met Mr. J. Doe at 3.5 km", "He left. She stayed."),
    ({"kind": "sentences", "min": 2, "max": 2}, "1. Wash it.\n2. Dry it.", "1. Wash it. Dry it.\n2. Rest."),
    ({"kind": "sentences", "max": 1}, "a. Wash it", "The answer is\n42.\nThat is all"),
    ({"kind": "paragraphs", "divider": "***", "min": 2, "max": 2}, "one\n***\ntwo", "one\n\ntwo"),
    ({"kind": "paragraphs", "min": 2}, "one\n \ntwo", "one\ntwo"),
    ({"kind": "keyword", "word": "cat", "min": 2}, "Cat and CAT", "cat, category"),
    ({"kind": "letter", "letter": "E", "max": 1}, "The dog", "Here she"),
    ({"kind": "capital_words", "min": 2}, "NASA and ESA", "NASA and Esa"),
    ({"kind": "bullets", "min": 2, "max": 2}, "* a\n- b", "* a\n* b\n* c"),
    ({"kind": "highlights", "min": 2}, "*one* and **two**", "*one* and two * three"),
    ({"kind": "sections", "name": "Section", "min": 2}, "Section 1\nx\nSECTION 2\ny", "Section 1\nno other"),
    ({"kind": "placeholders", "min": 1}, "Dear [name],", "Dear name,"),
    ({"kind": "contains", "words": ["sun", "moon"]}, "Sunshine and Moon", "the sun"),
    ({"kind": "excludes", "words": ["sun"]}, "sunny", "The SUN."),
    ({"kind": "casing", "case": "upper"}, "ALL, 4 ONE", "All"),
    ({"kind": "casing", "case": "lower"}, "all 4 one", "all For"),
    ({"kind": "casing", "case": "lower"}, "é", "123"),
    ({"kind": "starts_with", "text": "Dear"}, "dear all", "All dear"),
    ({"kind": "ends_with", "text": "Is that all?"}, 'He asked "is that all?"', "Is that all? Yes."),
    ({"kind": "first_word", "paragraph": 2, "paragraphs": 2, "word": "Then"}, "a\n\n*then* b", "a\n\nNow then"),
    ({"kind": "first_word", "paragraph": 1, "paragraphs": 2, "word": "a"}, "a\n\nb", "a"),
    ({"kind": "title"}, "<<Of mice>>\ntext", "<< >>\ntext"),
    ({"kind": "quoted"}, '"All of it."', '"A part" of it.'),
    ({"kind": "no_commas"}, "one and two", "one, two"),
    ({"kind": "json"}, '```json\n{"a": [1]}\n```', "{a: 1}"),
    ({"kind": "json"}, "[1.5, null]", "[NaN]"),
    ({"kind": "postscript", "marker": "P.S."}, "text\nP.S. more", "text P.S. more"),
    ({"kind": "one_of", "options": ["My answer is yes.", "My answer is no."]}, "my answer is no.", "no"),
    ({"kind": "one_of", "options": ["yes", "no"], "alone": True}, "**No.**", "no, thanks"),
    ({"kind": "two_responses"}, "one\n******\ntwo", "one\n******\none"),
    ({"kind": "repeats_prompt", "prompt": "Say it."}, "Say it.\nI do.", "I say it."),
    (
        {"kind": "language", "code": "de"},
        "Heute ist das Wetter wirklich schön, sagte sie.",
        "The weather is nice today.",
    ),
    ({"kind": "matches", "pattern": r"\d{3}"}, "a 123", "a 12"),
    ({"kind": "matches", "pattern": r"\d{3}", "wanted": False}, "a 12", "a 123"),
]


async def check(response: str, **spec: object):
    request = CheckRequest("p", ConstraintsSpec.model_validate({"type": "constraints", **spec}), response)
    return await Checker(CheckerConfig(slots=1)).check(request)


@pytest.mark.parametrize(
    ("constraint", "met", "missed"), CASES, ids=[f"{c['kind']}-{i}" for i, (c, *_) in enumerate(CASES)]
)
async def test_each_is_met_and_missed(constraint, met, missed) -> None:
    assert (await check(met, constraints=[constraint])).outcome is Outcome.PASS
    assert (await check(missed, constraints=[constraint])).reason is Reason.WRONG_ANSWER


async def test_thinking_does_not_count_and_nothing_is_no_answer() -> None:
    constraint = {"kind": "no_commas"}
    assert (await check("<think>a, b</think>a b", constraints=[constraint])).passed
    assert (await check("<think>a</think> ", constraints=[constraint])).reason is Reason.NO_ANSWER


async def test_weights_and_a_threshold_ask_for_a_part() -> None:
    parts = [{"kind": "no_commas", "weight": 3}, {"kind": "quoted", "weight": 1}]
    assert (await check("a b", constraints=parts, threshold=0.75)).passed
    verdict = await check('"a, b"', constraints=parts, threshold=0.75)
    assert verdict.reason is Reason.WRONG_ANSWER
    assert verdict.evidence["met"] == 0.25


async def test_what_cannot_be_looked_at_is_unverifiable_only_where_it_could_decide(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid", None)
    language = {"kind": "language", "code": "fr"}
    assert (await check("a b", constraints=[language, {"kind": "no_commas"}])).reason is Reason.NOT_CHECKED
    assert (await check("a, b", constraints=[language, {"kind": "no_commas"}])).reason is Reason.WRONG_ANSWER
    assert (await check("a b", constraints=[language, {"kind": "no_commas"}], threshold=0.5)).passed


async def test_a_text_that_its_pattern_can_not_get_through_fails(monkeypatch) -> None:
    monkeypatch.setattr("berry.verifiers.kinds.texts.constraints.PATTERN_S", 0.1)
    for wanted in (True, False):
        slow = {"kind": "matches", "pattern": r"(a|aa)+$", "wanted": wanted}
        assert (await check("a" * 200 + "b", constraints=[slow])).outcome is Outcome.FAIL


def test_counting_sentences_is_linear_whatever_the_text() -> None:
    assert sentences("." * 200_000 + "x" + "!?" * 100_000) <= 2
    assert sentences("'" * 200_000) == 0


def test_what_no_text_could_meet_is_refused() -> None:
    both = [{"kind": "contains", "words": ["sun"]}, {"kind": "excludes", "words": ["Sun"]}]
    assert "both wanted and excluded" in (fault(ConstraintsSpec.model_validate({"constraints": both})) or "")
    cases = [{"kind": "casing", "case": "upper"}, {"kind": "casing", "case": "lower"}]
    assert "capitals" in (fault(ConstraintsSpec.model_validate({"constraints": cases})) or "")
    with pytest.raises(ValueError, match=r"min \(3\) is above max"):
        ConstraintsSpec.model_validate({"constraints": [{"kind": "words", "min": 3, "max": 2}]})
    with pytest.raises(ValueError, match="no regular expression"):
        ConstraintsSpec.model_validate({"constraints": [{"kind": "matches", "pattern": "("}]})
