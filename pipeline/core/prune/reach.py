"""Says which rules a run can't apply by itself, since they need to see more than one lease, before it starts.

A lease is pruned and committed alone. What it keeps must not depend on which other leases happen to be committed by
then: it would come out otherwise after a crash, on another number of workers, or when a lease is done twice. So copies
across leases stay in a run; `berry reprune`, which goes through finished leases in order, drops them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from berry.pipeline.config.sections.pruning import PruneRule
from berry.pipeline.core.prune.exact_duplicate import ExactDuplicateRule


def explain_reach(rules: Sequence[PruneRule], *, problems: int, variants: int, lease_problems: int) -> Iterator[str]:
    """Problems of different leases have copies of each other where some are variants of others."""
    if variants and problems > lease_problems and any(isinstance(rule, ExactDuplicateRule) for rule in rules):
        yield (
            f"{variants:,} problems are variants of others: pruning's exact_duplicate drops copies among the "
            f"{lease_problems} problems of a lease; `berry reprune RUN` drops them over the whole run"
        )
