"""Policy parameters that can't work together, each in a sentence with the numbers: before the run, and for what only
the model can tell, after its first segments."""

from __future__ import annotations

from collections.abc import Iterator

from berry.pipeline.config.policies import Beam, BestOfN, Dvts, Entropy, Fixed, Mcts, Omega, Shepherd, Value
from berry.pipeline.config.rollout import DelimiterStep, Rollout, TokensStep
from berry.pipeline.core.search.sizes import leaves, width
from berry.pipeline.records import TokenLedger

ENOUGH_SEGMENTS = 32


def explain_conflicts(rollout: Rollout) -> list[str]:
    """What the configuration asks for that it can't have; empty if all is well."""
    return [*_budget(rollout), *_depth(rollout), *_cut(rollout), *_stops(rollout)]


def explain_missing_steps(rollout: Rollout, ledger: TokenLedger) -> str | None:
    """What to say after a while if the policy works on steps and the model has never ended one; None if all is well."""
    segments, steps = ledger.extra.get("segments", 0), ledger.extra.get("steps", 0)
    works_on_steps = not isinstance(rollout.policy, BestOfN | Entropy) or rollout.cut is not None
    if steps or segments < ENOUGH_SEGMENTS or not works_on_steps or isinstance(rollout.step, TokensStep):
        return None
    ends = rollout.step.delimiters if isinstance(rollout.step, DelimiterStep) else rollout.step.pattern
    return (
        f"rollout.step: none of {segments} segments had {ends!r} in it: the model never ends a step, so "
        f"{rollout.policy.type} has nowhere to branch; look at a response (berry show) for what it writes between steps"
    )


def _budget(rollout: Rollout) -> Iterator[str]:
    budget, policy = rollout.budget, rollout.policy
    wanted = leaves(rollout)
    if budget.max_leaves is not None:
        if wanted is not None and wanted > budget.max_leaves:
            yield (
                f"rollout.policy ({policy.type}) asks for {wanted} leaves a problem, "
                f"rollout.budget.max_leaves allows {budget.max_leaves}"
            )
        if isinstance(policy, Beam | Dvts) and _candidates(rollout) > budget.max_leaves:
            yield (
                f"rollout.policy ({policy.type}) samples {_candidates(rollout)} candidates at the first step, "
                f"rollout.budget.max_leaves allows {budget.max_leaves}"
            )
        if isinstance(policy, Shepherd) and policy.chains + policy.completions > budget.max_leaves:
            yield (
                f"rollout.policy (shepherd): {policy.chains} chains and {policy.completions} completions of one step "
                f"are more than rollout.budget.max_leaves = {budget.max_leaves}: not one step would be annotated"
            )
        if isinstance(policy, Omega) and policy.chains + policy.completions > budget.max_leaves:
            yield (
                f"rollout.policy (omega): {policy.chains} chains and {policy.completions} completions of one step are "
                f"more than rollout.budget.max_leaves = {budget.max_leaves}: not one search could start"
            )
    if budget.max_tokens is not None and budget.max_tokens < rollout.sampling.max_tokens:
        yield (
            f"rollout.budget.max_tokens = {budget.max_tokens} a problem is less than one trajectory of "
            f"rollout.sampling.max_tokens = {rollout.sampling.max_tokens}"
        )


def _candidates(rollout: Rollout) -> int:
    policy = rollout.policy
    if isinstance(policy, Beam):
        return policy.beams * policy.width
    return policy.subtrees * policy.width if isinstance(policy, Dvts) else width(rollout)


def _depth(rollout: Rollout) -> Iterator[str]:
    budget, policy, step = rollout.budget, rollout.policy, rollout.step
    if isinstance(policy, Fixed) and len(policy.branching) > budget.max_depth:
        yield (
            f"rollout.policy.branching has {len(policy.branching)} depths, "
            f"rollout.budget.max_depth allows {budget.max_depth}"
        )
    if isinstance(policy, Beam | Dvts | Value | Shepherd | Omega | Mcts) and budget.max_depth == 1:
        yield f"rollout.policy ({policy.type}) works on steps, but rollout.budget.max_depth = 1 leaves no step to end"
    if isinstance(step, TokensStep):
        steps = -(-rollout.sampling.max_tokens // step.tokens)
        if steps == 1 and not isinstance(policy, Entropy) and (policy.type != "best_of_n" or rollout.cut):
            yield (
                f"rollout.step.tokens = {step.tokens} is not less than rollout.sampling.max_tokens = "
                f"{rollout.sampling.max_tokens}: every trajectory is one step, there is nowhere to branch"
            )
        elif isinstance(policy, Fixed) and len(policy.branching) > steps:
            yield (
                f"rollout.policy.branching has {len(policy.branching)} depths, but steps of {step.tokens} tokens fit "
                f"{steps} times into rollout.sampling.max_tokens = {rollout.sampling.max_tokens}"
            )


def _cut(rollout: Rollout) -> Iterator[str]:
    policy, cut = rollout.policy, rollout.cut
    if cut is not None and isinstance(policy, Mcts | Shepherd | Omega):
        yield (
            f"rollout.cut looks at steps while they grow, but {policy.type} samples whole trajectories: it would never "
            "cut; leave it out"
        )
    if cut is not None and isinstance(policy, Value) and cut.model == policy.scorer and cut.below <= policy.cut_below:
        yield (
            f"rollout.cut.below = {cut.below} never acts: rollout.policy.cut_below = {policy.cut_below} on the same "
            f"scorer {cut.model!r} comes first"
        )
    if isinstance(policy, Value | Beam | Dvts) and rollout.sampling.temperature == 0:
        yield (
            f"rollout.sampling.temperature = 0 gives equal siblings: {policy.type} would rank copies of one step; "
            "set it above 0"
        )


def _stops(rollout: Rollout) -> Iterator[str]:
    budget = rollout.budget
    wanted = leaves(rollout)
    limit = min(n for n in (wanted, budget.max_leaves, 10**9) if n is not None)
    for key, value in (
        ("stop_after_correct", budget.stop_after_correct),
        ("hopeless_after", budget.hopeless_after),
        ("band_after", budget.band_after if budget.pass_rate_band is not None else None),
    ):
        if value is not None and value > limit:
            yield f"rollout.budget.{key} = {value} can't be reached: a problem has {limit} leaves at most"
    if budget.reallocate and budget.stop_after_correct is None:
        yield (
            "rollout.budget.reallocate has nothing to aim for: set rollout.budget.stop_after_correct to the correct "
            "trajectories a problem should have"
        )
    if budget.max_in_flight is not None and rollout.policy.type != "best_of_n":
        yield (
            f"rollout.budget.max_in_flight is a window on best_of_n's samples; {rollout.policy.type} would not heed it"
        )
    if rollout.sampling.temperature == 0 and rollout.policy.type == "best_of_n" and wanted is not None and wanted > 1:
        yield f"rollout.sampling.temperature = 0 gives {wanted} times the same trajectory; set it above 0"
