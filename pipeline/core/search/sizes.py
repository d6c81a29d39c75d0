"""How large a policy's search gets, before it runs: for capacity, budgets and warnings."""

from __future__ import annotations

from math import prod

from berry.pipeline.config.policies import Beam, BestOfN, Dvts, Entropy, Fixed, Mcts, Omega, Shepherd, Value
from berry.pipeline.config.rollout import Rollout


def width(rollout: Rollout) -> int:
    """Sequences that one search runs at its start."""
    match rollout.policy:
        case BestOfN(n=n):
            wide = n
        case Fixed(branching=branching):
            wide = branching[0]
        case Entropy(chains=chains) | Value(chains=chains) | Shepherd(chains=chains) | Omega(chains=chains):
            wide = chains
        case Beam(beams=groups, width=children) | Dvts(subtrees=groups, width=children):
            wide = groups * children
        case Mcts(parallel=parallel, simulations=simulations):
            wide = min(parallel, simulations)
    window = rollout.budget.max_in_flight if isinstance(rollout.policy, BestOfN) else None
    return min(filter(None, (wide, window, rollout.budget.max_leaves)))


def leaves(rollout: Rollout) -> int | None:
    """Trajectories a problem that the policy's own parameters ask for; None where that depends on the answers."""
    match rollout.policy:
        case BestOfN(n=n):
            return n
        case Fixed(branching=branching):
            return prod(branching)
        case Entropy() as policy:
            return policy.chains * (1 + policy.rounds * policy.forks * policy.branches)
        case Value(leaves=n) | Mcts(simulations=n):
            return n
        case Beam() | Dvts() | Shepherd() | Omega():
            return None
