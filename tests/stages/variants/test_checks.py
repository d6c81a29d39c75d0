"""Each kind of variant has a check of its own, and each refusal its reason."""

from __future__ import annotations

import re
from typing import Any

import pytest

from berry.pipeline.config.sections.problems import ArithmeticProblems
from berry.pipeline.records import Problem
from berry.pipeline.stages.problems.sources import reader_of
from berry.pipeline.stages.variants import reseed
from berry.verifiers.registry import fault as spec_fault
from berry.verifiers.specs.union import MajoritySpec, MathSpec

pytestmark = pytest.mark.asyncio(loop_scope="session")

REWORDED = "Buying 7 apples adds to the 12 which Ann owns. What is the number of her apples?"
SAYS_19 = {"The answer is 19.": 1}
REPHRASE = {"type": "rephrase", "attempts": 1}
NUMBERS = {"type": "numbers", "attempts": 1, "programs": 4}
HARDER = {"type": "harder", "attempts": 1}
ARITHMETIC = ArithmeticProblems(count=1)
EASIER = {"type": "easier", "attempts": 1}


def tagged(text: str) -> str:
    return f"Sure.\n<problem>\n{text}\n</problem>"


# ---- rephrase -------------------------------------------------------------------------------------------------------


async def test_a_rephrasing_with_the_original_s_answers_is_kept_with_its_story(vary, speaker, sum_problem) -> None:
    speaker.drafts["rephrase"] = [tagged(REWORDED)]
    speaker.answers = [("apples", {"The answer is 19.": 3, "It is \\boxed{20}.": 1})]
    run = await vary([sum_problem], REPHRASE)
    (variant,) = run.variants
    assert (variant.prompt, variant.id, variant.variant_of) == (REWORDED, "apples-rephrase-1", "apples")
    assert variant.verifier == MathSpec(answer="19")
    assert variant.source == "tests/rephrase"
    story = variant.meta["variant"]
    assert (story["kind"], story["engine"], story["weights_version"]) == ("rephrase", "scripted-0", "v0")
    assert story["synthetic"] is True
    assert story["seed"] > 0
    assert story["check"]["distance"] == 0
    assert (story["check"]["majority"], story["check"]["pass_rate"]) == ("19", 0.75)
    assert run.refused == []


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([("Buying", {"The answer is 5.": 1}), ("apples", SAYS_19)], "answers_differ"),
        ([("Buying", {"The answer is 19.": 5, "Who knows": 3}), ("apples", SAYS_19)], "distribution_differs"),
        ([("Buying", {"Who knows?": 1}), ("apples", SAYS_19)], "answers_differ"),
        ([("apples", {f"The answer is {n}.": 1 for n in range(8)})], "original_undecided"),
        ([("apples", {"The answer is 19.": 1, "The answer is 18.": 1})], "original_undecided"),
    ],
)
async def test_a_rephrasing_that_is_answered_otherwise_is_refused(vary, speaker, sum_problem, answers, reason) -> None:
    speaker.drafts["rephrase"] = [tagged(REWORDED)]
    speaker.answers = answers
    run = await vary([sum_problem], REPHRASE)
    assert (run.variants, run.reasons) == ([], [reason])
    if reason == "original_undecided":
        assert "rephrase" not in speaker.asked, "no draft is paid for where nothing could be compared"
    else:
        assert run.refused[0]["text"] == REWORDED
        assert run.refused[0]["check"]["distance"] > 0.3


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("Ann owns 12 apples, then 7.", "no_draft"),
        ("<problem>  </problem>", "no_draft"),
        (tagged("ANN has 12 apples and buys 7 more.  How many apples has she now?"), "duplicate"),
        (tagged("Ann has 12 apples and buys 7 more, which makes 19. How many apples has she now?"), "answer_leaked"),
        (tagged("So Ann has 12 apples and buys 7 more. How many apples has she now?"), "near_duplicate"),
    ],
)
async def test_a_bad_draft_is_refused_and_kept_for_reading(vary, speaker, sum_problem, reply, reason) -> None:
    speaker.drafts["rephrase"] = [reply]
    speaker.answers = [("apples", SAYS_19)]
    run = await vary([sum_problem], REPHRASE)
    assert (run.variants, run.reasons) == ([], [reason])
    assert run.refused[0]["text"].strip() in reply
    assert run.refused[0]["variant_of"] == "apples"


