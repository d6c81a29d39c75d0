"""Counts the figures of a run, from what is on storage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from berry.pipeline.core.ledger import add
from berry.pipeline.core.values.pass_at_k import pass_at_k as of_chains
from berry.pipeline.records import Ending
from berry.pipeline.report.modes import ModeLine, mode_lines
from berry.pipeline.report.tool_calls import CallFigures, call_figures
from berry.pipeline.stages.dataset.root_chains import root_chains
from berry.pipeline.stages.leases.reports import read_reports
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.duckdb_views import connect

MANY_TRUNCATED, MANY_UNVERIFIABLE = 1 / 3, 1 / 20  # shares of the trajectories from which a run says so


@dataclass(frozen=True, slots=True)
class ProblemLine:
    """A problem's trajectories by how they came out (`records.Ending`), those kept, and the tokens generated for it."""

    problem_id: str
    outcomes: dict[str, int]
    kept: int
    tokens: int

    @property
    def share_passed(self) -> float | None:
        """Share of the trajectories with a verdict that pass, however they were drawn; None where there is none."""
        passed, wrong = (self.outcomes.get(name, 0) for name in (Ending.PASS, Ending.WRONG))
        return passed / (passed + wrong) if passed + wrong else None


@dataclass(frozen=True, slots=True)
class RunSummary:
    """Counts of trajectories unless the name says otherwise. `outcomes`: by how they came out (`records.Ending`), what
    is not wrong but unanswered, truncated or unverifiable apart. `generated_tokens` and of them `spared_tokens`, for
    branches that were to be cut and went on, so that values stay unbiased. `roots`: trees by the kind of their root's
    value (`records.ValueKind`; "none": nothing was checked). `pass_at` maps k to the mean over problems of the last
    round of the estimated chance that one of k independent chains passes (core/values/pass_at_k.py); a problem counts
    where its root has k chains and an unbiased value, so that runs which spare no cut branch, or which verdicts stop in
    a way that can't be undone, have none. Of runs of schema version 1 it is the plain share of trajectories
    (`pass_at_k`), biased for trees. `completions` were drawn only to label prefixes (`berry annotate`), and are in no
    other count of trajectories. `calls` of tools; None where no tool has said anything. `modes`: where a
    run has some, a line of each; `pass_at` is empty then, since it would be of several."""

    problems: int
    solved: int
    trajectories: int
    outcomes: dict[str, int]
    kept: int
    dropped: dict[str, int]
    kept_tokens: int
    generated_tokens: int
    spared_tokens: int
    roots: dict[str, int]
    verify_ms_median: float | None
    pass_at: dict[int, float]
    lines: tuple[ProblemLine, ...]
    completions: int = 0
    calls: CallFigures | None = None
    modes: tuple[ModeLine, ...] = ()


def alarms(summary: RunSummary) -> list[str]:
    """What somebody should look at: many trajectories cut at the longest allowed, many that could not be checked."""
    found: list[str] = []
    total = summary.trajectories
    truncated = summary.outcomes.get(Ending.TRUNCATED, 0)
    if total and truncated > MANY_TRUNCATED * total:
        found.append(
            f"{truncated / total:.0%} of the trajectories were cut at the longest allowed: raise "
            "rollout.sampling.max_tokens (and engine.max_model_len)"
        )
    unverifiable = summary.outcomes.get(Ending.UNVERIFIABLE, 0)
    if total and unverifiable > MANY_UNVERIFIABLE * total:
        found.append(
            f"{unverifiable:,} of {total:,} trajectories could not be checked; the reasons: berry inspect RUN --sql "
            '"select verdict_reason, count(*) from trajectories group by 1"'
        )
    return found


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
    """Counts what a run has committed. `ks`: for which k pass@k is told."""
    db = connect(run)
    counts = db.execute("select outcome, count(*) from trajectories group by 1").fetchall()
    drops = db.execute(
        "select drop_reason, count(*) from trajectories where not kept group by 1 order by 2 desc"
    ).fetchall()
    rows = db.execute(
        """select problem_id, outcome, count(*), count(*) filter (kept), sum(n_new_tokens)::bigint
           from trajectories group by 1, 2 order by 1"""
    ).fetchall()
    totals = db.execute(
        "select count(*) filter (kept), coalesce(sum(n_tokens) filter (kept), 0)::bigint, median(verify_ms) "
        "from trajectories"
    ).fetchone()
    assert totals is not None
    ledger = add(report.ledger for r in run.rounds() for report in read_reports(run.location, r))
    roots = db.execute(
        "select case when sample is null then 'pooled' else coalesce(value_kind, 'none') end, count(*) "
        "from nodes where depth = 0 group by 1 order by 2 desc"
    ).fetchall()
    lines = _problem_lines(rows)
    passes = [line.outcomes.get(Ending.PASS, 0) for line in lines]
    wrongs = [line.outcomes.get(Ending.WRONG, 0) for line in lines]
    checked = [(passed + wrong, passed) for passed, wrong in zip(passes, wrongs, strict=True) if passed + wrong]
    longest = max((n for n, _ in checked), default=0)
    completions = db.execute("select count(*) from completions").fetchone()
    assert completions is not None
    modes = tuple(mode_lines(run, db, ks))
    chains = root_chains(run, db) if not modes else []
    if chains is None:
        pass_at = {
            k: sum(pass_at_k(n, c, k) for n, c in checked) / len(checked) for k in ks if checked and k <= longest
        }
    else:
        found = {k: [p for c, ends in chains if (p := of_chains(c, k, ends)) is not None] for k in ks}
        pass_at = {k: sum(rates) / len(rates) for k, rates in found.items() if rates}
    return RunSummary(
        problems=len(lines),
        solved=sum(passed > 0 for passed in passes),
        trajectories=sum(count for _, count in counts),
        outcomes={name.value: found[name] for name in Ending if name in (found := dict(counts))},
        kept=totals[0],
        dropped={str(reason): n for reason, n in drops},
        kept_tokens=totals[1],
        generated_tokens=ledger.generated,
        spared_tokens=ledger.extra.get("spared", 0),
        roots=dict(roots),
        verify_ms_median=totals[2],
        pass_at=pass_at,
        lines=tuple(lines),
        completions=completions[0],
        calls=call_figures(db),
        modes=modes,
    )


def _problem_lines(rows: Sequence[tuple[str, str, int, int, int | None]]) -> list[ProblemLine]:
    """Of (problem, outcome, trajectories, kept, tokens), those of one problem together."""
    of_problem: dict[str, list[tuple[str, int, int, int]]] = {}
    for problem, outcome, count, kept, tokens in rows:
        of_problem.setdefault(problem, []).append((outcome, count, kept, tokens or 0))
    return [
        ProblemLine(
            problem,
            {outcome: count for outcome, count, _, _ in its},
            sum(kept for _, _, kept, _ in its),
            sum(tokens for *_, tokens in its),
        )
        for problem, its in of_problem.items()
    ]


def engines_of(stored: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The sections of a stored configuration's engines by name; of its only one under ""."""
    return stored.get("engines") or {"": stored.get("engine") or {}}


def models_of(stored: dict[str, Any]) -> str:
    """What generated, by the stored configuration: of several engines each with its name."""
    named = {name: str(one.get("model", one.get("type", ""))) for name, one in engines_of(stored).items()}
    return ", ".join(f"{name} {model}".strip() for name, model in named.items())


def is_synthetic(stored: dict[str, Any]) -> bool:
    """Whether no model stands behind some of a run's engines."""
    return any(one.get("type") == "synthetic" for one in engines_of(stored).values())
