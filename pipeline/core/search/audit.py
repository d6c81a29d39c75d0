"""A random sample of problems whose trees are never pruned while they grow: what in-loop cuts cost is read off them.

    draw(problem, run seed) < rollout.audit_share ─► steps scored as ever, nothing cut, every leaf checked
    policies that give branches up by themselves (value, beam, dvts) ─► as many independent chains as they may sample

The same problems in every round, so that rounds can be compared. Degenerate case: without an in-loop cut there is
nothing to audit, and every problem keeps its search.
"""

from __future__ import annotations

from berry.pipeline.config.policies import Beam, Dvts, Fixed, Value
from berry.pipeline.config.rollout import Cut, Rollout
from berry.pipeline.core import seeds

_SHARED = {"stop_after_correct": None, "hopeless_after": None, "pass_rate_band": None, "reallocate": False}


def is_audited(problem_id: str, rollout: Rollout, *, run_seed: int) -> bool:
    if not rollout.audit_share or not prunes(rollout):
        return False
    drawn = int.from_bytes(seeds.digest("audit", run_seed, problem_id), "big") / 2**64
    return drawn < rollout.audit_share


def prunes(rollout: Rollout) -> bool:
    """Whether branches are given up before they have ended."""
    return rollout.cut is not None or isinstance(rollout.policy, Value | Beam | Dvts)


def unpruned(rollout: Rollout) -> Rollout:
    """The same search with nothing cut; it still ends its segments at steps and asks for their scores."""
    policy = rollout.policy
    match policy:
        case Value(leaves=n, scorer=scorer):
            policy = Fixed(branching=(n,))
        case Beam(beams=groups, width=width, scorer=scorer) | Dvts(subtrees=groups, width=width, scorer=scorer):
            policy = Fixed(branching=(groups * width,))
        case _:
            assert rollout.cut is not None
            scorer = rollout.cut.model
    return rollout.model_copy(
        update={
            "policy": policy,
            "cut": Cut(model=scorer, below=float("-inf")),
            "budget": rollout.budget.model_copy(update=_SHARED),
        }
    )