async def test_what_a_round_lacks_is_drafted_again(vary, speaker, sum_problem) -> None:
    speaker.drafts["rephrase"] = ["no tags", tagged(REWORDED)]
    speaker.answers = [("apples", SAYS_19)]
    run = await vary([sum_problem], {**REPHRASE, "attempts": 3})
    assert [v.prompt for v in run.variants] == [REWORDED]
    assert run.reasons == ["no_draft"]
    assert speaker.asked.count("rephrase") == 2


async def test_a_program_s_rephrasing_is_compared_by_verdicts(vary, speaker) -> None:
    code = {
        "id": "double",
        "prompt": "Write double(n), which returns twice n.",
        "verifier": {"type": "python_function", "entry_point": "double", "cases": [{"args": [4], "expected": 8}]},
    }
    right, wrong = "```python\ndef double(n):\n    return 2 * n\n```", "```python\ndef double(n):\n    return n\n```"
    speaker.drafts["rephrase"] = [tagged("A function double(n) is wanted that gives n + n.")]
    speaker.answers = [("double", {right: 3, wrong: 1})]
    run = await vary([code], REPHRASE)
    assert [v.verifier for v in run.variants] == [run.problems[0].verifier]
    assert run.variants[0].meta["variant"]["check"]["pass_rate"] == 0.75
    speaker.answers = [("double", {wrong: 1})]
    assert (await vary([code], REPHRASE)).reasons == ["original_undecided"]


async def test_a_chat_keeps_its_other_messages(vary, speaker, sum_problem) -> None:
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": sum_problem["prompt"]}]
    speaker.drafts["rephrase"] = [tagged(REWORDED)]
    speaker.answers = [("apples", SAYS_19)]
    run = await vary([{**sum_problem, "prompt": chat}], REPHRASE)
    assert run.variants[0].messages == [chat[0], {"role": "user", "content": REWORDED}]


# ---- numbers --------------------------------------------------------------------------------------------------------

ADD = "def solve(x1, x2):\n    return x1 + x2"


async def test_new_numbers_get_the_answer_that_the_programs_agree_on(vary, speaker, sum_problem) -> None:
    speaker.programs = [ADD, "def solve(a, b):\n    total = float(a)\n    total += b\n    return total", "no code here"]
    run = await vary([sum_problem], {**NUMBERS, "count": 3})
    assert len(run.variants) == 3
    for variant in run.variants:
        a, b = (int(n) for n in re.findall(r"\d+", str(variant.prompt)))
        assert variant.verifier == MathSpec(answer=str(a + b))
        assert re.sub(r"\d+", "#", str(variant.prompt)) == re.sub(r"\d+", "#", sum_problem["prompt"])
        assert b < 12 or a > b, "the old numbers' order is kept"
        check = variant.meta["variant"]["check"]
        assert (check["programs"], check["solve_original"], check["agree"], check["different"]) == (4, 3, 3, 2)
    assert len({v.prompt for v in run.variants}) == 3


