"""Tells what a run is doing, from what its directory says.

run.yaml, commits, how drivers ended, lock ─► gather ─► plain data ─► table, lines
"""

from __future__ import annotations

from typing import Any

from rich.markup import escape
from rich.table import Table

from berry.pipeline.report.summary import is_synthetic
from berry.pipeline.stages.leases.labelling import labels_place
from berry.pipeline.stages.leases.lease import MODE_COUNTS
from berry.pipeline.stages.leases.partition import stored_lease_count
from berry.pipeline.stages.leases.reports import read_reports
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.run import live
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.weights_file import RunWeights, read_weights


def gather(run: RunDir, *, now: float) -> dict[str, Any]:
    """Gathers a run's state, `now` in seconds since the epoch. Counts of leases come from the storage, figures from the
    driver's last record. Where sites share the run, `sites` has what each wrote, and the other figures are those of
    the last that wrote."""
    config = run.config() or {}
    found = run.versions().get("problems", {})
    problems = found.get("count", 0)
    size = config.get("storage", {}).get("lease_problems", 1)
    total = stored_lease_count(found, size)
    rounds = (config.get("rounds") or {}).get("count", 1)
    drivers = [_driver(record, held=live.is_held(run, record.site), now=now) for record in live.read(run)]
    sites = [one for one in drivers if one["site"] is not None]
    last = _last(drivers) or _driver(None, held=live.is_held(run), now=now)
    if not drivers and all(len(run.committed(r)) >= total for r in range(rounds)):
        last["state"] = "finished"
    weights = read_weights(run.location)
    return {
        "name": config.get("name", ""),
        "synthetic": is_synthetic(config),
        **{key: value for key, value in last.items() if key != "site"},
        "sites": sites,
        "problems": problems,
        "rounds": [
            {
                "round": r,
                "leases": total,
                "committed": len(run.committed(r)),
                "journalled": len(run.journalled(r) - run.committed(r)),
            }
            for r in range(rounds)
        ],
        "weights": weights.engine.version if weights.engine else None,
        "engines": _engines(run, config, weights),
        "teacher": _teacher(config),
    }


def _engines(run: RunDir, config: dict[str, Any], weights: RunWeights) -> dict[str, dict[str, Any]]:
    """Of each of several engines its weights' version, and the counts of what is committed of its problems."""
    found: dict[str, dict[str, Any]] = {
        name: {"weights": its.version if (its := weights.of_engine(name)) else None, **dict.fromkeys(MODE_COUNTS, 0)}
        for name in config.get("engines") or ()
    }
    generated: dict[int, int] = {}
    for report in (report for r in run.rounds() for report in read_reports(run.location, r)) if found else ():
        its = found[report.engine]
        for count in ("problems", "solved", "trajectories", "kept"):
            its[count] += getattr(report, count)
        its["generated"] += report.ledger.generated
        generated[report.lease] = report.ledger.generated
    teacher = _teacher(config)
    if teacher is not None:
        _add_labelled(run, found[teacher], generated)
    return found


def _teacher(config: dict[str, Any]) -> str | None:
    """The engine that labels what the run makes, while it makes it."""
    return (config.get("routing") or {}).get("teacher")


def _add_labelled(run: RunDir, its: dict[str, Any], generated: dict[int, int]) -> None:
    """Adds what the teacher has labelled, without the tokens that the student had `generated` of each lease."""
    labels = RunDir(locate(labels_place(run.location.url)))
    for report in read_reports(labels.location, 0):
        its["problems"] += report.problems
        its["trajectories"] += report.drops.get("annotation", 0)
        its["generated"] += report.ledger.generated - generated.get(report.lease, 0)


def _driver(record: live.Live | None, *, held: bool | None, now: float) -> dict[str, Any]:
    state = live.state(record, held=held, now=now)
    return {
        "site": record.site if record else None,
        "state": state,
        "phase": record.phase if record and state == "running" else "",
        "host": record.host if record else None,
        "process": record.process if record else None,
        "age_s": round(now - record.written_at, 1) if record else None,
        "view": record.view if record else {},
        "notes": record.notes if record else [],
    }


