"""A judge on an engine: votes, and an engine that can't answer."""

from __future__ import annotations

from berry.pipeline.config.sections.synthetic import SyntheticEngine
from berry.pipeline.engines.scripted import Scripted
from berry.pipeline.stages.checking.engine_judge import EngineJudge, judge_of
from berry.verifiers.base import Reason
from berry.verifiers.checker import Checker, CheckRequest
from berry.verifiers.config import CheckerConfig
from berry.verifiers.specs.union import ModelSpec

SPEC = ModelSpec(rubric="polite", votes=4, agreement=0.75)


async def judged(script, response: str = "Dear all", context: int = 65_536) -> Reason:
    engine = Scripted(script, SyntheticEngine(max_model_len=context))
    await engine.start()
    checker = Checker(CheckerConfig(slots=1), judge=EngineJudge(engine))
    found = await checker.check(CheckRequest("p", SPEC, response, "Write a letter."))
    await engine.close()
    return found.reason


def vote(messages, seed: int) -> str:
    assert messages[0]["role"] == "system"
    return "It greets.\nVERDICT: CORRECT" if "Dear" in messages[1]["content"] else "VERDICT: INCORRECT"


async def test_an_engines_votes_decide() -> None:
    assert await judged(vote) is Reason.CORRECT
    assert await judged(vote, "Hey") is Reason.WRONG_ANSWER
    assert await judged(lambda _, seed: f"VERDICT: {'IN' * (seed % 2)}CORRECT") is Reason.NO_CONSENSUS


async def test_a_prompt_that_does_not_fit_is_not_the_responses_fault() -> None:
    assert await judged(vote, context=64) is Reason.NO_JUDGE


async def test_no_model_is_no_judge() -> None:
    async with judge_of(None) as judge:
        assert judge is None
