"""Gathers what a report says of a run's cost, of log-probabilities that were computed again, and of its evaluation.

metrics/run.json, run.yaml ─► cost_rows        metrics/recompute.json ─► audit        eval/eval.parquet ─► evaluation
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from berry.pipeline.report.pages import rounded
from berry.pipeline.storage.run.directory import RunDir

Row = tuple[str, ...]
EVALUATION = "eval/eval.parquet"  # where `berry eval RUN` puts it
MOST_ROWS = 60
AUDIT = ("engines", "compared", "above tolerance", "largest, nats a token", "agree")
EVALUATED = ("benchmark", "method", "samples", "accuracy", "problems")


def cost_rows(config: Mapping[str, Any], figures: Mapping[str, Any]) -> list[Row]:
    """What tokens of a hosted API cost by `engine.price`, and what the cluster's nodes cost in the run's time, where
    all of them have a price."""
    rows: list[Row] = []
    if figures.get("cost_usd") is not None:
        rows.append(("cost of tokens", f"${figures['cost_usd']:,.4f}, by engine.price"))
    nodes = list(((config.get("cluster") or {}).get("nodes") or {}).values())
    prices = [node.get("usd_per_hour") for node in nodes]
    if nodes and all(prices):
        usd = sum(node.get("count", 1) * node["usd_per_hour"] for node in nodes) * figures.get("wall_s", 0) / 3600
        rows.append(("cost of nodes", f"${rounded(usd)}: every node of the cluster, by usd_per_hour, for that time"))
    return rows


def audit(run: RunDir) -> tuple[list[Row], list[str]]:
    """Rows of pairs of engines whose log-probabilities were compared (AUDIT), and an alarm where some were fenced."""
    found = run.metrics("recompute")
    if not found:
        return [], []
    rows: list[Row] = [
        (
            f"{pair['a']}, {pair['b']}",
            f"{pair['count']:,}",
            f"{pair['above']:,}",
            rounded(pair["worst"]["nats"]),
            "no" if pair["disagrees"] else "yes",
        )
        for pair in found["pairs"]
    ]
    fenced = ", ".join(found["fenced"])
    return rows, [f"engines were fenced, since others compute other log-probabilities: {fenced}"] if fenced else []


def evaluation(run: RunDir) -> list[Row]:
    """Of the last `berry eval` of this run (EVALUATED): each method's accuracy at its largest budget, with its 95%
    interval."""
    import duckdb
    import pyarrow.parquet as pq

    if not run.location.exists(EVALUATION):
        return []
    table = run.location.read(EVALUATION, pq.read_table)
    with duckdb.connect() as db:
        db.register("curves", table)
        found = db.execute(
            f"""select benchmark, method, budget, accuracy, low, high, problems from curves where difficulty = 'all'
                qualify row_number() over (partition by benchmark, method, run order by budget desc) = 1
                order by benchmark, accuracy desc limit {MOST_ROWS}"""
        ).fetchall()
    return [
        (benchmark, method, str(budget), f"{accuracy:.1%} ({low:.1%} to {high:.1%})", f"{problems:,}")
        for benchmark, method, budget, accuracy, low, high, problems in found
    ]