def _last(drivers: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Picks one driver: of those that run, else of those that finished, else of all: the one that wrote last."""
    for wanted in ("running", "finished", ""):
        matching = [one for one in drivers if one["state"].startswith(wanted)]
        if matching:
            return dict(min(matching, key=lambda one: one["age_s"]))
    return None


def table(gathered: dict[str, Any], location: str) -> Table:
    """Draws what `gather` found, for a terminal."""
    label = " — SYNTHETIC engine, no model" if gathered["synthetic"] else ""
    made = Table(
        title=escape(f"{gathered['name']}{label}: {location}"),
        title_justify="left",
        show_header=False,
        box=None,
        padding=(0, 2, 0, 0),
    )
    if not gathered["sites"]:
        _add_state(made, gathered)
    for line in gathered["rounds"]:
        name = "leases" if len(gathered["rounds"]) == 1 else f"round {line['round']}"
        flight = f", {line['journalled']} in flight" if line["journalled"] else ""
        made.add_row(name, f"{line['committed']}/{line['leases']} committed{flight}")
    if gathered["weights"]:
        made.add_row("weights", gathered["weights"])
    for name, its in gathered["engines"].items():
        version = f", weights {its['weights']}" if its["weights"] else ""
        completes = name == gathered["teacher"]
        did = f"{its['trajectories']:,} completions" if completes else f"{its['solved']:,} solved"
        counts = f"{its['problems']:,} problems, {did}, {its['generated']:,} tokens generated"
        made.add_row(escape(name), f"{counts}{version}")
    for site in gathered["sites"]:
        made.add_row(f"[bold]site {escape(site['site'])}[/]", "")
        _add_state(made, site)
        if site["state"] == "running":
            _add_view(made, site)
    if not gathered["sites"]:
        _add_view(made, gathered)
    return made


def _add_state(made: Table, driver: dict[str, Any]) -> None:
    made.add_row("state", f"[bold]{escape(driver['state'])}[/]{': ' + driver['phase'] if driver['phase'] else ''}")
    if driver["process"] is not None:
        record = f"process {driver['process']} on {driver['host']}, wrote this {driver['age_s']:.0f} s ago"
        made.add_row("driver", record)


def _add_view(made: Table, driver: dict[str, Any]) -> None:
    view = driver["view"]
    if view:
        made.add_row("problems", f"{view['problems']:,}/{view['total_problems']:,}")
        made.add_row("trajectories", f"{view['trajectories']:,} committed, {view['kept']:,} kept")
    if view and driver["state"] == "running":
        hit = "–" if view["cache_hit"] is None else f"{view['cache_hit']:.0%}"
        made.add_row("tokens/s", f"{view['tokens_per_s']:,.0f}")
        made.add_row("sequences", f"{view['running']} running, {view['waiting']} waiting; prefix cache {hit}")
        made.add_row("sandbox queue", str(view["sandbox_queue"]))
        if view.get("call_ms") is not None:  # runs of earlier versions say nothing of calls
            bad, again = view.get("bad_calls", 0), view.get("nondeterministic", 0)
            made.add_row("tool calls", described_calls(view["calling"], view["calls"], view["call_ms"], bad, again))
        if view["eta_s"] is not None:
            made.add_row("ETA", f"{view['eta_s'] / 60:,.0f} min")


def described_calls(calling: int, calls: int, call_ms: float, bad: int, nondeterministic: int) -> str:
    """Says how many tool calls are waited for now, how many were answered, how many of those did not end well or stand
    behind calls that said something else when made again, and for how long they were waited for."""
    named = ((bad, "not ok"), (nondeterministic, "nondeterministic"))
    told = "".join(f", {count:,} {what}" for count, what in named if count)
    return f"{calling} waited for now; {calls:,} made{told}, {call_ms:,.0f} ms each"


def lines(gathered: dict[str, Any], most: int = 5) -> list[str]:
    """Takes the last notes of the driver, or of each site that runs."""
    if not gathered["sites"]:
        return list(gathered["notes"][-most:])
    live_sites = (site for site in gathered["sites"] if site["state"] == "running")
    return [f"{site['site']}: {note}" for site in live_sites for note in site["notes"][-most:]]
