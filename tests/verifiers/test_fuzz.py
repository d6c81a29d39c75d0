# ruff: noqa: E501 (tables of pieces)
"""Generated garbage for extraction and every kind of scorer: none raises, hangs or passes.

A minute of it: `make fuzz`.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from berry.verifiers.base import Outcome, Reason, Verdict
from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.config import CheckerConfig
from berry.verifiers.extraction.code_blocks import find_program
from berry.verifiers.extraction.extract import find_answer
from berry.verifiers.kinds.majority import ConsensusRequest
from berry.verifiers.kinds.model import vote_of
from berry.verifiers.kinds.programs import plain_values, sql, stdio
from berry.verifiers.kinds.texts import json_schema
from berry.verifiers.proofs import coq, vernacular
from berry.verifiers.specs.base import DEFAULT_PLACES, LENIENT, STRICT, Place
from berry.verifiers.specs.code import StdioSpec
from berry.verifiers.specs.union import FormalSpec, MajoritySpec, ReasoningGymSpec, VerifierSpec
from tests.fuzzing import fuzzed, json_values, texts
from tests.verifiers.conftest import Check

ADAPTER: TypeAdapter[Any] = TypeAdapter(VerifierSpec)
SECRET = "774411839"
"""What every gold answer holds, and no piece of garbage."""
PLACES_OF_ALL: tuple[Place, ...] = ("whole", "last_line")
MAX_CPU_S = 3.0
"""CPU seconds that one piece of garbage may cost this process."""

MATHS = [
    "\\boxed{",
    "}",
    "\\frac{",
    "\\frac12",
    "\\dfrac",
    "\\sqrt[3]{",
    "\\sqrt",
    "\\sum_{i=1}^{9}",
    "\\int_0^1",
    "\\prod",
    "\\lim_{x\\to0}",
    "\\infty",
    "\\pm",
    "\\begin{pmatrix}",
    "\\end{pmatrix}",
    "\\\\",
    "&",
    "\\left(",
    "\\right]",
    "\\cup",
    "\\cap",
    "\\in",
    "\\le",
    "\\ne",
    "\\approx",
    "=",
    "<",
    ">",
    "+",
    "-",
    "*",
    "/",
    "^",
    "_",
    "!",
    "%",
    "°",
    "\\circ",
    "\\text{",
    "\\mathrm{",
    "\\,",
    "\\;",
    "{,}",
    "$",
    "$$",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "|",
    ",",
    ";",
    ":",
    ".",
    "0",
    "1",
    "2",
    "0.5",
    "1e9",
    "1e-9",
    "-1",
    "i",
    "e",
    "\\pi",
    "x",
    "y",
    "x^2",
    "nan",
    "inf",
    "\\emptyset",
    "\\log_2",
    "\\sin",
    "\\tan^{-1}",
    "\\binom{",
    "\\choose",
    "\\overline{",
    "\\bar",
    "\\hat",
    "\\vec",
    "\\cdot",
    "\\times",
    "\\div",
    "\\mod",
    "\\gcd(",
    "\\lfloor",
    "\\rceil",
    "1/0",
    "0/0",
    "0^0",
    "9^9^9^9",
    "10^{10^{10}}",
    "\\cdots",
    "...",
    "and",
    "or",
    "cm",
    "m/s",
    "USD",
    "<answer>",
    "</answer>",
    "**Answer:**",
    "####",
    "answer",
    "is",
    "<think>",
    "</think>",
]
CODE = (
    "```python\n", "```\n", "```cpp\n", "```sh\n", "```javascript\n", "def f(x):\n", "def f(x): ", "    return ", "return x",
    "\n", "\n    ", "lambda x: x", "f = ", "x", "1", "0", "None", "raise StopIteration", "raise SystemExit", "yield ",
    "import os\n", "os._exit(0)", "exit 0", "exit()", "print(", ")", "(", "[", "]", "{", "}", ":", "=", "==", "'", '"', "\\",
    "class E:\n    __eq__ = lambda *a: True\n", "while 0: pass\n", "# ", "/* ", "*/", "//", "int main() {", "};", "async ",
    "await ", "f", "f(x)", "@f\n", "*", "**", "~", "global f\n", "del f\n", "answer = ", "def solution():\n    ", "\t",
)  # fmt: skip
QUERIES = (
    "SELECT ", "FROM t", "WITH RECURSIVE c AS (", "VALUES (", ")", "(", ",", "*", "a", "1", "NULL", "'", '"', ";", "--", "/*",
    "UNION ALL ", "WHERE ", "1e999", "x'00'", "CAST(x'ff' AS TEXT)", "PRAGMA ", "ATTACH ", "DROP TABLE t", "zeroblob(9)",
    "```sql\n", "```", "\n", " ORDER BY 1", "COUNT(*)", "printf('%s')", "json(", "hex(", "load_extension('x')", "%",
)  # fmt: skip
JSONS = ("{", "}", "[", "]", '"', ":", ",", "a", "1", "-", "1e999", "NaN", "true", "null", "\\u", "\\ud800", "```json\n", "```",
         '{"a": 1}', '{"a": {}}', "0.1", " ", "\n")  # fmt: skip
WORDS = ("VERDICT: CORRECT", "VERDICT: INCORRECT", "**", "_", "> ", "    ", "```", "\n", " ", "<think>", "</think>", ".", "A", "B",
         "(B)", "option", "and", "or", "not", "P.S.", "***", "******", "<<", ">>", "[", "]", "* ", "- ", '"', ",", "Section 1",
         "<|im_end|>", "</s>", "[INST]", "\u202e", "\u00a0", "ß", "İ", "\x00", "\ud800", "🦙")  # fmt: skip
PROOFS = ("Theorem t : ", "Proof.", "Qed.", "Admitted.", "Axiom a : False.", "(*", "*)", '"', ".", " ", "\n", "exact I", "Redirect ",
          "Load ", "Definition ", ":=", "{", "}", "-", "Ltac ", "Import ", "Set ", "by ", "sorry", "theorem t : 1 = 2 := ", "/-", "-/",
          "--", "#eval ", "t", "Print Assumptions t", "[", "]", "@", "%", "'")  # fmt: skip

GOLDS: dict[str, dict[str, Any]] = {
    "math number": {"type": "math", "answer": SECRET},
    "math fraction, lenient": {"type": "math", "answer": f"\\frac{{{SECRET}}}{{1024}}", "strictness": "lenient"},
    "math interval": {"type": "math", "answer": f"(-\\infty, {SECRET}]"},
    "math set": {"type": "math", "answer": f"\\{{1, 2, {SECRET}\\}}"},
    "math matrix": {"type": "math", "answer": f"\\begin{{pmatrix}} 1 & {SECRET} \\\\ 0 & 1 \\end{{pmatrix}}"},
    "math equation": {"type": "math", "answer": f"y = {SECRET}x + 1"},
    "math unit": {"type": "math", "answer": f"{SECRET} \\text{{ cm}}"},
    "expression": {"type": "expression", "numbers": [int(SECRET), 7, 11], "target": int(SECRET) + 77},
    "choice": {"type": "choice", "answer": "Q", "options": {"A": "one", "B": "two", "Q": SECRET}},
    "constraints": {"type": "constraints", "constraints": [
        {"kind": "keyword", "word": SECRET, "min": 1}, {"kind": "words", "max": 9}, {"kind": "sentences", "min": 1},
        {"kind": "bullets", "min": 0, "max": 5}, {"kind": "json"}, {"kind": "title"}, {"kind": "two_responses"},
        {"kind": "language", "code": "en"}, {"kind": "matches", "pattern": "(a|ab)+c"}, {"kind": "casing", "case": "upper"},
        {"kind": "sections", "name": "Section", "min": 1}, {"kind": "first_word", "paragraph": 1, "paragraphs": 1, "word": "A"},
        {"kind": "postscript", "marker": "P.S."}, {"kind": "highlights", "min": 1}, {"kind": "placeholders", "min": 1},
    ]},
    "json_schema": {"type": "json_schema", "json_schema": {"type": ["object", "array"]}, "expected": {"a": int(SECRET)}},
    "json_schema, a form": {"type": "json_schema", "json_schema": {
        "type": "object", "required": [SECRET], "properties": {"a": {"pattern": "^(a+)+$"}}}},
    "majority": {"type": "majority"},
}  # fmt: skip
IN_A_SANDBOX: dict[str, tuple[dict[str, Any], Sequence[str]]] = {
    "python_function, tests": ({"type": "python_function", "entry_point": "f", "tests": f"assert f(1) == {SECRET}"}, CODE),
    "python_function, cases": (
        {"type": "python_function", "entry_point": "f", "cases": [{"args": [1], "expected": [int(SECRET)]}]}, CODE),
    "stdio": ({"type": "stdio", "cases": [{"stdin": "1", "stdout": SECRET}]}, CODE),
    "stdio, a checker": ({"type": "stdio", "compare": "checker", "cases": [{"stdin": "1", "stdout": SECRET}],
                          "checker": "def check(stdin, expected, output): return int(output) == int(expected)"}, CODE),
    "program_tests in python": ({"type": "program_tests", "language": "python", "tests": f"assert f.x == {SECRET}"}, CODE),
    "program_tests in shell": ({"type": "program_tests", "language": "shell", "tests": f'[ "$(f 2)" = {SECRET} ]'}, CODE),
    "program_of_thought": ({"type": "program_of_thought", "answer": SECRET}, CODE),
    "sql": ({"type": "sql", "setup": f"CREATE TABLE t(a); INSERT INTO t VALUES ({SECRET}), (1)",
             "query": "SELECT a + 1 FROM t"}, QUERIES),
    "custom": ({"type": "custom", "function": "f.py:ok", "source":
                f"def ok(response, prompt): return int((response or '0').split()[0]) == {SECRET} and {{'passed': True}}"}, WORDS),
    "all_of": ({"type": "all_of", "parts": [{"type": "math", "answer": SECRET}, {"type": "stdio", "cases": [
        {"stdout": SECRET}]}]}, CODE),
    "any_of": ({"type": "any_of", "parts": [{"type": "math", "answer": SECRET}, {"type": "choice", "answer": "J"}]}, MATHS),
}  # fmt: skip


def sound(verdict: Verdict, response: str) -> None:
    """Holds a verdict on garbage to what it may say."""
    assert verdict.outcome is not Outcome.PASS, (response, verdict)
    assert verdict.reason is not Reason.CHECK_ERROR, (response, verdict)
    assert verdict.outcome is verdict.reason.outcome or verdict.evidence.get("weak")
    json.dumps([verdict.answer, dict(verdict.evidence)]).encode()


@pytest.mark.parametrize("gold", GOLDS)
@fuzzed(25)
@given(data=st.data())
def test_garbage_is_no_answer(check: Check, gold: str, data: st.DataObject) -> None:
    pieces = {"c": (*WORDS, *JSONS), "j": (*JSONS, *WORDS)}.get(gold[0], (*MATHS, *WORDS))
    response = data.draw(texts(pieces))
    start = time.process_time()
    sound(check(ADAPTER.validate_python(GOLDS[gold]), response), response)
    assert time.process_time() - start < MAX_CPU_S


@pytest.mark.slow
@pytest.mark.parametrize("kind", IN_A_SANDBOX)
@fuzzed(3)
@given(data=st.data())
def test_garbage_is_no_program(check_all: Callable[..., list[Verdict]], kind: str, data: st.DataObject) -> None:
    spec, pieces = IN_A_SANDBOX[kind]
    responses = data.draw(st.lists(texts(pieces), min_size=1, max_size=8))
    read = ADAPTER.validate_python(spec)
    for response, verdict in zip(responses, check_all([(read, r) for r in responses]), strict=True):
        sound(verdict, response)
        may_fail_to_check = spec["type"] in ("program_tests", "all_of", "any_of")
        assert verdict.outcome is Outcome.FAIL or may_fail_to_check, (response, verdict)


@lru_cache(maxsize=8)
def _entry(dataset: str) -> ReasoningGymSpec:
    import reasoning_gym

    entry = reasoning_gym.create_dataset(dataset, seed=3, size=1)[0]
    return ReasoningGymSpec(dataset=dataset, entry=json.loads(json.dumps(entry, default=str)))


@pytest.mark.slow
@fuzzed(2)
@given(data=st.data())
def test_garbage_scores_nothing(check_all: Callable[..., list[Verdict]], data: st.DataObject) -> None:
    factory = pytest.importorskip("reasoning_gym.factory")
    names = sorted(set(factory.DATASETS) - {"composite"})
    spec = _entry(data.draw(st.sampled_from(names)))
    gold = str(spec.entry.get("answer")).casefold()
    responses = data.draw(st.lists(texts((*MATHS, *WORDS, *JSONS)), min_size=1, max_size=4))
    tagged = [f"<answer>{response}</answer>" for response in responses]
    for response, verdict in zip(responses, check_all([(spec, r) for r in tagged]), strict=True):
        assert not verdict.passed or gold in response.casefold(), (spec.dataset, response, verdict)
        assert verdict.reason is not Reason.CHECK_ERROR, (spec.dataset, response, verdict)


@fuzzed(80)
@given(texts((*MATHS, *WORDS, *CODE)))
def test_extraction_reads_any_text(text: str) -> None:
    start = time.process_time()
    for places in (DEFAULT_PLACES, PLACES_OF_ALL):
        found = find_answer(text, places)
        assert found is None or found.answer.strip()
    for language in ("python", "cpp", "sql"):
        find_program(text, language, entry_point="f")
    assert time.process_time() - start < MAX_CPU_S


@fuzzed(80)
@given(texts(WORDS), st.booleans())
def test_a_vote_is_a_whole_last_line_of_its_own(text: str, thinking: bool) -> None:
    vote = vote_of(f"<think>{text}" if thinking else text)
    if vote is not None:
        last = text.rstrip().splitlines()[-1]
        assert last.upper().strip("*_. \u00a0\x1c\x1d\x1e\x1f").startswith("VERDICT"), text


@fuzzed(20)
@given(st.lists(texts(WORDS, most=10), max_size=5), texts(WORDS))
def test_a_judge_that_babbles_gives_no_pass(answers: list[str], response: str) -> None:
    async def judge(messages: Any, *, n: int, seed: int) -> list[str]:
        return [answer + "\nbabble" for answer in answers]

    async def ask() -> list[Verdict]:
        checker = Checker(CheckerConfig(), judge=judge)
        rubric = {"type": "rubric", "criteria": [{"text": "a"}, {"text": "b"}]}
        specs = [ADAPTER.validate_python(one) for one in ({"type": "model", "rubric": "kind"}, rubric)]
        return [await checker.check(CheckRequest("p", spec, response)) for spec in specs]

    for verdict in asyncio.run(ask()):
        sound(verdict, response)


@fuzzed(10)
@given(st.lists(texts((*MATHS, *WORDS), most=8), min_size=1, max_size=4))
def test_any_texts_can_be_asked_for_their_majority(warm: Any, responses: list[str]) -> None:
    loop, checker = warm
    request = ConsensusRequest("p", MajoritySpec(min_answers=2), {str(i): text for i, text in enumerate(responses)})
    for verdict in loop.run_until_complete(checker.agree(request)).values():
        assert verdict.reason is not Reason.CHECK_ERROR, (responses, verdict)
        assert not verdict.passed or len(responses) > 1


@fuzzed(80)
@given(texts(PROOFS))
def test_a_proof_is_parsed_or_refused(text: str) -> None:
    bare = vernacular.without_comments(text)
    if bare is not None and vernacular.refused(bare) is None:
        spec = FormalSpec(system="coq", statement="Theorem t : True.")
        coq.script(coq.files(spec, "t", text, bare, "word"), "word", "mark")
    coq.axioms(text, text)


@fuzzed(100)
@given(json_values, json_values)
def test_json_is_equal_to_itself_alone(a: Any, b: Any) -> None:
    found = json_schema.find_json(json.dumps(a)) if _strict(a) and isinstance(a, dict | list) else a
    assert json_schema.same(found, a) or not _strict(a)
    if json_schema.same(a, b):
        assert a == b
    if plain_values.same_value(a, b, sequences="exact"):
        assert repr(a) == repr(b) or a == b
    assert plain_values.same_value(a, a)


def _strict(value: Any) -> bool:
    """Whether JSON proper can hold a value: no NaN, no infinity."""
    if isinstance(value, float):
        return math.isfinite(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return all(map(_strict, parts))


values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4))


@fuzzed(100)
@given(
    st.lists(st.lists(values, max_size=3), max_size=4),
    st.lists(st.lists(values, max_size=3), max_size=4),
    st.booleans(),
)
def test_rows_are_equal_to_themselves_alone(a: list[Any], b: list[Any], ordered: bool) -> None:
    assert sql.same_rows(a, a, ordered=ordered, columns_ordered=True)
    same = sql.same_rows(a, b, ordered=ordered, columns_ordered=True)
    assert not same or sorted(map(len, a)) == sorted(map(len, b))
    assert same or not sql.same_rows(b, a, ordered=ordered, columns_ordered=True)


NUMBERS = (
    "1",
    "1.0",
    "1e0",
    "+1",
    "nan",
    "-inf",
    "infinity",
    "0",
    "-0",
    "1e999",
    "-1e999",
    "0x1",
    "1_0",
    "٣",
    "１",
    " ",
    "\n",
    ".",
    "1.",
)


@fuzzed(100)
@given(texts(NUMBERS, most=4), texts(NUMBERS, most=4))
def test_printed_numbers_are_compared_whatever_they_are(a: str, b: str) -> None:
    for compare in ("tokens", "lines", "floats"):
        spec = StdioSpec.model_validate({"cases": [{"stdout": a}], "compare": compare})
        assert stdio.same_output(spec, a, a)
        if stdio.same_output(spec, a, b):
            assert len(a.split()) == len(b.split())
            assert ("nan" in a.lower()) == ("nan" in b.lower())


@fuzzed(40)
@given(texts(MATHS, most=12), texts(MATHS, most=12))
def test_two_texts_are_the_same_answer_or_not(a: str, b: str) -> None:
    from berry.verifiers.maths.ladder import decide, gold_fault

    start = time.process_time()
    for strict in (STRICT, LENIENT):
        if gold_fault(a) is None:
            decide(a, b, strict)
            assert decide(a, a, strict).same in (True, None, False)
    assert time.process_time() - start < MAX_CPU_S
