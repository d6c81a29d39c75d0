"""Rows in, verdict rows out; interrupted and resumed."""

from __future__ import annotations

import asyncio
import json

import pyarrow.parquet as pq
import pytest

from berry.pipeline.errors import InputError, ProblemFileError
from berry.pipeline.stages.checking import responses as verification
from berry.pipeline.stages.checking.question import with_retry
from berry.pipeline.stages.checking.responses import Parts, Response, Tally, iter_responses, load_problems, verify_all
from berry.verifiers.base import Reason, verdict
from berry.verifiers.kinds.majority import canonicalise, consensus
from berry.verifiers.maths.ladder import Equivalence

PROBLEMS = [
    {"id": "a", "prompt": "6*7?", "verifier": {"type": "math", "answer": "42"}},
    {"id": "b", "prompt": "?", "verifier": {"type": "majority", "min_answers": 2, "confidence": 0}},
]


@pytest.fixture
def problems(tmp_path):
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(p) + "\n" for p in PROBLEMS))
    return load_problems(str(path))


class Unasked:
    async def decide(self, gold, response, strict) -> Equivalence:
        raise AssertionError("no answer here needs sympy")


async def agree(request):
    return consensus(await canonicalise(request.responses, request.spec, Unasked()), None, request.spec)


async def even_passes(request):
    await asyncio.sleep(0)
    return verdict(Reason.CORRECT if int(request.response) % 2 == 0 else Reason.WRONG_ANSWER, answer=request.response)


async def run(problems, responses, parts, check=even_passes) -> Tally:
    tally = Tally(len(responses))
    await verify_all(problems, responses, parts, tally, with_retry(check), agree, at_once=4)
    return tally


def rows_of(path) -> list[dict]:
    return pq.read_table(path).to_pylist()


async def test_every_row_has_one_verdict_in_the_files_order(problems, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(verification, "PART_ROWS", 7)
    out = tmp_path / "out.parquet"
    responses = [Response("a", i, str(i)) for i in range(50)]
    parts = Parts(str(out), "digest")
    tally = await run(problems, responses, parts)
    parts.merge()
    rows = rows_of(out)
    assert [r["row"] for r in rows] == list(range(50))
    assert [r["verdict"] for r in rows] == ["pass", "fail"] * 25
    assert tally.outcomes == {"pass": 25, "fail": 25}
    assert not (tmp_path / "out.parquet.parts").exists()
    assert pq.read_schema(out).names == ["problem_id", "row", "verdict", "reason", "answer", "evidence", "verify_ms"]


async def test_what_is_verified_is_written_within_seconds(problems, tmp_path, monkeypatch) -> None:
    """A killed verification loses no more, however few verdicts it came to."""
    monkeypatch.setattr(verification, "SAVE_S", 0.05)
    out, never = tmp_path / "out.parquet", asyncio.Event()

    async def one_hangs(request):
        if request.response == "3":
            await never.wait()
        return await even_passes(request)

    parts = Parts(str(out), "digest")
    work = asyncio.create_task(run(problems, [Response("a", i, str(i)) for i in range(4)], parts, one_hangs))
    await asyncio.sleep(0.5)
    assert Parts(str(out), "digest").resume() == 3, "while it goes on, for whoever comes after a kill"
    never.set()
    await work


async def test_an_interrupted_run_goes_on_and_checks_nothing_twice(problems, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(verification, "PART_ROWS", 5)
    out = tmp_path / "out.parquet"
    responses = [Response("a", i, str(i)) for i in range(40)]
    asked: list[int] = []

    async def dies(request):
        if len(asked) == 23:
            raise RuntimeError("killed")
        asked.append(int(request.response))
        return await even_passes(request)

    parts = Parts(str(out), "digest")
    with pytest.raises(RuntimeError, match="killed"):
        await run(problems, responses, parts, dies)
    again = Parts(str(out), "digest")
    finished = again.resume()
    assert finished >= 15
    asked_before = set(again.done)

    async def counts(request):
        assert int(request.response) not in asked_before
        return await even_passes(request)

    tally = await run(problems, responses, again, counts)
    again.merge()
    assert (tally.resumed, tally.done) == (finished, 40)
    assert [r["row"] for r in rows_of(out)] == list(range(40))
    assert tally.outcomes == {"pass": 20, "fail": 20}


async def test_parts_of_other_inputs_are_refused(problems, tmp_path) -> None:
    parts = Parts(str(tmp_path / "out.parquet"), "one")
    parts.add(Response("a", 0, "2"), verdict(Reason.CORRECT))
    parts.flush()
    with pytest.raises(InputError, match="other problems"):
        Parts(str(tmp_path / "out.parquet"), "two").resume()


async def test_what_could_not_be_checked_is_asked_once_more(problems, tmp_path) -> None:
    calls: list[str] = []

    async def fails_first(request):
        calls.append(request.response)
        return verdict(Reason.SANDBOX_FAULT if len(calls) == 1 else Reason.CORRECT)

    tally = await run(problems, [Response("a", 0, "1")], Parts(str(tmp_path / "o.parquet"), "d"), fails_first)
    assert tally.outcomes == {"pass": 1}
    assert len(calls) == 2

    async def always(request):
        calls.append(request.response)
        return verdict(Reason.SANDBOX_FAULT)

    calls.clear()
    tally = await run(problems, [Response("a", 0, "1")], Parts(str(tmp_path / "p.parquet"), "d"), always)
    assert tally.outcomes == {"unverifiable": 1}
    assert len(calls) == 2


async def test_majority_problems_are_judged_together(problems, tmp_path) -> None:
    responses = [
        Response("b", i, text)
        for i, text in enumerate(["\\boxed{5}", "5", "7", "5.0", "I can not find any answer to this"])
    ]
    parts = Parts(str(tmp_path / "o.parquet"), "d")
    tally = await run(problems, responses, parts)
    parts.merge()
    assert [r["reason"] for r in rows_of(tmp_path / "o.parquet")] == [
        "correct",
        "correct",
        "wrong_answer",
        "correct",
        "no_answer",
    ]
    assert tally.kinds == {"majority": {"pass": 3, "wrong": 1, "no_answer": 1}}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"problem_id": "a"}', "response is missing"),
        ('{"response": "1"}', "problem_id is missing"),
        ('{"problem_id": "z", "response": "1"}', "not among"),
        ('{"problem_id": "a", "response": 1}', "must be text"),
        ("[1]", "must be an object"),
        ("{", "not valid JSON"),
    ],
)
def test_a_bad_row_is_named(problems, tmp_path, line, says) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"problem_id": "a", "response": "1"}\n' + line + "\n")
    with pytest.raises(ProblemFileError, match=says) as caught:
        list(iter_responses(str(path), problems))
    assert "line 2" in str(caught.value)


def test_a_problem_that_occurs_twice_is_refused(tmp_path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text((json.dumps(PROBLEMS[0]) + "\n") * 2)
    with pytest.raises(ProblemFileError, match="twice"):
        load_problems(str(path))
