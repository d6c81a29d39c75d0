"""Reads the independent chains of each problem of a run: what pass rates and pass@k are estimated from.

nodes of the last round ─► weighted values of the root's scheduled children, in the order of the draws, a problem
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from berry.pipeline.core.values.estimate import Heads
from berry.pipeline.core.values.pass_at_k import chains_of
from berry.pipeline.core.values.stopped import Ends
from berry.pipeline.records import ValueKind
from berry.pipeline.stages.dataset.reading import read_trees, scheme_for
from berry.pipeline.stages.dataset.stored_families import stored_families
from berry.pipeline.storage.run.directory import RunDir

if TYPE_CHECKING:
    import duckdb

Chains = tuple[list[float], Ends | None]
"""Of one problem the weighted value of each chain, and the rule by which verdicts ended the chains, if any did."""


def root_chains(run: RunDir, db: duckdb.DuckDBPyConnection, *, mode: str | None = None) -> list[Chains] | None:
    """The chains of each problem of the last round whose root has an unbiased value; `core.values.pass_at_k` estimates
    from them. `mode`: of the problems searched in it; None: of all. None of a run of schema version 1, whose values are
    plain shares of leaves."""
    completions = db.execute("select count(*) from completions").fetchone()
    return _annotated(run, mode) if completions and completions[0] else _stored(run, db, mode)


def _annotated(run: RunDir, mode: str | None) -> list[Chains]:
    """The same as `_stored` of a run whose prefixes were completed to label them: its nodes store what their
    completions say, so that what its own search drew is worked out again."""
    trees = read_trees(run, rounds=[max(run.rounds())])
    chosen = (tree for tree in trees if mode in (None, tree.mode))
    return [(c, t.values.scheme.ends) for t in chosen if (c := chains_of(t.tree, t.values)) is not None]


def _stored(run: RunDir, db: duckdb.DuckDBPyConnection, mode: str | None) -> list[Chains] | None:
    rows = db.execute(
        "select problem_id, node, parent, depth, sample, weight, value, value_kind from nodes "
        "where round = (select max(round) from nodes) and (depth <= 1 or sample = -1) "
        "and (? is null or mode = ?) order by sample",
        [mode, mode],
    ).fetchall()
    if any(sample is None for _, _, _, _, sample, *_ in rows):
        return None
    families = stored_families(run, db)
    tails = {(p, parent): (node, value) for p, node, parent, _, sample, _, value, _ in rows if sample == -1}
    of_problem: dict[str, list[float]] = {
        p: [] for p, _, _, depth, _, _, _, kind in rows if depth == 0 and kind == ValueKind.ESTIMATE
    }
    schemes = {problem: scheme_for(families.config, problem, families.family(problem)) for problem in of_problem}
    for problem, node, _, depth, _, weight, value, _ in rows:
        if depth != 1 or weight is None or problem not in of_problem:
            continue
        while (
            schemes[problem].heads is not Heads.ALL and (problem, node) in tails
        ):  # a chain that was forked passes on the result of its own end
            node, value = tails[problem, node]
        if weight == 0.0 or value is not None:
            of_problem[problem].append(0.0 if weight == 0.0 else weight * value)
    return [(chains, schemes[problem].ends) for problem, chains in of_problem.items()]
