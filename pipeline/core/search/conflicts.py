"""Explains policy parameters that can't work together, each in a sentence with its numbers: before the run, and for
what only the model can tell, after its first segments. What one policy alone can't have stands in its own
file (`conflicts`)."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from berry.pipeline.config.sections.rollout.rollout import DelimiterStep, Rollout, TokensStep
from berry.pipeline.core.search.registry import search_class
from berry.pipeline.core.search.sizes import leaves
from berry.pipeline.records import TokenLedger, ValueKind

ENOUGH_SEGMENTS = 32


def explain_conflicts(rollout: Rollout) -> list[str]:
    """What the configuration asks for that it can't have; empty if all is well."""
    own = search_class(rollout.policy).conflicts(rollout.policy, rollout)
    return [*_budget(rollout), *own, *_depth(rollout), *_cut(rollout), *_stops(rollout)]


def explain_no_labels(rollout: Rollout, kinds: Collection[str]) -> str | None:
    """Why no step before the last of the trees that `rollout` grows will have a label, and what to set instead; None if
    some may. `kinds`: the kinds of values that are taken for labels (`records.ValueKind`)."""
    scheme = search_class(rollout.policy).scheme(rollout)
    if scheme.adaptive and ValueKind.ADAPTIVE not in kinds:
        return (
            f"verdicts decide what {rollout.policy.type} samples or when it stops, so that no value of a step is an "
            "unbiased estimate; leave out the early stops of rollout.budget (and rollout.policy.early_exit), take "
            "another policy, or run one round and label it with `berry annotate`"
        )
    if scheme.survivors and ValueKind.SURVIVORS not in kinds:
        cut = rollout.cut is not None and not rollout.cut.spare
        key = "rollout.cut.spare" if cut else "rollout.policy.spare"
        return (
            f"{key} = 0 gives branches up and spares none, so that only rates of survivors are known; set it above 0, "
            "or ask for survivors by name (rewards.training.labels=[estimate,survivors])"
        )
    return None


def explain_missing_steps(rollout: Rollout, ledger: TokenLedger) -> str | None:
    """What to say after a while if the policy works on steps and the model has never ended one; None if all is well."""
    segments, steps = ledger.extra.get("segments", 0), ledger.extra.get("steps", 0)
    works_on_steps = search_class(rollout.policy).works_on_steps or rollout.cut is not None
    if steps or segments < ENOUGH_SEGMENTS or not works_on_steps or isinstance(rollout.step, TokensStep):
        return None
    ends = rollout.step.delimiters if isinstance(rollout.step, DelimiterStep) else rollout.step.pattern
    return (
        f"rollout.step: none of {segments} segments had {ends!r} in it: the model never ends a step, so "
        f"{rollout.policy.type} has nowhere to branch; look at a response (berry show) for what it writes between steps"
    )


def explain_missing_calls(rollout: Rollout, ledger: TokenLedger) -> str | None:
    """What to say after a while if the model has never called one of its tools; None if all is well."""
    segments, calls = ledger.extra.get("segments", 0), ledger.extra.get("calls", 0)
    if not rollout.tools or segments < ENOUGH_SEGMENTS:
        return None
    if calls:
        called = {name for name in ledger.extra if name.startswith("called.")}
        idle = [tool.name for tool in rollout.tools if f"called.{tool.name}" not in called]
        if not called or not idle:
            return None
        named = ", ".join(idle)
        return f"rollout.tools: none of {calls} calls was of {named}: say in rollout.system_prompt what it is for"
    return (
        f"rollout.tools: none of {segments} segments ended in a call: say in rollout.system_prompt how one is written "
        f"(calls of type {rollout.calls.type}, docs/tools.md); berry show has what the model writes in its stead"
    )


def _budget(rollout: Rollout) -> Iterator[str]:
    budget = rollout.budget
    wanted = leaves(rollout)
    if budget.max_leaves is not None and wanted is not None and wanted > budget.max_leaves:
        yield (
            f"rollout.policy ({rollout.policy.type}) asks for {wanted} leaves a problem, "
            f"rollout.budget.max_leaves allows {budget.max_leaves}"
        )
    if budget.max_tokens is not None and budget.max_tokens < rollout.sampling.max_tokens:
        yield (
            f"rollout.budget.max_tokens = {budget.max_tokens} a problem is less than one trajectory of "
            f"rollout.sampling.max_tokens = {rollout.sampling.max_tokens}"
        )


def _depth(rollout: Rollout) -> Iterator[str]:
    budget, policy, step = rollout.budget, rollout.policy, rollout.step
    search = search_class(policy)
    if search.needs_steps and budget.max_depth == 1:
        yield f"rollout.policy ({policy.type}) works on steps, but rollout.budget.max_depth = 1 leaves no step to end"
    looks_at_steps = search.works_on_steps or rollout.cut is not None
    if looks_at_steps and isinstance(step, TokensStep) and rollout.sampling.max_tokens <= step.tokens:
        yield (
            f"rollout.step.tokens = {step.tokens} is not less than rollout.sampling.max_tokens = "
            f"{rollout.sampling.max_tokens}: every trajectory is one step, there is nowhere to branch or to cut"
        )


def _cut(rollout: Rollout) -> Iterator[str]:
    policy = rollout.policy
    search = search_class(policy)
    if rollout.cut is not None and not search.cuts:
        yield (
            f"rollout.cut looks at steps while they grow, but {policy.type} samples whole trajectories: it would never "
            "cut; leave it out"
        )
    if search.gives_up and rollout.sampling.temperature == 0:
        yield (
            f"rollout.sampling.temperature = 0 gives equal siblings: {policy.type} would rank copies of one step; "
            "set it above 0"
        )


def _stops(rollout: Rollout) -> Iterator[str]:
    budget = rollout.budget
    limit = min(n for n in (leaves(rollout), budget.max_leaves, 10**9) if n is not None)
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
    if budget.max_in_flight is not None and not search_class(rollout.policy).heeds_window:
        yield (
            f"rollout.budget.max_in_flight is a window on best_of_n's samples; {rollout.policy.type} would not heed it"
        )
