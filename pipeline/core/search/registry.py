"""Policy config class ─► search class. A new policy is one file, one config class and one line here."""

from __future__ import annotations

from collections.abc import Sequence

from berry.pipeline.config.base import Section
from berry.pipeline.config.policies import Beam, BestOfN, Dvts, Entropy, Fixed, Mcts, Omega, Shepherd, Value
from berry.pipeline.config.rollout import Rollout
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.search.beam import BeamSearch
from berry.pipeline.core.search.best_of_n import BestOfNSearch
from berry.pipeline.core.search.dvts import DvtsSearch
from berry.pipeline.core.search.entropy import EntropySearch
from berry.pipeline.core.search.fixed import FixedSearch
from berry.pipeline.core.search.mcts import MctsSearch
from berry.pipeline.core.search.omega import OmegaSearch
from berry.pipeline.core.search.shepherd import ShepherdSearch
from berry.pipeline.core.search.value import ValueSearch

SEARCHES: dict[type[Section], type[Search]] = {
    BestOfN: BestOfNSearch,
    Fixed: FixedSearch,
    Entropy: EntropySearch,
    Value: ValueSearch,
    Beam: BeamSearch,
    Dvts: DvtsSearch,
    Mcts: MctsSearch,
    Shepherd: ShepherdSearch,
    Omega: OmegaSearch,
}


def make_search(
    problem_id: str,
    prompt_ids: Sequence[int],
    rollout: Rollout,
    *,
    run_seed: int,
    round_index: int = 0,
    context_len: int,
) -> Search:
    """The search that `rollout.policy` asks for, not started yet."""
    cls = SEARCHES[type(rollout.policy)]
    return cls(problem_id, prompt_ids, rollout, run_seed=run_seed, round_index=round_index, context_len=context_len)
