"""Draws the tables at a run's end."""

from __future__ import annotations

from shlex import quote
from typing import Any

from rich.console import Console
from rich.table import Table

from berry.pipeline.cli.modes_table import modes_table
from berry.pipeline.cli.progress import duration
from berry.pipeline.cli.prose import print_prose
from berry.pipeline.cli.rounds_table import rounds_table
from berry.pipeline.errors import BerryError
from berry.pipeline.report import balance
from berry.pipeline.report.against_plan import AgainstPlan, against_plan
from berry.pipeline.report.rounds import rounds_by_mode
from berry.pipeline.report.summary import RunSummary, alarms, is_synthetic, models_of, summarise
from berry.pipeline.runtime.driver.outcome import RunOutcome
from berry.pipeline.stages.problems.screening import explain_screening
from berry.pipeline.storage.run.directory import RunDir, open_run


def print_summary(outcome: RunOutcome) -> None:
    """Prints what a run made, what it cost and how it compares with the plan."""
    console = Console()
    run = open_run(outcome.run_dir)
    summary = summarise(run)
    stored = run.config() or {}
    console.print(counts_table(summary, title=title(stored, outcome.run_dir)))
    if summary.modes:
        console.print(modes_table(summary.modes))
    console.print(work_table(outcome))
    for alarm in alarms(summary):
        print_prose(console, f"look:   {alarm}", style="yellow")
    print_screening(run, console)
    against = against_plan(run)
    plan_line = against.line if isinstance(against, AgainstPlan) else f"not compared: {against}"
    print_prose(console, f"against the plan  {plan_line}")
    balanced = balance.story(run)
    if balanced is not None:
        balance.write_picture(run, balanced)
        print_prose(console, f"balance  {balanced.line}")
    if len(run.rounds()) > 1:
        for mode, lines in rounds_by_mode(run):
            console.print(rounds_table(lines, mode))
    if outcome.finished and stored.get("report", True):
        print_report(run, console)
    console.print(f"kept:   {outcome.run_dir}/round=*/kept/*.parquet", soft_wrap=True, highlight=False)
    console.print(
        f"look:   berry inspect {quote(outcome.run_dir)}    berry show {quote(outcome.run_dir)} PROBLEM",
        soft_wrap=True,
        highlight=False,
    )


def print_report(run: RunDir, console: Console) -> None:
    """Writes report.html and says where; a run whose data is safe does not fail for its report."""
    from berry.pipeline.cli.report import token_ends_of
    from berry.pipeline.report.page.page import write_report

    try:
        place = write_report(run, token_ends=token_ends_of(run))
    except BerryError as error:
        print_prose(console, f"report: not written: {error}")
        return
    console.print(f"report: {place}", soft_wrap=True, highlight=False)


def print_screening(run: RunDir, console: Console) -> None:
    """Prints what the problems were held against, and that they were against nothing where so."""
    told = explain_screening(run.versions().get("screening"))
    print_prose(console, f"screened  {told}")


def title(stored: dict[str, Any], location: str) -> str:
    """What the run is, and that no model stands behind it where none does."""
    label = " — SYNTHETIC engine, no model" if is_synthetic(stored) else f", {models_of(stored)}"
    return f"{stored.get('name', '')}{label}: {location}"


def counts_table(summary: RunSummary, *, title: str) -> Table:
    """Draws counts of problems, trajectories and tokens, with the reasons for drops."""
    table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("problems", f"{summary.problems:,}, {summary.solved:,} solved at least once")
    table.add_row("trajectories", f"{summary.trajectories:,}")
    for outcome, count in summary.outcomes.items():
        table.add_row(f"  {outcome.replace('_', ' ')}", f"{count:,}")
    table.add_row("kept", f"[bold]{summary.kept:,}[/] ({summary.kept_tokens:,} tokens)")
    for reason, count in summary.dropped.items():
        table.add_row(f"  dropped: {reason}", f"{count:,}")
    if summary.completions:
        table.add_row("completions", f"{summary.completions:,}, drawn to label prefixes (berry annotate)")
    if summary.pass_at:
        table.add_row("pass@k", ", ".join(f"pass@{k} {v:.0%}" for k, v in summary.pass_at.items()))
    if set(summary.roots) != {"estimate"}:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in summary.roots.items())
        table.add_row("pass rates", f"{kinds}: only an estimate is unbiased (docs/labels.md)")
    if summary.spared_tokens:
        share = summary.spared_tokens / max(summary.generated_tokens, 1)
        table.add_row("spared", f"{summary.spared_tokens:,} tokens ({share:.1%} of all) of branches to be cut went on")
    if summary.calls is not None:
        table.add_row("tool calls", summary.calls.line)
    if summary.verify_ms_median is not None:
        table.add_row("verification", f"median {summary.verify_ms_median:.1f} ms")
    return table


