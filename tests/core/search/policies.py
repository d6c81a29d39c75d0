"""Every policy at a small size, as tests of all of them take it."""

from __future__ import annotations

from typing import Any

import pytest

from berry.pipeline.core.search.policies.beam import Beam
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.policies.dvts import Dvts
from berry.pipeline.core.search.policies.entropy import Entropy
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.search.policies.mcts import Mcts
from berry.pipeline.core.search.policies.omega import Omega
from berry.pipeline.core.search.policies.shepherd import Shepherd
from berry.pipeline.core.search.policies.value import ValueGuided

POLICIES: list[Any] = [
    BestOfN(n=6),
    Fixed(branching=(2, 2, 2)),
    Entropy(chains=3, forks=2, rounds=2, branches=2),
    ValueGuided(leaves=12, chains=3),
    Beam(beams=2, width=3),
    Dvts(subtrees=3, width=2),
    Mcts(simulations=12, parallel=1),
    Mcts(simulations=12, parallel=3, prior="scorer"),
    Shepherd(chains=2, completions=2),
    Omega(chains=3, completions=3, searches=4),
]
ORDERLESS = [p for p in POLICIES if not (isinstance(p, Mcts) and p.parallel > 1)]
every_policy = pytest.mark.parametrize("policy", POLICIES, ids=lambda p: p.type)
orderless_policy = pytest.mark.parametrize("policy", ORDERLESS, ids=lambda p: p.type)