@pytest.mark.parametrize(
    ("programs", "reason"),
    [
        (["def solve(x1, x2):\n    return 19"], "no_program"),
        (["def solve(x1, x2):\n    return 12 + x2"], "no_program"),
        (["def solve(x1, x2):\n    return x1 - x2"], "no_program"),
        (["def solve(x1):\n    return x1 + 7"], "no_program"),
        (["import os\nos.abort()\n" + ADD], "no_program"),
        ([ADD, "no code"], None),
        ([ADD, "no code", "no code", "no code"], "no_program"),
        ([ADD, "def solve(x1, x2):\n    return x1 + x2 if x1 == 12 else x1 * x2"], "programs_disagree"),
        (["def solve(x1, x2):\n    return x1 + x2 if x2 == 7 else -(x1 + x2)"], "implausible"),
        (["def solve(x1, x2):\n    return x1 + x2 if x2 == 7 else x1 / 3 + 0.1"], "implausible"),
        (["def solve(x1, x2):\n    return x1 + x2 if x2 == 7 else 1 / 0"], "no_program"),
        (["def solve(x1, x2):\n    return str(x1 + x2)"], "no_program"),
    ],
)
async def test_programs_that_prove_nothing_give_no_variant(vary, speaker, sum_problem, programs, reason) -> None:
    speaker.programs = programs
    run = await vary([sum_problem], NUMBERS)
    assert run.reasons == ([] if reason is None else [reason])
    assert len(run.variants) == (reason is None)


@pytest.mark.parametrize(
    "change",
    [
        {"verifier": {"type": "math", "answer": "x + 19"}},
        {"verifier": {"type": "majority"}},
        {"prompt": "Ann has twelve apples and buys seven more. How many?"},
        {"prompt": "On the 2nd of May 1998, at 12:30, what is 12x, or 1/2 of 7^2, or 3-7?"},
    ],
)
async def test_numbers_are_changed_only_where_that_makes_sense(vary, speaker, sum_problem, change) -> None:
    run = await vary([{**sum_problem, **change}], NUMBERS)
    assert run.reasons == ["not_applicable"]
    assert speaker.asked == []


