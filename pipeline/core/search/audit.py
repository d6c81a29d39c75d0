"""Draws a random sample of problems whose trees are never pruned while they grow: what cuts cost is read off them.

    draw(problem, run seed) < rollout.audit_share ─► steps scored as ever, nothing cut, every leaf checked
    policies that give branches up by themselves (value, beam, dvts) ─► as many independent chains as they may sample

The same problems in every round, so that rounds can be compared. Degenerate case: without an in-loop cut there is
nothing to audit, and every problem keeps its search.
"""

from __future__ import annotations

from berry.pipeline.config.sections.rollout import Cut, Rollout
from berry.pipeline.core import seeds
from berry.pipeline.core.search.registry import search_class

_SHARED = {"stop_after_correct": None, "hopeless_after": None, "pass_rate_band": None, "reallocate": False}


def is_audited(problem_id: str, rollout: Rollout, *, run_seed: int) -> bool:
    if not rollout.audit_share or not prunes(rollout):
        return False
    return seeds.share("audit", run_seed, problem_id) < rollout.audit_share


def prunes(rollout: Rollout) -> bool:
    """Whether branches are given up before they have ended."""
    return rollout.cut is not None or search_class(rollout.policy).gives_up


def unpruned(rollout: Rollout) -> Rollout:
    """The same search with nothing cut; it still ends its segments at steps and asks for their scores."""
    policy = rollout.policy
    instead = search_class(policy).unpruned(policy)
    if instead is not None:
        policy, scorer = instead
    else:
        assert rollout.cut is not None
        scorer = rollout.cut.model
    return rollout.model_copy(
        update={
            "policy": policy,
            "cut": Cut(model=scorer, below=float("-inf")),
            "budget": rollout.budget.model_copy(update=_SHARED),
        }
    )
