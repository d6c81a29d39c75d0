"""Which reward model answers as `prm` and `orm`, by what a mode says."""

from __future__ import annotations

from collections.abc import Mapping

from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.stages.rollout.named_scorer import scored_at_end, scorer_of


class Recording:
    """Keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def score(
        self, *, model: str, prompt_ids: list[int], response_ids: list[int], logprob: float | None = None
    ) -> float:
        self.asked.append(model)
        return float(len(prompt_ids) + len(response_ids)) + (logprob or 0.0)

    def versions(self) -> Mapping[str, str]:
        return {"gentle": "v1"}


async def test_roles_are_asked_of_the_models_that_have_them() -> None:
    scorer = Recording()
    named = scorer_of(scorer, Rollout(prm="gentle"))
    assert named is not None
    assert await named.score(model="prm", prompt_ids=[1], response_ids=[2, 3], logprob=-0.5) == 2.5
    await named.score(model="orm", prompt_ids=[1], response_ids=[2])
    assert scorer.asked == ["gentle", "orm"]
    assert named.versions() == {"gentle": "v1"}


def test_without_names_nothing_stands_between() -> None:
    scorer = Recording()
    assert scorer_of(scorer, Rollout()) is scorer
    assert scorer_of(None, Rollout(prm="gentle")) is None


def test_a_finished_search_is_scored_by_its_own_models_and_the_runs() -> None:
    assert scored_at_end((), Rollout()) == ()
    assert scored_at_end(("orm",), Rollout(prm="gentle")) == ("prm", "orm")
    assert scored_at_end(("prm",), Rollout(prm="gentle")) == ("prm",)
