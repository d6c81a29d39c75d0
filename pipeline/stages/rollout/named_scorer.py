"""Has reward models of other names answer as `prm` and `orm`, in the searches whose mode says so.

search of a mode ─► score(model="prm") ─► NamedScorer ─► score(model="strict") of the run's reward models

What searches, journals and rows know is the role; which model had it follows from the row's mode, and the version of
its weights is in the marks of the lease's files, by the model's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.stages.rollout.commands.ports import Scorer


@dataclass(frozen=True, slots=True)
class NamedScorer:
    """A `Scorer` with other models in the roles of `names`."""

    scorer: Scorer
    names: Mapping[str, str]

    async def score(
        self, *, model: str, prompt_ids: list[int], response_ids: list[int], logprob: float | None = None
    ) -> float:
        """As `Scorer.score`, by the model that has this role."""
        named = self.names.get(model, model)
        return await self.scorer.score(model=named, prompt_ids=prompt_ids, response_ids=response_ids, logprob=logprob)

    def versions(self) -> Mapping[str, str]:
        """Version of each model's weights, by the model's own name."""
        return self.scorer.versions()


def scorer_of(scorer: Scorer | None, rollout: Rollout) -> Scorer | None:
    """What scores searches that go as `rollout` says."""
    return scorer if scorer is None or not rollout.scorers else NamedScorer(scorer, rollout.scorers)


def scored_at_end(unnamed: Sequence[str], rollout: Rollout) -> tuple[str, ...]:
    """The roles that score a finished search: those of the run's own models, and those of named ones."""
    return tuple(what for what in ("prm", "orm") if what in unnamed or what in rollout.scorers)
