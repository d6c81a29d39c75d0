"""Says which rules a run can't apply by itself, before it starts: those that need to see more than one lease, and those
that need pass rates which its search does not leave.

A lease is pruned and committed alone. What it keeps must not depend on which other leases happen to be committed by
then: it would come out otherwise after a crash, on another number of workers, or when a lease is done twice. So copies
across leases stay in a run; `berry reprune`, which goes through finished leases in order, drops them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from berry.pipeline.config.sections.rollout.pruning import PruneRule
from berry.pipeline.core.prune.difficulty import DifficultyRule
from berry.pipeline.core.prune.exact_duplicate import ExactDuplicateRule
from berry.pipeline.core.values.estimate import Scheme


def explain_reach(
    rules: Sequence[PruneRule], scheme: Scheme, *, problems: int, variants: int, lease_problems: int
) -> Iterator[str]:
    """`scheme`: how the search draws. Problems of different leases have copies of each other where some are variants of
    others. Problems have no unbiased pass rate where verdicts end the search, or where it spares none of the branches
    that it gives up."""
    if variants and problems > lease_problems and any(isinstance(rule, ExactDuplicateRule) for rule in rules):
        yield (
            f"{variants:,} problems are variants of others: pruning's exact_duplicate drops copies among the "
            f"{lease_problems} problems of a lease; `berry reprune RUN` drops them over the whole run"
        )
    if (scheme.adaptive or scheme.survivors) and any(isinstance(rule, DifficultyRule) for rule in rules):
        why = "verdicts decide when it ends" if scheme.adaptive else "it spares none of the branches that it cuts"
        yield (
            f"pruning's difficulty will leave every problem alone: this search leaves no unbiased pass rate, "
            f"since {why}; `berry annotate RUN` makes them, and `berry reprune` of its result applies the rule"
        )
