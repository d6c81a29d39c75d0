"""Configures what is labelled by completions, and by what: of a stored run (`berry annotate`), or while a run goes on
(`routing` of type teacher)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from berry.pipeline.config.reading.base import Section


class Completing(Section):
    """Which prefixes are completed, how often, and how a model reads them."""

    method: Literal["shepherd", "omega"] = "shepherd"
    """`shepherd`: every step is completed (Wang et al. 2024); `omega`: the first wrong step of a failed trajectory is
    found by binary search, where 0 < MC < 1 at the problem (Luo et al. 2024)."""
    of: Literal["kept", "dropped", "all"] | PositiveInt = 4
    """Which trajectories: those kept, those dropped, all, or so many a problem, drawn at random whatever their
    verdicts."""
    completions: int = Field(default=8, ge=1)
    """k: completions sampled from each step that is completed."""
    prefixes: Literal["ids", "text"] = "ids"
    """How the model that completes is given a prefix: `ids`, as the token ids that were sampled, which takes the same
    tokenizer; `text`, tokenised again behind its own chat template. Of `text` the completions' token ids are the first
    model's again, without log-probabilities: they are labels, not samples to train on."""


class Annotation(Completing):
    """Completions from the step ends of the trajectories of a stored run, as labels. `berry annotate` writes this
    section; the run that it annotates is the one in whose folder `revisions` the annotation lies."""

    rounds: tuple[int, ...] | None = None
    """Rounds of the run that are labelled; null: all."""
    weights: str | None = None
    """Folder, URL or name of the weights that complete; null: those that the configuration, or the training before the
    round, names."""
    engine: str | None = None
    """The one of `engines` that completes; null: the run's only one."""

    @property
    def chosen_by_verdict(self) -> bool:
        """Whether verdicts decide which prefixes are completed."""
        return self.method == "omega" or self.of in ("kept", "dropped")
