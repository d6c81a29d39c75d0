"""The package's own scorers, confined."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from berry.verifiers.base import Outcome, Reason
from berry.verifiers.extraction.extract import find_answer
from berry.verifiers.kinds.reasoning_gym import junk, readings
from berry.verifiers.registry import fault
from berry.verifiers.specs.union import ReasoningGymSpec

pytestmark = pytest.mark.slow


def drawn(dataset: str) -> ReasoningGymSpec:
    """A task as a problem file holds it."""
    import reasoning_gym

    entry = reasoning_gym.create_dataset(dataset, seed=1, size=1)[0]
    return ReasoningGymSpec(dataset=dataset, entry=json.loads(json.dumps(entry, default=str)))


@pytest.fixture(scope="module")
def countdown() -> ReasoningGymSpec:
    return drawn("countdown")


def test_scores_decide(check, countdown) -> None:
    answer = countdown.entry["metadata"]["expression"]
    right = check(countdown, f"<answer>{answer}</answer>")
    assert (right.reason, right.evidence["score"]) == (Reason.CORRECT, 1.0)
    assert check(countdown, "<answer>1 + 1</answer>").reason is Reason.WRONG_ANSWER
    assert check(countdown, "").reason is Reason.NO_ANSWER


def test_a_hostile_answer_stays_in_the_jail(check, countdown) -> None:
    for attack in ("__import__('os').system('true')", "9**9**9**9", "\x00", "(" * 5000):
        assert not check(countdown, f"<answer>{attack}</answer>").passed


def test_an_unknown_dataset_is_the_problems_fault(check, countdown) -> None:
    spec = countdown.model_copy(update={"dataset": "no_such_dataset"})
    assert check(spec, "<answer>1</answer>").reason is Reason.TESTS_BROKEN


@pytest.mark.parametrize("dataset", ["calendar_arithmetic", "time_intervals", "rearc", "count_primes"])
def test_dates_and_tuples_outlive_the_problem_file(check, dataset) -> None:
    spec = drawn(dataset)
    right = check(spec, f"<answer>{spec.entry['answer']}</answer>")
    assert (right.reason, right.evidence["score"]) == (Reason.CORRECT, 1.0)
    assert check(spec, "<answer>Nonesuch</answer>").reason is Reason.WRONG_ANSWER


def test_an_entry_whose_own_answer_fails_is_broken_not_the_response_wrong(check) -> None:
    spec = drawn("rearc")
    broken = spec.model_copy(update={"entry": {**spec.entry, "answer": "7 7\n7 7"}})
    found = check(broken, "<answer>1 2</answer>")
    assert found.reason is Reason.TESTS_BROKEN
    assert "rearc" in found.evidence["note"]
    assert "berry import" in found.evidence["note"]
    assert check(broken, f"<answer>{spec.entry['answer']}</answer>").passed
    assert "composite" in (fault(spec.model_copy(update={"dataset": "composite"})) or "")


@pytest.mark.parametrize("dataset", ["complex_arithmetic", "coin_flip", "game_of_life_halting"])
def test_a_scorer_that_pays_junk_is_not_trusted_whatever_the_answer(check, dataset) -> None:
    spec = drawn(dataset)
    for answer in (spec.entry["answer"], "nan", "banana"):
        found = check(spec, f"<answer>{answer}</answer>")
        assert found.reason is Reason.TESTS_BROKEN
        assert f"scorer for {dataset} pays" in found.evidence["note"]


def test_an_answer_that_makes_the_scorer_raise_fails_though_the_entry_has_no_gold(check) -> None:
    spec = drawn("boxnet")
    assert spec.entry.get("answer") is None
    for answer in ("0", '[{"a": 1}]'):
        found = check(spec, f"<answer>{answer}</answer>")
        assert (found.outcome, found.reason) == (Outcome.FAIL, Reason.UNPARSABLE_ANSWER), found
    assert check(spec, "<answer>[]</answer>").reason is Reason.WRONG_ANSWER


def test_the_gold_answer_is_no_junk() -> None:
    spec = ReasoningGymSpec(dataset="x", entry={"question": "How many?", "answer": "0.0", "metadata": {}})
    assert junk(spec) == ["nan", "banana", "How many?"]
    spec = spec.model_copy(update={"entry": {**spec.entry, "answer": "Banana "}})
    assert junk(spec) == ["nan", "0", "How many?"]


HOSTILE = {
    "countdown": (
        "{target} # {numbers}",
        "{target}.0 + 0 * ({sum})",
        "0x{target:x}",
        "sum(int(c) for c in '{numbers}')",
        "Symbol('{target}')",
    ),
    "puzzle24": (
        "6 * 4 * 1 * 1",
        "8 * 3 * 1 * 1",
        "49 / 2 + 0 * 1",
        "24 # 1 2 3 4",
        "__import__('os').getpid() * 0 + 24",
    ),
    "gsm_symbolic": ("-{answer}", "it is -{answer}", "\u2212{answer}"),
    "simple_integration": (
        "Integral({integrand}, {variable})",
        "integrate({integrand}, {variable})",
        "__import__('sympy').Integral({integrand}, {variable})",
        "sympify('Integral({integrand}, {variable})')",
    ),
    "intermediate_integration": ("Integral({integrand}, {variable})", "integrate({integrand}, {variable})"),
    "polynomial_multiplication": ("expand({expression})", "(lambda: {expression})()"),
    "string_insertion": ("[__import__('time').sleep(0) or 'a']", "[*'{answer}']"),
    "n_queens": ("[[__import__('os').getpid()]]",),
    "binary_matrix": ("[[int('1')]]",),
    "spiral_matrix": ("[int(c) for c in '{answer}'.split()]",),
}


@pytest.mark.parametrize("dataset", HOSTILE)
def test_answers_are_never_evaluated_and_honest_ones_pass(check, dataset) -> None:
    spec = drawn(dataset)
    assert check(spec, f"<answer>{spec.entry['answer']}</answer>").passed
    metadata = spec.entry["metadata"]
    numbers = metadata.get("numbers", [])
    told = {
        **metadata,
        "answer": spec.entry["answer"],
        "expression": metadata.get("polynomial_expr", spec.entry["answer"]),
        "target": metadata.get("target", 24),
        "numbers": " ".join(map(str, numbers)),
        "sum": " + ".join(map(str, numbers)),
    }
    for answer in HOSTILE[dataset]:
        found = check(spec.model_copy(update={"threshold": 0.1}), f"<answer>{answer.format(**told)}</answer>")
        assert found.outcome is Outcome.FAIL, (answer, found.reason, dict(found.evidence))


def test_lists_are_read_as_literals(check) -> None:
    spec = drawn("spiral_matrix").model_copy(update={"threshold": 0.1})
    assert check(spec, f"<answer>[{spec.entry['answer'].replace(' ', ', ')}]</answer>").evidence["score"] == 0.1


@pytest.mark.parametrize(
    "text",
    [
        *(
            "x**x**x",
            "9**9**9**9",
            "Integral(x, x)",
            "x.diff()",
            "f(x, y)",
            "[x]",
            "x if x else y",
            "lambda: 0",
            "True",
        ),
        *("True", "'x'", "x\ny", "Symbol('x')", "2**10**6", "(" * 300 + "x" + ")" * 300, "x and y", "x < y", "1j", ""),
    ],
)
def test_expressions_that_are_not_elementary_are_refused(text) -> None:
    from berry.verifiers.kinds import gym_scorer

    with pytest.raises(ValueError):
        gym_scorer.checked(text)


def test_elementary_expressions_are_read() -> None:
    from berry.verifiers.kinds import gym_scorer

    assert str(gym_scorer.checked("x*asin(3*x) + sqrt(1 - 9*x**2)/3 + C")) == "C + x*asin(3*x) + sqrt(1 - 9*x**2)/3"
    assert gym_scorer.exact("40*(94 - 90) + 83 - -1/2") == (Fraction(487, 2), [40, 94, 90, 83, 1, 2])


@pytest.mark.parametrize("dataset", ["mini_sudoku", "sentence_reordering", "word_sorting", "n_queens"])
def test_a_gold_answer_passes_as_it_is_written(check, dataset) -> None:
    spec = drawn(dataset)
    gold = spec.entry["answer"]
    for response in (f"I see.\n\nAnswer: {gold}", f"So the answer is:\n{gold}", f"<answer>\n{gold}\n</answer>"):
        assert check(spec, response).reason is Reason.CORRECT, response


def test_a_scorer_is_given_what_the_response_says_once() -> None:
    line = find_answer("Answer: So it goes, as they say.", ("answer_is",))
    assert line is not None
    assert readings(line, "So it goes, as they say.") == ["So it goes, as they say.", "it goes, as they say"]
    grid = find_answer("The answer is\n1 2\n3 4\n", ("answer_is",))
    assert grid is not None
    assert readings(grid, "1 2\n3 4") == ["1 2\n3 4"]
    tagged = find_answer("<answer>a b. </answer>", ("tag",))
    assert tagged is not None
    assert readings(tagged, "a b.") == ["a b."]