# ---- reseed ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sources",
    [
        [{"type": "arithmetic", "count": 3}, {"type": "synthetic", "count": 3}],
        pytest.param(
            [
                {"type": "reasoning_gym", "dataset": "gsm_symbolic", "count": 2, "seed": 4, "suffix": " Think."},
                {"type": "reasoning_gym", "dataset": "word_sorting", "count": 2, "seed": 4, "suffix": " Think."},
            ],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["own", "reasoning_gym"],
)
async def test_other_seeds_draw_other_problems_with_answers_that_pass(vary, speaker, sources) -> None:
    run = await vary(sources, {"type": "reseed", "count": 2})
    originals = {p.id: p for p in run.problems if p.variant_of is None}
    assert len(run.variants) == 2 * len(originals)
    for variant in run.variants:
        parent = originals[str(variant.variant_of)]
        assert variant.meta["variant"]["check"]["own_answer"] == "correct"
        assert spec_fault(variant.verifier) is None
        assert variant.verifier.type == parent.verifier.type
        assert str(variant.prompt).endswith(" Think.") == str(parent.prompt).endswith(" Think.")
    assert speaker.asked == [], "drawing needs no engine"


async def test_files_have_no_seed_to_change(vary, sum_problem) -> None:
    assert (await vary([sum_problem], {"type": "reseed"})).reasons == ["not_applicable"]


async def test_a_drawn_problem_must_pass_its_own_answer(vary, monkeypatch) -> None:
    monkeypatch.setattr(reseed, "own_answer", lambda problem: "The answer is 0.5.")
    run = await vary([{"type": "arithmetic", "count": 2}], {"type": "reseed"})
    assert run.reasons == ["own_answer_fails"] * 2


async def test_a_drawn_problem_s_pass_rate_is_measured_when_a_band_is_given(vary, speaker) -> None:
    drawn = reader_of(ARITHMETIC).redraw(reseed.another_seed(0, ARITHMETIC, 1), 0)
    assert isinstance(drawn, Problem)
    assert isinstance(drawn.verifier, MathSpec)
    speaker.answers = [("?", {f"The answer is {drawn.verifier.answer}.": 1, "Hard": 3})]
    kept = await vary([{"type": "arithmetic", "count": 1}], {"type": "reseed", "pass_rate": [0.2, 0.3]})
    assert kept.variants[0].meta["variant"]["check"]["pass_rate"] == 0.25
    refused = await vary([{"type": "arithmetic", "count": 1}], {"type": "reseed", "pass_rate": [0.5, 1]})
    assert refused.reasons == ["pass_rate"]


# ---- harder, easier -------------------------------------------------------------------------------------------------

NEW = "Tom has 31 pears, eats 4 of them and gives away half of the rest. Rounded down, how many pears remain?"


def pass_rates(original: int, variant: int, *, answer: str = "19") -> list[tuple[str, dict[str, int]]]:
    """Eighths of the replies that give the most frequent answer; the others differ from each other."""
    others = {f"The answer is {n}.": 1 for n in range(100, 108)}
    first = {f"The answer is {answer}.": original, **dict(list(others.items())[: 8 - original])}
    second = {"The answer is 13.": variant, **dict(list(others.items())[: 8 - variant])}
    return [("pears", second), ("apples", first)]


@pytest.mark.parametrize(
    ("kind", "answers", "reason"),
    [
        (HARDER, pass_rates(8, 5), None),
        (HARDER, pass_rates(8, 7), "pass_rate"),
        (HARDER, pass_rates(8, 3), "no_consensus"),
        (HARDER, pass_rates(8, 5, answer="20"), "original_unsolved"),
        (HARDER, pass_rates(4, 5), "pass_rate"),
        (EASIER, pass_rates(4, 6), None),
        (EASIER, pass_rates(6, 4), "pass_rate"),
        (EASIER, pass_rates(6, 6), "pass_rate"),
        (EASIER, pass_rates(2, 6, answer="20"), None),
        (EASIER, pass_rates(8, 8), "pass_rate"),
        (EASIER, pass_rates(1, 3), "no_consensus"),
    ],
)
async def test_difficulty_must_move_the_right_way(vary, speaker, sum_problem, kind, answers, reason) -> None:
    speaker.drafts = {"harder": [tagged(NEW)], "easier": [tagged(NEW)]}
    speaker.answers = answers
    run = await vary([sum_problem], {**kind, "margin": 0.2})
    assert run.reasons == ([] if reason is None else [reason])
    if reason is None:
        (variant,) = run.variants
        check = variant.meta["variant"]["check"]
        assert isinstance(variant.verifier, MajoritySpec), "nobody knows the answer: a run votes on it"
        assert check["pseudo_label"] == "13"
        assert abs(check["pass_rate"] - check["pass_rate_original"]) >= 0.2


async def test_the_agreed_answer_can_be_taken_as_gold(vary, speaker, sum_problem) -> None:
    speaker.drafts["harder"] = [tagged(NEW)]
    speaker.answers = pass_rates(8, 5)
    run = await vary([sum_problem], {**HARDER, "gold": "pseudo_label"})
    assert run.variants[0].verifier == MathSpec(answer="13")


async def test_an_unlabelled_original_is_measured_by_its_majority(vary, speaker, sum_problem) -> None:
    speaker.drafts["easier"] = [tagged(NEW)]
    speaker.answers = pass_rates(4, 7)
    run = await vary([{**sum_problem, "verifier": {"type": "majority", "min_answers": 5}}], EASIER)
    assert run.variants[0].verifier == MajoritySpec(min_answers=5)
    assert run.variants[0].meta["variant"]["check"]["pass_rate_original"] == 0.5


async def test_a_program_gets_no_harder_sibling(vary, speaker, sum_problem) -> None:
    spec: dict[str, Any] = {"type": "python_function", "entry_point": "f", "cases": [{"args": [], "expected": 1}]}
    assert (await vary([{**sum_problem, "verifier": spec}], HARDER)).reasons == ["not_applicable"]
    assert speaker.asked == []
