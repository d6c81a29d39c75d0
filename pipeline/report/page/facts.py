"""Gathers what a report says of a run, as plain tables: each from what is on storage, null where nothing is known.

RunDir ─► gather ─► Facts (sections of rows, notes on what could not be read)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import yaml

from berry.pipeline.errors import BerryError
from berry.pipeline.records import Ending
from berry.pipeline.report import balance
from berry.pipeline.report.against_plan import against_plan
from berry.pipeline.report.page.costs_and_checks import AUDIT, EVALUATED, audit, cost_rows, evaluation
from berry.pipeline.report.page.data_card import COLUMNS, data_card
from berry.pipeline.report.pages import rounded
from berry.pipeline.report.passes import pass_lines
from berry.pipeline.report.pruning import cut_lines, stage_lines
from berry.pipeline.report.rounds import rounds_by_mode
from berry.pipeline.report.summary import RunSummary, alarms, engines_of, is_synthetic, models_of, summarise
from berry.pipeline.report.tool_calls import CallFigures
from berry.pipeline.storage import jsonl_log
from berry.pipeline.storage.run import live
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.duckdb_views import connect

if TYPE_CHECKING:
    import duckdb

FactRow = Sequence[str]


@dataclass(frozen=True, slots=True)
class FactTable:
    """A heading, a sentence that says what the figures are, and a table. `columns` empty: pairs of name and value."""

    title: str
    explained: str
    rows: Sequence[FactRow]
    columns: tuple[str, ...] = ()


@dataclass(slots=True)
class Facts:
    """All tables of a report. `rates`: of each problem's trajectories that are right or wrong, the share that passed.
    `progress`: rows over time. `unknown`: what could not be read, and why. `alarms`: what somebody should look at."""

    name: str
    location: str
    synthetic: bool
    state: str
    summary: RunSummary | None
    figures: dict[str, Any]
    configuration: str
    sections: list[FactTable] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    progress: list[dict[str, Any]] = field(default_factory=list)
    funnel: list[tuple[str, float]] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


def gather(run: RunDir) -> Facts:
    """Reads everything; what is damaged or missing becomes a line of `unknown`."""
    import duckdb

    config = run.config() or {}
    unknown: list[str] = []

    def told(what: str, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except BerryError as error:
            unknown.append(f"{what}: {error}")
        except duckdb.Error as error:  # how a damaged shard looks to a query
            unknown.append(f"{what}: {str(error).splitlines()[0]}")
        return None

    figures = told("figures of the run", lambda: json.loads(run.location.get("metrics/run.json") or b"{}")) or {}
    facts = Facts(
        name=str(config.get("name", "")),
        location=run.location.url,
        synthetic=is_synthetic(config),
        state=told("state", lambda: _state(run)) or "not known",
        summary=None,
        figures=figures,
        configuration=yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=110),
        unknown=unknown,
    )
    facts.summary = told("counts", lambda: summarise(run))
    facts.progress = told("progress over time", lambda: jsonl_log.read(run.location, "progress")) or []
    facts.sections.append(_what_ran(run, config, facts))
    if facts.summary is not None and facts.summary.trajectories:
        card = told("data card", lambda: data_card(run)) or []
        if card:
            explained = "As the card of an export has it; licences are those that the problem files state."
            facts.sections.append(FactTable("Data card", explained, card, COLUMNS))
        _counts(run, facts, told)
    _speed(run, facts, told)
    _learning(run, facts, told)
    _checked(run, facts, told)
    return facts


def _checked(run: RunDir, facts: Facts, told: Callable[[str, Callable[[], Any]], Any]) -> None:
    pairs, fenced = told("log-probabilities computed again", lambda: audit(run)) or ([], [])
    facts.alarms += fenced
    if pairs:
        explained = "Of a share of the trajectories (`recompute`), each by the engine that made it and another one."
        facts.sections.append(FactTable("Log-probabilities computed again", explained, pairs, AUDIT))
    curves = told("evaluation", lambda: evaluation(run))
    if curves:
        explained = (
            "By the last `berry eval` of this run, at the most samples, with 95% intervals; eval/eval.html has more."
        )
        facts.sections.append(FactTable("Evaluation", explained, curves, EVALUATED))


def _state(run: RunDir) -> str:
    records = live.read(run)
    if not records:
        return "not running"
    return live.state(records[-1], held=live.is_held(run, records[-1].site), now=records[-1].written_at)


def _what_ran(run: RunDir, config: dict[str, Any], facts: Facts) -> FactTable:
    versions = run.versions()
    rollout = config.get("rollout") or {}
    sampling = rollout.get("sampling") or {}
    rows: list[FactRow] = [
        ("model", models_of(config)),
        ("engine", ", ".join(dict.fromkeys(str(one.get("type", "")) for one in engines_of(config).values()))),
        ("policy", _short(rollout.get("policy"))),
        ("sampling", _short({k: v for k, v in sampling.items() if v not in (None, [], {})})),
        ("pruning", ", ".join(str(rule.get("type")) for rule in config.get("pruning") or []) or "none"),
        ("cluster", str((config.get("cluster") or {}).get("name", ""))),
        ("problems", f"{versions.get('problems', {}).get('count', 0):,}"),
        ("Berry", f"{versions.get('berry', '')}, schema {versions.get('schema', '')}"),
        ("software", ", ".join(f"{k} {v}" for k, v in (versions.get("software") or {}).items() if v)),
        ("state", facts.state),
    ]
    screening = versions.get("screening") or {}
    if screening.get("files"):
        found, fate = len(screening.get("overlapping") or {}), "left out" if screening.get("left_out") else "left in"
        told = f"{found:,} of {screening.get('looked_at', 0):,} problems overlap and were {fate}"
        rows.append(("screened against", f"{', '.join(screening['files'])}: {told}"))
    else:
        rows.append(("screened against", "nothing: no evaluation sets were named (`screening`)"))
    return FactTable("What ran", "From run.yaml and versions.json.", rows)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {_short(v)}" for k, v in value.items() if v is not None)
    return str(value)


def _counts(run: RunDir, facts: Facts, told: Callable[[str, Callable[[], Any]], Any]) -> None:
    summary = facts.summary
    assert summary is not None
    db = connect(run)
    total = summary.trajectories
    rates = told("shares that passed", lambda: db.execute(
        "select count(*) filter (verdict = 'pass') / count(*) from trajectories where outcome in ('pass', 'wrong') "
        "group by problem_id"
    ).fetchall())  # fmt: skip
    facts.rates = [float(rate) for (rate,) in rates or []]
    facts.funnel = [("trajectories", float(total))]
    told_apart = sum(summary.outcomes.get(ending, 0) for ending in (Ending.PASS, Ending.WRONG))
    facts.funnel += [("right or wrong", float(told_apart)), ("passed", float(summary.outcomes.get(Ending.PASS, 0)))]
    facts.funnel.append(("kept", float(summary.kept)))
    rows: list[FactRow] = [
        (f"dropped: {reason}", f"{n:,}", f"{n / total:.1%}") for reason, n in summary.dropped.items()
    ]
    rows.insert(0, ("kept", f"{summary.kept:,}", f"{summary.kept / total:.1%}"))
    facts.sections.append(
        FactTable("What was kept", "Each trajectory has one fate; a reason is the first rule that dropped it.", rows,
                ("fate", "trajectories", "share"))
    )  # fmt: skip
    if summary.modes:
        facts.sections.append(_table_of("Modes", summary.modes))
    for what, read in (("verdicts", _verdicts), ("sources", _by_source), ("values", _labels)):
        section = told(what, partial(read, db))
        if section is not None:
            facts.sections.append(section)
    if summary.calls is not None:
        facts.sections.append(_calls(summary.calls))
    stages = told("what pruning left", lambda: stage_lines(run)) or []
    if stages:
        names = list(stages[0].left)
        facts.sections.append(
            FactTable("What pruning left, stage by stage",
                    "Share of all branches that is still there after each stage.",
                    [[str(s.round_index), f"{s.branches:,}", *(f"{s.left[n]:.1%}" for n in names)] for s in stages],
                    ("round", "branches", *names))
        )  # fmt: skip
    cuts = told("audits of cuts", lambda: cut_lines(run)) or []
    if cuts:
        facts.sections.append(_table_of("What the cuts are worth on audited trees", cuts))


def _calls(calls: CallFigures) -> FactTable:
    rows: list[FactRow] = [
        (f"ended {outcome.replace('_', ' ')}", f"{n:,} of {calls.calls:,}") for outcome, n in calls.outcomes.items()
    ]
    rows += [
        ("calls a trajectory", f"{calls.a_trajectory:.2f}"),
        ("nondeterministic", f"{calls.nondeterministic:,}"),
        ("tokens of results", f"{calls.tokens:,}"),
        ("time of a call", f"median {calls.ms_median:.1f} ms, 99% below {calls.ms_99:.1f} ms"),
    ]
    return FactTable(
        "Tool calls",
        "Of the results in all trees; those of equal calls, which are made once in a tree, each for itself. "
        "Nondeterministic: made again for a branch, the calls before it said something else. Results were given: no "
        "count of generated tokens has them.",
        rows,
    )


def _table_of(title: str, lines: Sequence[Any]) -> FactTable:
    names = [name for name in type(lines[0]).__slots__ if not name.startswith("_")]
    rows = [[_cell(getattr(line, name)) for name in names] for line in lines]
    return FactTable(
        title, (type(lines[0]).__doc__ or "").split("\n\n")[0], rows, tuple(n.replace("_", " ") for n in names)
    )


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return rounded(value)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else _short(value)


def _verdicts(db: duckdb.DuckDBPyConnection) -> FactTable:
    rows = db.execute(
        """select coalesce(verdict, 'not checked'), coalesce(verdict_reason, coalesce(drop_reason, '')), count(*),
                  median(verify_ms), quantile_cont(verify_ms, 0.99)
           from trajectories group by 1, 2 order by 3 desc"""
    ).fetchall()
    return FactTable(
        "Verdicts",
        "A check that could not be made is no verdict on the answer. Times are those of the check, in ms.",
        [[str(v), str(r), f"{n:,}", _cell(m), _cell(p)] for v, r, n, m, p in rows],
        ("verdict", "reason", "trajectories", "median ms", "99% below"),
    )


def _by_source(db: duckdb.DuckDBPyConnection) -> FactTable:
    rows = db.execute(
        """with per as (select problem_id, round, any_value(mode) as mode, count(*) as n,
                               count(*) filter (verdict = 'pass') as passed,
                               count(*) filter (outcome in ('pass', 'wrong')) as checked,
                               count(*) filter (kept) as kept, sum(n_new_tokens) as tokens
                        from trajectories group by 1, 2),
                sources as (select problem_id, any_value(source) as source from kept group by 1)
           select round, coalesce(source, 'none kept') || coalesce(', mode ' || mode, ''), count(*), sum(n),
                  sum(passed), sum(checked), sum(kept),
                  sum(tokens), count(*) filter (passed > 0)
           from per left join sources using (problem_id) group by 1, 2 order by 1, 3 desc limit 60"""
    ).fetchall()
    return FactTable(
        "By round and source",
        "Passed is of the trajectories that were right or wrong, of the trees as they were searched, not an estimate "
        "of pass@1. The source of problems of which nothing was kept is not in the files.",
        [
            [
                str(r),
                str(s or "–"),
                f"{p:,}",
                f"{solved:,}",
                f"{n:,}",
                "–" if not c else f"{ok / c:.1%}",
                f"{k:,}",
                f"{t:,}",
            ]
            for r, s, p, n, ok, c, k, t, solved in rows
        ],
        ("round", "source", "problems", "solved", "trajectories", "passed", "kept", "new tokens"),
    )


def _labels(db: duckdb.DuckDBPyConnection) -> FactTable | None:
    rows = db.execute(
        """select coalesce(value_kind, 'none'), count(*), avg(value_n), median(value_n), avg(value_high - value_low)
           from nodes where parent is not null group by 1 order by 2 desc"""
    ).fetchall()
    if not rows:
        return None
    return FactTable(
        "Values of nodes",
        "`estimate`: an unbiased estimate of the chance that a continuation passes. Other kinds are no labels for "
        "training (docs/labels.md). Evidence is the number of independent continuations, width that of the 95% "
        "interval.",
        [[str(k), f"{n:,}", _cell(a), _cell(m), _cell(w)] for k, n, a, m, w in rows],
        ("kind", "nodes", "mean evidence", "median", "mean width"),
    )


def _speed(run: RunDir, facts: Facts, told: Callable[[str, Callable[[], Any]], Any]) -> None:
    f = facts.figures
    if not f:
        facts.unknown.append("speed: the run has not ended yet, or was made without metrics")
        return
    ledger = f.get("ledger") or {}
    cached = f"{f.get('cache_hit') or 0:.1%} of them from the prefix cache"
    rows: list[FactRow] = [
        ("wall time", f"{f.get('wall_s', 0):,.0f} s"),
        ("generated", f"{f.get('generated_tokens', 0):,} tokens, {_cell(f.get('tokens_per_s'))} a second"),
        ("prompt tokens", f"{f.get('prompt_tokens', 0):,}, {cached}"),
        ("occupancy", "–" if f.get("occupancy") is None else f"{f['occupancy']:.1%} of the engines' sequences"),
        ("in steady state", _steady(f.get("steady") or {})),
        ("workers lost", f"{f.get('lost_workers', 0)}, {f.get('retried_leases', 0)} leases handed out again"),
    ]
    kept = ledger.get("kept")
    if kept:
        forward = (ledger.get("generated") or 0) + (ledger.get("prompt") or 0) - (ledger.get("cached") or 0)
        rows.append(("forward tokens a kept token", f"{forward / kept:,.1f}"))
    for name, n in sorted((ledger.get("extra") or {}).items()):
        rows.append((name.replace("_", " "), f"{n:,}"))
    compared = told("the plan", lambda: against_plan(run))
    if compared is not None:
        rows.append(("against the plan", compared if isinstance(compared, str) else compared.line))
    balanced = told("balance", lambda: balance.story(run))
    if balanced is not None:
        rows.append(("balance", balanced.line))
    rows += cost_rows(run.config() or {}, f)
    facts.sections.append(FactTable("Speed and tokens", "From metrics/run.json.", rows))
    if f.get("lost_workers"):
        facts.alarms.append(f"{f['lost_workers']} rollout workers were lost; their leases were handed out again")
    for what, n in (f.get("lost_actors") or {}).items():
        if n:
            facts.alarms.append(f"{n} {what} were lost")


def _steady(steady: dict[str, Any]) -> str:
    if not steady:
        return "none was reached"
    return (
        f"{_cell(steady.get('trajectories_per_s'))} trajectories/s, engines {steady.get('engine_idle_share') or 0:.1%} "
        f"idle, checks waited {_cell(steady.get('check_wait_ms'))} ms"
    )


def _learning(run: RunDir, facts: Facts, told: Callable[[str, Callable[[], Any]], Any]) -> None:
    if facts.summary is not None:
        facts.alarms += alarms(facts.summary)
    if len(run.rounds()) > 1:
        for mode, lines in told("rounds", lambda: rounds_by_mode(run)) or []:
            facts.sections.append(_table_of("Rounds" if mode is None else f"Rounds of mode {mode}", lines))
    passes = told("passes", lambda: pass_lines(run)) or []
    if passes:
        facts.sections.append(_table_of("Forward and backward", passes))
