"""Counts what each mode of a run brought: trajectories, tokens, and the chance that an answer passes.

lease reports, trajectories, roots' chains ─► mode_lines ─► ModeLine a mode: summary, inspect, report
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from berry.pipeline.core.values.pass_at_k import pass_at_k
from berry.pipeline.records import Ending
from berry.pipeline.stages.dataset.root_chains import root_chains
from berry.pipeline.stages.leases.reports import read_reports
from berry.pipeline.storage.run.directory import RunDir

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class ModeLine:
    """One mode over all rounds. `problems` searched in it, of which `solved` have a passing trajectory; `passed` and
    `wrong` count trajectories that were told right from wrong; `generated` are its tokens, those of branches given up
    included, `share_of_tokens` their share of the run's, in [0, 1]. `pass_at` maps k to the mean over its problems of
    the last round of the estimated chance that one of k independent chains passes (core/values/pass_at_k.py), without
    the k for which no problem has an unbiased value."""

    mode: str
    problems: int
    solved: int
    trajectories: int
    passed: int
    wrong: int
    kept: int
    generated: int
    share_of_tokens: float | None
    tokens_a_trajectory: float | None
    pass_at: dict[int, float]


def mode_lines(run: RunDir, db: duckdb.DuckDBPyConnection, ks: Sequence[int] = (1, 4, 16)) -> list[ModeLine]:
    """A line for each mode in the order of the configuration; none of a run without modes."""
    names = [mode["name"] for mode in ((run.config() or {}).get("rollout") or {}).get("modes") or ()]
    if not names:
        return []
    spent = dict.fromkeys(names, 0)
    for round_index in run.rounds():
        for report in read_reports(run.location, round_index):
            for name, counts in report.modes.items():
                spent[name] += counts["generated"]
    rows = db.execute(
        f"""select mode, count(distinct problem_id), count(distinct problem_id) filter (verdict = 'pass'), count(*),
                   count(*) filter (outcome = '{Ending.PASS}'), count(*) filter (outcome = '{Ending.WRONG}'),
                   count(*) filter (kept), avg(n_tokens) from trajectories where mode is not null group by 1"""
    ).fetchall()
    found = {name: figures for name, *figures in rows}
    total = sum(spent.values())
    lines: list[ModeLine] = []
    for name in names:
        problems, solved, trajectories, passed, wrong, kept, tokens = found.get(name, (0, 0, 0, 0, 0, 0, None))
        generated = spent[name]
        chains = root_chains(run, db, mode=name) or []
        rates = {k: [p for values, ends in chains if (p := pass_at_k(values, k, ends)) is not None] for k in ks}
        lines.append(
            ModeLine(
                mode=name,
                problems=problems,
                solved=solved,
                trajectories=trajectories,
                passed=passed,
                wrong=wrong,
                kept=kept,
                generated=generated,
                share_of_tokens=generated / total if total else None,
                tokens_a_trajectory=tokens,
                pass_at={k: sum(its) / len(its) for k, its in rates.items() if its},
            )
        )
    return lines
