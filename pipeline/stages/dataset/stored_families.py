"""Tells of the problems that a run has stored which part of its split they are of, and how they were searched.

trajectories, kept ─► family of each problem ─► part (core/assignment/splits.py), unpruned or not (core/search/audit.py)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.assignment.splits import SplitPart, split_of
from berry.pipeline.core.search import audit
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.storage.run.directory import RunDir

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class StoredFamilies:
    """`variants`: of each variant, the problem it was made from. `values`: nodes have values with the weights of their
    draws, as since schema version 2."""

    config: RunConfig
    variants: dict[str, str]
    values: bool

    def family(self, problem_id: str) -> str:
        """The family that a stored row is of, by which splits go."""
        return self.variants.get(problem_id, problem_id)

    def part(self, problem_id: str) -> SplitPart:
        """The part of the run's split that a problem is of."""
        return split_of(self.config).part(self.family(problem_id))

    def is_unpruned(self, problem_id: str) -> bool:
        """Whether a problem was searched without pruning and early stops although others may have been."""
        if not self.values:
            return audit.was_audited(problem_id, self.config.rollout, run_seed=self.config.seed)
        return audit.is_unpruned(self.config, self.family(problem_id))


def stored_families(run: RunDir, db: duckdb.DuckDBPyConnection) -> StoredFamilies:
    """Reads which stored problems are variants of which. Raises ConfigError if this release can't read the run's
    configuration."""
    rows = db.execute(
        "select problem_id, max(variant_of) from (select problem_id, variant_of from kept union all "
        "select problem_id, variant_of from trajectories) where variant_of is not null group by 1"
    ).fetchall()
    old = db.execute("select count(*) from nodes where sample is null").fetchone()
    return StoredFamilies(stored_config(run), dict(rows), values=old is not None and not old[0])
