"""`berry variants` as a whole: what is written, what is refused, and what an interruption costs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from berry.pipeline.config.run import RunConfig, differences, digest, plain
from berry.pipeline.config.sections.problems import FileProblems
from berry.pipeline.errors import InputError, ProblemFileError
from berry.pipeline.stages.problems.sources import survey

pytestmark = pytest.mark.asyncio(loop_scope="session")

RESEED = {"type": "reseed"}
REPHRASE = {"type": "rephrase", "attempts": 1}


def problem(number: int, text: str, answer: str = "19") -> dict[str, Any]:
    return {"id": f"p{number}", "prompt": text, "verifier": {"type": "math", "answer": answer}}


TEXTS = [
    "Ann has 12 apples and buys 7 more. How many apples has she now?",
    "A train with 12 coaches is joined by another with 7. How long is it in coaches?",
    "There were 12 birds in the tree before 7 others came. Count all the birds.",
]
FRESH = [
    "Buying 7 apples adds to the 12 which Ann owns. What is the number of her apples?",
    "Two trains, of 12 and of 7 coaches, become one: how many coaches does it have?",
    "When 7 birds had joined the first 12, how many sat in the tree altogether?",
]


def drafted(text: str) -> str:
    return f"<problem>{text}</problem>"


@pytest.fixture
def three(speaker) -> list[dict[str, Any]]:
    """Problems whose rephrasings are all kept."""
    speaker.drafts["rephrase"] = [drafted(text) for text in FRESH]
    speaker.answers = [("", {"The answer is 19.": 1})]
    return [problem(i, text) for i, text in enumerate(TEXTS)]


# ---- what is written ------------------------------------------------------------------------------------------------


async def test_originals_and_variants_are_one_file_that_a_run_reads(vary, speaker, three, tmp_path) -> None:
    speaker.programs = ["def solve(): ..."]
    run = await vary(three, REPHRASE, {"type": "numbers", "attempts": 1}, problems_in_flight=1)
    found = survey([FileProblems(path=str(tmp_path / "out.jsonl"), limit=None)])
    assert found.count == 6
    assert [(p.id, p.variant_of) for p in run.problems] == [
        pair for i in range(3) for pair in [(f"p{i}", None), (f"p{i}-rephrase-1", f"p{i}")]
    ]
    assert run.summary.kept == {"rephrase": 3}
    assert run.summary.refused == {("numbers", "no_program"): 3}
    assert not (tmp_path / "out.jsonl.parts").exists()


async def test_a_variant_of_a_variant_belongs_to_the_first_original(vary, three) -> None:
    run = await vary([{**three[0], "variant_of": "seed-problem"}], REPHRASE)
    (variant,) = [p for p in run.problems if p.id == "p0-rephrase-1"]
    assert variant.variant_of == "seed-problem"
    assert variant.meta["variant"]["parent"] == "p0"


async def test_what_says_the_same_is_kept_once_and_the_others_are_listed(vary, speaker, three) -> None:
    speaker.drafts["rephrase"] = [
        drafted(FRESH[0]),
        drafted(FRESH[0].upper()),  # the same words
        drafted("Now " + FRESH[0]),  # nearly the same words
    ]
    run = await vary(three, REPHRASE, problems_in_flight=1)
    assert [v.id for v in run.variants] == ["p0-rephrase-1"]
    assert run.reasons == ["duplicate", "near_duplicate"]
    assert {row["detail"] for row in run.refused} == {"of p0-rephrase-1"}


async def test_a_draft_that_repeats_another_original_is_refused(vary, speaker, three) -> None:
    speaker.drafts["rephrase"] = [drafted(TEXTS[1])]
    run = await vary(three[:2], REPHRASE)
    assert sorted(run.reasons) == ["duplicate", "duplicate"]
    assert run.variants == []


async def test_other_numbers_make_another_problem_however_alike_the_words(vary, speaker, three) -> None:
    speaker.programs = ["def solve(a, b):\n    return a + b"]
    long = "The following question is about fruit and nothing else, so read it with care before you answer. " + TEXTS[0]
    run = await vary([problem(0, long)], {"type": "numbers", "count": 4, "attempts": 1})
    assert len(run.variants) == 4


async def test_every_attempt_is_either_kept_or_listed_with_a_reason(vary, speaker, three) -> None:
    speaker.drafts = {
        "rephrase": [drafted(FRESH[0]), "no tags", drafted(TEXTS[2]), drafted(FRESH[1])],
        "harder": ["no tags"],
        "easier": ["no tags"],
    }
    speaker.programs = ["nothing"]
    kinds = [{"type": kind, "count": 2} for kind in ("rephrase", "numbers", "harder", "easier", "reseed")]
    run = await vary([*three, {"type": "arithmetic", "count": 2}], *kinds)
    drafts = Counter(order for order in speaker.asked if order in ("rephrase", "harder", "easier"))
    listed = Counter(row["kind"] for row in run.refused if row["text"] is not None)
    for kind, count in drafts.items():
        assert listed[kind] + run.summary.kept[kind] == count
    assert all(row["reason"] for row in run.refused)
    assert {row["kind"] for row in run.refused} >= {"rephrase", "numbers", "harder", "easier", "reseed"}


async def test_the_limit_leaves_the_other_problems_as_they_are(vary, three) -> None:
    run = await vary(three, REPHRASE, limit=1)
    assert len(run.problems) == 4
    assert [v.variant_of for v in run.variants] == ["p0"]


# ---- evaluation sets ------------------------------------------------------------------------------------------------


@pytest.fixture
def evaluation(tmp_path) -> Any:
    def write(*texts: str, column: str = "question") -> str:
        path = tmp_path / "evaluation.jsonl"
        path.write_text("".join(json.dumps({column: text, "answer": "0"}) + "\n" for text in texts))
        return str(path)

    return write


async def test_a_variant_near_an_evaluation_item_is_refused(vary, three, evaluation) -> None:
    path = evaluation("Something else entirely.", "Please answer. " + FRESH[1] + " Give a number.")
    run = await vary(three, REPHRASE, problems_in_flight=1, screen={"files": [path]})
    assert run.reasons == ["evaluation_overlap"]
    assert run.refused[0]["text"] == FRESH[1]
    assert "evaluation.jsonl, line 2" in run.refused[0]["detail"]
    assert len(run.variants) == 2


@pytest.mark.parametrize("drop", [False, True])
async def test_an_original_in_an_evaluation_set_gets_no_variants(vary, speaker, three, evaluation, drop) -> None:
    screen = {"files": [evaluation(TEXTS[0])], "drop_originals": drop}
    run = await vary(three[:1], REPHRASE, screen=screen) if not drop else await vary(three[:2], REPHRASE, screen=screen)
    assert run.summary.near_evaluation == ["p0"]
    assert ("p0" in {p.id for p in run.problems}) is not drop
    assert not any(v.variant_of == "p0" for v in run.variants)
    assert run.reasons == ["original_in_evaluation", *(["evaluation_overlap"] if drop else [])]


async def test_an_evaluation_file_that_can_t_be_used_is_named(vary, three, evaluation, tmp_path) -> None:
    with pytest.raises(ProblemFileError, match=r"line 1: has no text in prompt.*screen\.fields"):
        await vary(three, REPHRASE, screen={"files": [evaluation("x", column="stem")]})
    assert await vary(three, REPHRASE, screen={"files": [evaluation("x", column="stem")], "fields": ["stem"]})
    with pytest.raises((ProblemFileError, InputError), match=r"nowhere\.jsonl"):
        await vary(three, REPHRASE, screen={"files": [str(tmp_path / "nowhere.jsonl")]})
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    with pytest.raises(ProblemFileError, match=r"empty\.jsonl: holds no row"):
        await vary(three, REPHRASE, screen={"files": [str(empty)]})


# ---- interruptions --------------------------------------------------------------------------------------------------


async def test_an_interrupted_call_goes_on_and_asks_nothing_twice(vary, speaker, three, tmp_path) -> None:
    speaker.fail_after = 30
    with pytest.raises(ConnectionError):
        await vary(three, REPHRASE, problems_in_flight=1)
    assert not (tmp_path / "out.jsonl").exists()
    parts = sorted((tmp_path / "out.jsonl.parts").iterdir())
    finished = [json.loads(line)["problem"] for line in parts[0].read_text().splitlines()[1:]]
    assert finished == ["p0"]
    speaker.fail_after = None
    speaker.asked.clear()
    speaker.drafts["rephrase"] = [drafted(text) for text in FRESH[1:]]
    run = await vary(three, REPHRASE, problems_in_flight=1)
    assert [str(v.prompt) for v in run.variants] == FRESH
    assert speaker.asked.count("rephrase") == 2, "the first problem's draft was not written again"
    assert not (tmp_path / "out.jsonl.parts").exists()


async def test_parts_of_other_inputs_are_refused(vary, speaker, three, tmp_path) -> None:
    speaker.fail_after = 30
    with pytest.raises(ConnectionError):
        await vary(three, REPHRASE, problems_in_flight=1)
    with pytest.raises(InputError, match="another config or other problems"):
        await vary(three, {**REPHRASE, "max_distance": 0.2}, problems_in_flight=1)
    with pytest.raises(InputError, match="another config or other problems"):
        await vary([*three, problem(9, "What is 18 + 1?")], REPHRASE, problems_in_flight=1)
    speaker.fail_after = None
    speaker.asked.clear()
    speaker.drafts["rephrase"] = [drafted(text) for text in FRESH[1:]]
    assert len((await vary(three, REPHRASE, problems_in_flight=3)).variants) == 3, "how many at once decides nothing"


async def test_an_output_that_is_there_is_not_overwritten_unasked(vary, three, tmp_path) -> None:
    await vary(three, REPHRASE)
    before = (tmp_path / "out.jsonl").read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        await vary(three, REPHRASE, overwrite=False)
    assert (tmp_path / "out.jsonl").read_bytes() == before


# ---- configuration --------------------------------------------------------------------------------------


def run_config(tmp_path: Path, **variants: Any) -> RunConfig:
    raw = {"name": "r", "problems": [{"type": "arithmetic", "count": 2}], "engine": {"type": "synthetic"}}
    return RunConfig.model_validate({**raw, **({"variants": variants} if variants else {})})


async def test_what_variants_to_make_is_no_part_of_a_run(tmp_path) -> None:
    bare, more = run_config(tmp_path), run_config(tmp_path, kinds=[RESEED])
    assert digest(bare) == digest(more)
    assert differences(plain(bare), more) == []
