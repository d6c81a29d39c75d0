"""Counts what each round brought: pass rates on problems never trained on, kept share, tokens, and what the cuts cost.

trajectories, nodes of every round ─► RoundLine
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from berry.pipeline.stages.training.splits import split_of_stored
from berry.pipeline.storage.dataset import RunDir
from berry.pipeline.storage.duckdb_views import connect
from berry.pipeline.storage.weights_file import weights_after


@dataclass(frozen=True, slots=True)
class RoundLine:
    """Shares in [0, 1]. `pass_at_1`: mean over problems of the share of checked trajectories that pass, over problems
    held out from all training and over the others; `tokens`: generated, cut ones included."""

    round_index: int
    heldout_problems: int
    heldout_pass_at_1: float | None
    other_pass_at_1: float | None
    trajectories: int
    kept: int
    cut: int
    tokens: int
    engine: str
    rewards: str

    @property
    def kept_share(self) -> float:
        return self.kept / self.trajectories if self.trajectories else 0.0

    @property
    def kept_per_1000_tokens(self) -> float:
        return 1000 * self.kept / self.tokens if self.tokens else 0.0


def round_lines(run: RunDir) -> list[RoundLine]:
    stored = run.config() or {}
    split = split_of_stored(stored)
    db = connect(run)
    families = dict(
        db.execute(
            "select problem_id, max(variant_of) from (select problem_id, variant_of from kept union all "
            "select problem_id, variant_of from trajectories) group by 1"
        ).fetchall()
    )
    rates: dict[tuple[int, bool], list[float]] = defaultdict(list)
    for round_index, problem, passed, checked in db.execute(
        "select round, problem_id, count(*) filter (verdict = 'pass'), count(*) filter (verdict in ('pass', 'fail')) "
        "from trajectories group by 1, 2"
    ).fetchall():
        if checked:
            family = families.get(problem) or problem
            held = split.part(family) == "heldout"
            rates[round_index, held].append(passed / checked)
    totals = db.execute(
        "select round, count(*), count(*) filter (kept), count(*) filter (drop_reason = 'cut_in_loop'), "
        "sum(n_new_tokens)::bigint from trajectories group by 1 order by 1"
    ).fetchall()
    return [
        RoundLine(
            round_index=index,
            heldout_problems=len(rates[index, True]),
            heldout_pass_at_1=_mean(rates[index, True]),
            other_pass_at_1=_mean(rates[index, False]),
            trajectories=count,
            kept=kept,
            cut=cut,
            tokens=tokens or 0,
            **_weights(run, index),
        )
        for index, count, kept, cut, tokens in totals
    ]


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _weights(run: RunDir, round_index: int) -> dict[str, Any]:
    """Reads the versions that served in a round, as the learning before it left them."""
    served = weights_after(run, round_index - 1) if round_index else None
    if served is None:
        return {"engine": "as configured", "rewards": ""}
    return {
        "engine": "as configured" if served.engine is None else served.engine.version,
        "rewards": ", ".join(weights.version for weights in served.rewards.values()),
    }