def work_table(outcome: RunOutcome) -> Table:
    """Draws what a run took: tokens of the whole run, rates since its last start."""
    figures = outcome.figures
    ledger = outcome.totals.ledger
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    if ledger.prompt:
        table.add_row(
            "prompt tokens",
            f"{ledger.prompt:,}: {ledger.cached:,} from the prefix cache ({ledger.cached / ledger.prompt:.1%}), "
            f"{ledger.recomputed:,} computed",
        )
    _add_servers(table, figures)
    cancelled = f", {ledger.cancelled:,} cancelled" if ledger.cancelled else ""
    table.add_row("generated", f"{ledger.generated:,} tokens, {ledger.kept:,} of them in kept trajectories{cancelled}")
    given, lost = ledger.extra.get("given", 0), ledger.extra.get("recomputed_after_calls", 0)
    if given:
        again = f"; {lost:,} tokens before calls were computed again" if lost else ""
        table.add_row("given", f"{given:,} tokens of results, which were not generated{again}")
    turns = ledger.extra.get("turns", 0)
    if turns:
        odd = {name.removeprefix("turns_"): n for name, n in ledger.extra.items() if name.startswith("turns_") and n}
        listed = "".join(f", {count:,} {name.replace('_', ' ')}" for name, count in odd.items())
        table.add_row("environment", f"{turns:,} turns{listed}")
    preempted, late = figures.get("preemptions", 0), figures.get("late_tokens", 0)
    if preempted or late:
        table.add_row(
            "wasted",
            f"{figures.get('preempted_tokens', 0):,} tokens computed again for {preempted:,} sequences that lost their "
            f"cache, {late:,} sampled after an end",
        )
    saved, granted = ledger.extra.get("saved_leaves", 0), ledger.extra.get("granted_leaves", 0)
    if saved or granted:
        table.add_row("budgets", f"{saved:,} planned leaves not needed, {granted:,} given to problems that lacked some")
    if figures.get("tokens_per_s"):
        table.add_row("speed", f"{figures['tokens_per_s']:,.0f} tokens/s over {duration(figures['wall_s'])}")
        occupancy = figures.get("occupancy")
        table.add_row(
            "occupancy",
            "no steady state: too few problems to fill the engine"
            if occupancy is None
            else f"{occupancy:.0%} of the engine's sequences in steady state",
        )
    lost = {"workers": figures.get("lost_workers", 0), **figures.get("lost_actors", {})}
    if any(lost.values()):
        listed = ", ".join(f"{count} {kind}" for kind, count in lost.items() if count)
        table.add_row("recovered", f"{listed} lost, {figures.get('retried_leases', 0)} leases redone")
    return table


def _add_servers(table: Table, figures: dict[str, Any]) -> None:
    """Adds what servers were asked, what hosted APIs charged, and how drafts did."""
    requests, retries = figures.get("requests", 0), figures.get("retries", 0)
    if requests:
        reasoning = figures.get("reasoning_tokens", 0)
        thought = f" ({reasoning:,} of reasoning)" if reasoning else ""
        table.add_row(
            "usage",
            f"{requests:,} requests, {retries:,} of them again; {figures['prompt_tokens']:,} prompt tokens "
            f"({figures['cached_tokens']:,} cached), {figures['generated_tokens']:,} generated{thought}",
        )
    cost = figures.get("cost_usd")
    if cost is not None:
        table.add_row("cost", f"${cost:,.4f} of tokens, by engine.price")
    drafted = figures.get("drafted_tokens", 0)
    if drafted:
        accepted = figures["accepted_tokens"]
        table.add_row("drafts", f"{drafted:,} tokens drafted, {accepted:,} accepted ({accepted / drafted:.0%})")
