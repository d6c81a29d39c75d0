"""Counts the tool calls of a run, from the results that its trees hold.

nodes of the role tool ─► CallFigures (how many, how they went, how long they took, their tokens)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class CallFigures:
    """Calls with a result. `calls`: results in all trees, those of equal calls that were made once each for itself.
    `a_trajectory`: mean of the calls on the way to a trajectory's end, over trajectories. `outcomes`: calls by how they
    went, "ok" first. `nondeterministic`: results behind calls that, made again, said something else. `tokens` of
    results, which were given and are in no count of generated ones. `ms_median`, `ms_99`: milliseconds a call, half and
    99% of them below."""

    calls: int
    a_trajectory: float
    outcomes: dict[str, int]
    nondeterministic: int
    tokens: int
    ms_median: float
    ms_99: float

    @property
    def line(self) -> str:
        """All of it in one line."""
        bad = "".join(f", {n:,} {name.replace('_', ' ')}" for name, n in self.outcomes.items() if name != "ok")
        again = f", {self.nondeterministic:,} nondeterministic" if self.nondeterministic else ""
        return (
            f"{self.calls:,}, {self.a_trajectory:.2f} a trajectory{bad}{again}; {self.tokens:,} tokens of results; "
            f"median {self.ms_median:.1f} ms, 99% below {self.ms_99:.1f} ms"
        )


def call_figures(db: duckdb.DuckDBPyConnection) -> CallFigures | None:
    """Reads them by the views of `duckdb_views.connect`; None of a run without results of tools."""
    told = db.execute(
        "select count(*), count(*) filter (nondeterministic), sum(len(token_ids))::bigint, median(call_ms), "
        "quantile_cont(call_ms, 0.99) from nodes where role = 'tool'"
    ).fetchone()
    if told is None or not told[0]:
        return None
    outcomes = db.execute(
        "select call_outcome, count(*) from nodes where role = 'tool' group by 1 "
        "order by call_outcome = 'ok' desc, 2 desc"
    ).fetchall()
    mean = db.execute(
        """with recursive below as (
               select round, problem_id, node, 0 as calls from nodes where parent is null
               union all
               select n.round, n.problem_id, n.node, b.calls + (n.role = 'tool')::integer
               from nodes n join below b on n.round = b.round and n.problem_id = b.problem_id and n.parent = b.node)
           select avg(calls) from trajectories t
           join below b on t.round = b.round and t.problem_id = b.problem_id and t.leaf = b.node"""
    ).fetchone()
    calls, again, tokens, median, most = told
    a_trajectory = 0.0 if mean is None or mean[0] is None else mean[0]
    return CallFigures(calls, a_trajectory, {str(k): n for k, n in outcomes}, again, tokens, median or 0.0, most or 0.0)
