"""Configures what `berry annotate` labels, and by what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, PositiveInt

from berry.pipeline.config.reading.base import Section


class Annotation(Section):
    """Completions from the step ends of the trajectories of a stored run, as labels. `berry annotate` writes this
    section; the run that it annotates is the one in whose folder `revisions` the annotation lies."""

    method: Literal["shepherd", "omega"] = "shepherd"
    """`shepherd`: every step is completed (Wang et al. 2024); `omega`: the first wrong step of a failed trajectory is
    found by binary search, where 0 < MC < 1 at the problem (Luo et al. 2024)."""
    of: Literal["kept", "dropped", "all"] | PositiveInt = 4
    """Which trajectories: those kept, those dropped, all, or so many a problem, drawn at random whatever their
    verdicts."""
    completions: int = Field(default=8, ge=1)
    """k: completions sampled from each step that is completed."""
    rounds: tuple[int, ...] | None = None
    """Rounds of the run that are labelled; null: all."""
    weights: str | None = None
    """Folder, URL or name of the weights that complete; null: those that the configuration, or the training before the
    round, names."""

    @property
    def chosen_by_verdict(self) -> bool:
        """Whether verdicts decide which prefixes are completed."""
        return self.method == "omega" or self.of in ("kept", "dropped")
