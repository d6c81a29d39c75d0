"""Says which problems are searched without pruning and without early stops, so that something can be measured on them.

    family ─► split (core/assignment/splits.py) ─► in the unpruned share: nothing cut or stopped, steps scored as ever
                                    └─► else: as configured
    policies that give branches up by themselves (value, beam, dvts) ─► as many independent chains as they may sample

Only held-out problems are searched so: what is measured on a problem that a model has learned from says little. In a
run of several rounds it is all of them, the same in every round and with the same sampling, so that rounds can be
compared; else the share `rollout.audit_share` of all problems, where there is an in-loop cut to hold against the truth.
"""

from __future__ import annotations

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rollout.rollout import Cut, Rollout
from berry.pipeline.core import seeds
from berry.pipeline.core.assignment.modes import rollout_of
from berry.pipeline.core.assignment.splits import draw, split_of
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.registry import search_class

_UNLIMITED = {
    "stop_after_correct": None,
    "hopeless_after": None,
    "pass_rate_band": None,
    "reallocate": False,
    "max_tokens": None,
}


def rollout_for(config: RunConfig, problem_id: str, family: str) -> Rollout:
    """How a problem of a family (`variant_of`, else the problem's own id) is searched, in its mode."""
    rollout = rollout_of(config, problem_id)
    return unpruned(rollout) if is_unpruned(config, family) else rollout


def is_unpruned(config: RunConfig, family: str) -> bool:
    """Whether the problems of a family are searched without pruning and early stops; the same in every round."""
    share = unpruned_share(config)
    return share > 0 and draw(family, split_of(config).seed) < share


def unpruned_share(config: RunConfig) -> float:
    """Share of all problems that are searched without pruning; the held-out ones come first in the split's draw."""
    heldout = split_of(config).heldout_share
    if config.rounds is not None and config.rounds.count > 1:
        return heldout
    return min(config.rollout.audit_share, heldout) if prunes(config.rollout) else 0.0


def was_audited(problem_id: str, rollout: Rollout, *, run_seed: int) -> bool:
    """Whether a run of version 0.1.0, which drew audits by a split of their own, left a problem unpruned."""
    return prunes(rollout) and seeds.share("audit", run_seed, problem_id) < rollout.audit_share


def prunes(rollout: Rollout) -> bool:
    """Whether branches are given up before they have ended, in some mode at least."""
    return rollout.cut is not None or any(search_class(one.policy).gives_up for one in rollout.each_mode)


def unpruned(rollout: Rollout) -> Rollout:
    """The same search with nothing cut and nothing stopped by verdicts or tokens; where steps were scored, they still
    are. A search that has no unbiased values even so becomes independent samples."""
    policy = rollout.policy
    scorer = None if rollout.cut is None else rollout.cut.model
    instead = search_class(policy).unpruned(policy)
    if instead is not None:
        policy, scorer = instead
    whole = rollout.model_copy(
        update={
            "policy": policy,
            "cut": None if scorer is None else Cut(model=scorer, below=float("-inf")),
            "budget": rollout.budget.model_copy(update=_UNLIMITED),
        }
    )
    if search_class(policy).scheme(whole).adaptive:
        return whole.model_copy(update={"policy": BestOfN(n=search_class(policy).planned_leaves(policy))})
    return whole
