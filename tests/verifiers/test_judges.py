"""Judges by name: which one a verifier asks, what its verdict says of it, and names that are not there."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from berry.pipeline.config.run import RunConfig
from berry.pipeline.errors import ProblemFileError
from berry.pipeline.stages.leases.partition import survey_run
from berry.verifiers.base import Outcome, Reason
from berry.verifiers.chat_judge import ChatJudge
from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.config import CheckerConfig, JudgeConfig
from berry.verifiers.judges import chat_judges, unknown_judge
from berry.verifiers.specs.answers import Criterion, RubricSpec
from berry.verifiers.specs.base import Spec
from berry.verifiers.specs.union import AllOfSpec, ModelSpec, Weighted, WeightedSpec

SERVED = {"kind": "small", "strict": "large"}
CONFIG = CheckerConfig(
    slots=1,
    judge=JudgeConfig(url="http://first:1/v1", model="any"),
    judges={name: JudgeConfig(url=f"http://{name}:1/v1", model=model) for name, model in SERVED.items()},
)


def serve(request: httpx.Request) -> httpx.Response:
    """A server of three hosts: `strict` refuses everything, the others nothing; each serves one model."""
    model = json.loads(request.content)["model"]
    if model != {"first": "any", **SERVED}[request.url.host]:
        return httpx.Response(404, text="no such model")
    said = "INCORRECT" if request.url.host == "strict" else "CORRECT"
    return httpx.Response(200, json={"choices": [{"message": {"content": f"VERDICT: {said}"}}]})


@pytest.fixture
def checker(monkeypatch: pytest.MonkeyPatch) -> Checker:
    made = ChatJudge.__init__

    def over_transport(self: ChatJudge, config: JudgeConfig, *, place: str = "judge") -> None:
        made(self, config, place=place, transport=httpx.MockTransport(serve))

    monkeypatch.setattr(ChatJudge, "__init__", over_transport)
    return Checker(CONFIG)


def rubric(judge: str | None) -> RubricSpec:
    return RubricSpec(criteria=(Criterion(text="polite"), Criterion(text="short")), judge=judge)


@pytest.mark.parametrize("spec_of", [lambda judge: ModelSpec(rubric="polite", judge=judge), rubric])
async def test_each_verifier_asks_the_judge_that_it_names_and_says_which(checker: Checker, spec_of) -> None:
    found = {name: await checker.check(CheckRequest("p", spec_of(name), "Dear all")) for name in (None, *SERVED)}
    await checker.close()
    assert {name: verdict.outcome for name, verdict in found.items()} == {
        None: Outcome.PASS,
        "kind": Outcome.PASS,
        "strict": Outcome.FAIL,
    }
    told = {name: (its.evidence.get("judge"), its.evidence["judge_model"]) for name, its in found.items()}
    assert told == {None: (None, "any"), "kind": ("kind", "small"), "strict": ("strict", "large")}


async def test_judges_of_one_combination_differ(checker: Checker) -> None:
    parts = tuple(ModelSpec(rubric="polite", judge=name) for name in SERVED)
    weighted = WeightedSpec(parts=tuple(Weighted(weight=1, verifier=part) for part in parts), threshold=0.5)
    both = await checker.check(CheckRequest("p", AllOfSpec(parts=parts), "Dear all"))
    half = await checker.check(CheckRequest("p", weighted, "Dear all"))
    await checker.close()
    assert (both.outcome, half.outcome) == (Outcome.FAIL, Outcome.PASS)


async def test_a_name_that_is_not_there_makes_no_check(checker: Checker) -> None:
    found = await checker.check(CheckRequest("p", ModelSpec(rubric="polite", judge="strct"), "Dear all"))
    await checker.close()
    assert found.reason is Reason.NO_JUDGE
    assert found.evidence["judge"] == "strct"


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec(rubric="polite", judge="strct"),
        rubric("strct"),
        AllOfSpec(parts=(ModelSpec(rubric="polite"), AllOfSpec(parts=(rubric("strct"),)))),
    ],
)
def test_a_name_that_is_not_there_is_told_with_those_that_are(spec: Spec) -> None:
    said = unknown_judge(spec, CONFIG)
    assert said is not None
    assert "'strct'" in said
    assert "(kind, strict)" in said
    assert "did you mean 'strict'" in said
    assert "there are none" in str(unknown_judge(spec, CheckerConfig()))


def test_a_judge_that_is_there_and_none_at_all_are_no_fault() -> None:
    assert unknown_judge(rubric("kind"), CONFIG) is None
    assert unknown_judge(rubric(None), CheckerConfig()) is None
    assert chat_judges(CheckerConfig()) == {}


def test_a_run_with_an_unknown_judge_is_refused_before_its_start(tmp_path: Path) -> None:
    problem = {"id": "letter", "prompt": "Write.", "verifier": {"type": "model", "rubric": "polite", "judge": "absent"}}
    (tmp_path / "p.jsonl").write_text(json.dumps(problem) + "\n")
    raw = {
        "name": "job",
        "problems": [{"type": "file", "path": str(tmp_path / "p.jsonl")}],
        "engine": {"type": "synthetic"},
        "verification": {"judges": {"strict": {"url": "http://strict:1/v1", "model": "large"}}},
    }
    with pytest.raises(ProblemFileError, match=r"'letter'.*'absent'.*\(strict\)"):
        survey_run(RunConfig.model_validate(raw), None)


def test_a_problem_without_a_named_judge_is_stored_as_before() -> None:
    stored = ModelSpec(rubric="polite").model_dump_json()
    assert stored == '{"type":"model","rubric":"polite","reference":null,"votes":3,"agreement":0.6}'
    assert ModelSpec.model_validate_json(ModelSpec(rubric="polite", judge="kind").model_dump_json()).judge == "kind"
