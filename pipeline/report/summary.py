"""Counts the figures of a run, from what is on storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from berry.pipeline.storage.dataset import RunDir
from berry.pipeline.storage.duckdb_views import connect


@dataclass(frozen=True, slots=True)
class ProblemLine:
    problem_id: str
    trajectories: int
    passed: int
    kept: int
    tokens: int


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Counts of trajectories unless the name says otherwise. `pass_at` maps k to the mean over problems of the
    unbiased estimate (`pass_at_k`); branches of one tree are not independent samples, so for tree policies it is
    optimistic or pessimistic with where the tree branched."""

    problems: int
    solved: int
    trajectories: int
    verdicts: dict[str, int]
    kept: int
    dropped: dict[str, int]
    kept_tokens: int
    verify_ms_median: float | None
    pass_at: dict[int, float]
    lines: tuple[ProblemLine, ...]


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Estimates the chance that one of k draws without replacement from n samples, `correct` of them right, is right.

    1 - C(n - c, k) / C(n, k), as a product that can't overflow. Source: Chen et al. 2021 (HumanEval), eq. 1. For
    k > n it is that of k = n.
    """
    k = min(k, n)
    if n - correct < k:
        return 1.0
    miss = 1.0
    for i in range(n - correct + 1, n + 1):
        miss *= 1.0 - k / i
    return 1.0 - miss


def summarise(run: RunDir, ks: Sequence[int] = (1, 4, 16)) -> RunSummary:
    db = connect(run)
    counts = db.execute(
        "select coalesce(verdict, 'not checked'), count(*) from trajectories group by 1 order by 2 desc"
    ).fetchall()
    drops = db.execute(
        "select drop_reason, count(*) from trajectories where not kept group by 1 order by 2 desc"
    ).fetchall()
    rows = db.execute(
        """select problem_id, count(*), count(*) filter (verdict = 'pass'), count(*) filter (kept),
                  count(*) filter (verdict in ('pass', 'fail')), sum(n_new_tokens)::bigint
           from trajectories group by 1 order by 1"""
    ).fetchall()
    totals = db.execute(
        "select count(*) filter (kept), coalesce(sum(n_tokens) filter (kept), 0)::bigint, median(verify_ms) "
        "from trajectories"
    ).fetchone()
    assert totals is not None
    checked = [(r[4], r[2]) for r in rows if r[4]]
    longest = max((n for n, _ in checked), default=0)
    return RunSummary(
        problems=len(rows),
        solved=sum(r[2] > 0 for r in rows),
        trajectories=sum(r[1] for r in rows),
        verdicts=dict(counts),
        kept=totals[0],
        dropped={str(reason): n for reason, n in drops},
        kept_tokens=totals[1],
        verify_ms_median=totals[2],
        pass_at={k: sum(pass_at_k(n, c, k) for n, c in checked) / len(checked) for k in ks if checked and k <= longest},
        lines=tuple(ProblemLine(r[0], r[1], r[2], r[3], r[5]) for r in rows),
    )
