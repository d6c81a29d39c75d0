"""What a run is doing, from what its directory says.

run.yaml, commits, live.json, lock ─► gather ─► plain data ─► table, lines
"""

from __future__ import annotations

import math
from typing import Any

from rich.markup import escape
from rich.table import Table

from pipeline.storage import live, serving
from pipeline.storage.dataset import RunDir


def gather(run: RunDir, *, now: float) -> dict[str, Any]:
    """`now` in seconds since the epoch. Counts of leases come from the storage, figures from the driver's last word."""
    config = run.config() or {}
    said = live.read(run)
    problems = run.versions().get("problems", {}).get("count", 0)
    size = config.get("storage", {}).get("lease_problems", 1)
    total = math.ceil(problems / size)
    rounds = (config.get("rounds") or {}).get("count", 1)
    state = live.state(said, held=live.is_held(run), now=now)
    if said is None and all(len(run.committed(r)) >= total for r in range(rounds)):
        state = "finished"
    weights = serving.read(run.location).engine
    return {
        "name": config.get("name", ""),
        "synthetic": config.get("engine", {}).get("type") == "synthetic",
        "state": state,
        "phase": said.phase if said and state == "running" else "",
        "host": said.host if said else None,
        "process": said.process if said else None,
        "age_s": round(now - said.written_at, 1) if said else None,
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
        "weights": weights.version if weights else None,
        "view": said.view if said else {},
        "notes": said.notes if said else [],
    }


def table(found: dict[str, Any], place: str) -> Table:
    label = " — SYNTHETIC engine, no model" if found["synthetic"] else ""
    made = Table(
        title=escape(f"{found['name']}{label}: {place}"),
        title_justify="left",
        show_header=False,
        box=None,
        padding=(0, 2, 0, 0),
    )
    made.add_row("state", f"[bold]{escape(found['state'])}[/]{': ' + found['phase'] if found['phase'] else ''}")
    if found["process"] is not None:
        made.add_row("driver", f"process {found['process']} on {found['host']}, said this {found['age_s']:.0f} s ago")
    for line in found["rounds"]:
        name = "leases" if len(found["rounds"]) == 1 else f"round {line['round']}"
        flight = f", {line['journalled']} in flight" if line["journalled"] else ""
        made.add_row(name, f"{line['committed']}/{line['leases']} committed{flight}")
    if found["weights"]:
        made.add_row("weights", found["weights"])
    view = found["view"]
    if view:
        made.add_row("problems", f"{view['problems']:,}/{view['total_problems']:,}")
        made.add_row("trajectories", f"{view['trajectories']:,} committed, {view['kept']:,} kept")
    if view and found["state"] == "running":
        hit = "–" if view["cache_hit"] is None else f"{view['cache_hit']:.0%}"
        made.add_row("tokens/s", f"{view['tokens_per_s']:,.0f}")
        made.add_row("sequences", f"{view['running']} running, {view['waiting']} waiting; prefix cache {hit}")
        made.add_row("sandbox queue", str(view["sandbox_queue"]))
        if view["eta_s"] is not None:
            made.add_row("ETA", f"{view['eta_s'] / 60:,.0f} min")
    return made


def lines(found: dict[str, Any], most: int = 5) -> list[str]:
    """The last notes of the driver."""
    return list(found["notes"][-most:])
