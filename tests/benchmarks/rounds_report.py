"""What rounds.py has found, as report.json, report.md and rounds.png."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.benchmarks.harvest import Harvest, sounder, times
from tests.benchmarks.rounds_plot import draw_rounds

SEARCHES = ("end only", "independent", "in loop", "joined")
BELOW = 0.3
"""What the PRM must give a step for its branch to grow on."""


def write(out: Path, results: list[dict[str, Any]], *, wall_s: float) -> None:
    """report.json, report.md, rounds.png."""
    (out / "report.json").write_text(json.dumps({"wall_s": wall_s, "seeds": plain(results)}, indent=1))
    last = results[-1]
    left = {f"round {line.round_index}": line.left for line in last["stages"]["rounds"]}
    left["in loop"] = last["stages"]["in loop"][0].left
    picture = draw_rounds(
        {name: [(r[name].before, r[name].after) for r in results] for name in ("pruned", "unpruned")},
        {name: [r[name].per_1000 for r in results] for name in SEARCHES}
        | {"joined,\nat the end": [r["one rule"]["joined"][0].per_1000 for r in results]},
        left,
        title=f"tiny arithmetic model, seeds {', '.join(str(r['seed']) for r in results)}",
    )
    (out / "rounds.png").write_bytes(picture)
    lines = [
        "# What rounds and pruning buy",
        "",
        f"Tiny arithmetic model on CPUs, {wall_s / 60:.1f} minutes in all; figures counted from stored Parquet.",
        "",
        "## pass@1 on held-out problems, round 0 and round 1",
        "",
        "| seed | learned | trajectories learned | held-out problems | round 0 | round 1 | gain, points (95%) |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in results:
        lines += [
            f"| {r['seed']} | {name} | {x.examples:,} | {x.problems} | {x.before:.1%} | {x.after:.1%} "
            f"| {100 * x.gain:+.1f} ({100 * x.low:+.1f} to {100 * x.high:+.1f}) |"
            for name in ("pruned", "unpruned")
            for x in (r[name],)
        ]
    lines += [
        "",
        "## Pruning in the loop against pruning at the end: fresh problems, the generator as it came",
        "",
        "| seed | search | problems | solved | branches | kept | distinct | tokens | kept / 1,000 tokens "
        "| over the same trees cut at the end only (95%) | over independent (95%) | every line right |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        lines += [
            f"| {r['seed']} | {name} | {x.problems} | {x.solved} | {x.branches:,} | {x.kept:,} | {x.distinct:,} "
            f"| {x.tokens:,} | {x.per_1000:.1f} | {_times(x, r['end only'])} | {_times(x, r['independent'])} "
            f"| {x.sound:.1%} |"
            for name in SEARCHES
            for x in (r[name],)
        ]
    lines += _one_rule(results)
    for r in results:
        for name in ("in loop", "joined"):
            more, low, high = sounder(r[name], r["end only"])
            lines += [
                "",
                f"Seed {r['seed']}, {name}: of what is kept {100 * more:+.1f} points more is right in every line than "
                f"of what the same trees keep uncut (95%: {100 * low:+.1f} to {100 * high:+.1f}); {r[name].solved} "
                f"problems have something kept, uncut {r['end only'].solved}.",
            ]
    lines += ["", "All kept trajectories have passed the verifier.", "", "## The in-loop cut on audited problems", ""]
    lines += [
        "| seed | cut | problems | leaves given up | of them failing | failing in all | tokens saved | good lost |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['seed']} | {name}, {c.cut} | {c.problems} | {c.given_up} of {c.leaves} | {_share(c.precision)} "
        f"| {_share(c.failing)} | {_share(c.tokens_saved)} | {_share(c.good_lost)} |"
        for r in results
        for name, c in r["cuts"]
    ]
    lines += ["", "## The PRM of round 0 on held-out problems", ""]
    lines += [
        "| seed | scorer | AUC | first-error F1 | AUC, truth | first-error F1, truth | best of n by its minimum |",
        "|---|---|---|---|---|---|---|",
    ]
    keys = ("auc", "first_error_f1", "truth_auc", "truth_first_error_f1")
    lines += [
        f"| {r['seed']} | {s['scorer']} | "
        + " | ".join(f"{s[key] or 0:.3f}" for key in keys)
        + f" | {_picked(r['prm']['best_of_n'], s['scorer'])} |"
        for r in results
        for s in r["prm"]["scorers"]
    ]
    lines += [""]
    lines += [
        f"Seed {r['seed']}: best of {r['prm']['candidates']:.1f} by a random choice {b['random']:.1%}, by majority "
        f"{b['majority']:.1%}, by the verifier {b['verifier']:.1%}. `prm` is as it serves: `prm_alone`, the model, "
        "joined with the log-probability of what was written (`logprob`: that alone)."
        for r in results
        for b in (r["prm"]["best_of_n"],)
    ]
    (out / "report.md").write_text("\n".join([*lines, "", "![picture](rounds.png)", ""]))


def _one_rule(results: list[dict[str, Any]]) -> list[str]:
    lines = [
        "",
        f"The same rule at the end alone, and in the loop too: kept is what passed and has no step below {BELOW}.",
        "",
        "| seed | PRM | kept at the end, in the loop | tokens | solved | every line right | difference, points (95%) "
        "| kept a token, in the loop over at the end (95%) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        for name, (end, loop) in r["one rule"].items():
            more, low, high = sounder(loop, end)
            lines.append(
                f"| {r['seed']} | {name} | {end.kept:,}, {loop.kept:,} | {end.tokens:,}, {loop.tokens:,} "
                f"| {end.solved}, {loop.solved} | {end.sound:.1%}, {loop.sound:.1%} "
                f"| {100 * more:+.1f} ({100 * low:+.1f} to {100 * high:+.1f}) | {_times(loop, end)} |"
            )
    return lines


def _times(mine: Harvest, theirs: Harvest) -> str:
    if mine is theirs:
        return "1"
    value, low, high = times(mine, theirs)
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def _picked(best: dict[str, float], scorer: str) -> str:
    return _share(best.get(f"{scorer}_min"))


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def plain(value: Any) -> Any:
    """For JSON."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
