"""What a tool is worth to a model that has learned to use it, on CPUs alone: the tiny model with its tool, and without.

    PYTHONPATH=. python -P tests/benchmarks/tool_worth.py --out runs/tools       (make tools)

Two runs of configs/tools.yaml on the same problems, the second without `rollout.tools`; every figure is read back from
the Parquet that they have stored. Writes tools.md, tools.json and tree.png, one tree of the first run whose branches
differ. A repeated command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from berry.pipeline.report.browser.tree_json import tree_json
from berry.pipeline.report.pictures.tree_picture import draw_tree
from berry.pipeline.report.tool_calls import CallFigures, call_figures
from berry.pipeline.stages.dataset.reading import StoredTree, read_trees
from berry.pipeline.stages.evaluation.statistics import Interval, difference, interval
from berry.pipeline.storage.run.directory import RunDir, open_run
from berry.pipeline.storage.run.duckdb_views import connect

CONFIG = str(Path(__file__).parents[2] / "configs/tools.yaml")


@dataclass(frozen=True)
class Way:
    """One run. `values`: unbiased pass@1 of each problem, the value of its tree's root. `sampled` and `given`: tokens
    that the model wrote, and that tools did, a trajectory, shared prefixes counted for each."""

    name: str
    values: dict[str, float]
    trajectories: int
    sampled: float
    given: float
    calls: CallFigures | None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/tools"))
    parser.add_argument("--local", action="store_true", help="in one process each, without Ray")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="changes keys of both runs")
    args = parser.parse_args()
    runs = {
        "with its tool": berry(args.out / "with", args.overrides, local=args.local),
        "without": berry(args.out / "without", [*args.overrides, "rollout.tools=[]"], local=args.local),
    }
    ways = [measure(name, run) for name, run in runs.items()]
    (args.out / "tools.json").write_text(json.dumps([asdict(way) for way in ways], indent=1))
    text = table(ways)
    (args.out / "tools.md").write_text(text)
    chosen = telling(list(read_trees(runs["with its tool"])))
    draw_tree(tree_json(chosen)).savefig(args.out / "tree.png", dpi=110)
    print(f"\n{text}\ntree:    {args.out}/tree.png\nlook:    berry view {args.out}/with")


def berry(place: Path, overrides: Sequence[str], *, local: bool) -> RunDir:
    words = [sys.executable, "-m", "berry", "run", CONFIG, *overrides, "--run", str(place), *["--local"] * local]
    print(f"berry {' '.join(words[3:])}", flush=True)
    done = subprocess.run(words, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return open_run(str(place))


def measure(name: str, run: RunDir) -> Way:
    db = connect(run)
    roots = db.execute(
        "select problem_id, value from nodes where parent is null and value_kind = 'estimate'"
    ).fetchall()
    told = db.execute("select count(*), avg(n_tokens) from trajectories").fetchone()
    assert told is not None
    calls = call_figures(db)
    given = 0.0 if calls is None else _given_on_paths(run)
    return Way(name, dict(roots), told[0], told[1] - given, given, calls)


def _given_on_paths(run: RunDir) -> float:
    """Tokens of results on the way to a trajectory's end, on average."""
    counts = [
        sum(len(node.tokens) for node in stored.tree.path(stored.tree[row["leaf"]]) if node.given is not None)
        for stored in read_trees(run)
        for row in stored.trajectories
    ]
    return sum(counts) / len(counts)


def table(ways: Sequence[Way]) -> str:
    """The two ways, and their difference on the problems that both have a value of."""
    both = sorted(set.intersection(*(set(way.values) for way in ways)))
    values = [np.array([way.values[problem] for problem in both]) for way in ways]
    gain = difference(values[1], values[0])
    lines = [
        "| | pass@1 (95%) | calls a trajectory | tokens sampled, a trajectory | tokens given | time of a call |",
        "|---|---|---|---|---|---|",
    ]
    for way, of in zip(ways, values, strict=True):
        calls = way.calls
        made, took = "0", "–"
        if calls is not None:
            bad = calls.calls - calls.outcomes.get("ok", 0)
            made = f"{calls.a_trajectory:.2f} ({bad} of {calls.calls:,} not ok)"
            took = f"median {calls.ms_median:.1f} ms, 99% below {calls.ms_99:.1f} ms"
        row = [way.name, _percent(interval(of)), made, f"{way.sampled:.1f}", f"{way.given:.1f}", took]
        lines.append(f"| {' | '.join(row)} |")
    low, high = 100 * (gain.low or 0.0), 100 * (gain.high or 0.0)
    lines += [
        "",
        f"The tool is worth {100 * gain.mean:+.1f} points of pass@1 ({low:+.1f} to {high:+.1f}, p {gain.p:.4f}, paired "
        f"on {len(both)} problems; {ways[0].trajectories:,} and {ways[1].trajectories:,} trajectories).",
    ]
    return "\n".join(lines) + "\n"


def _percent(told: Interval) -> str:
    spread = "" if told.low is None or told.high is None else f" ({100 * told.low:.1f} to {100 * told.high:.1f})"
    return f"{100 * told.mean:.1f}%{spread}"


def telling(trees: Sequence[StoredTree]) -> StoredTree:
    """A tree of which a quarter to three quarters passed, with two calls in a row; of those the shortest, in which
    there is room for texts."""

    def order(stored: StoredTree) -> tuple[bool, bool, int, str]:
        passed = [row["verdict"] == "pass" for row in stored.trajectories]
        alike = not 0.25 <= sum(passed) / max(1, len(passed)) <= 0.75
        made = max(sum(at.given is not None for at in stored.tree.path(node)) for node in stored.tree.walk())
        return alike, made < 2, max(node.end for node in stored.tree.walk()), stored.problem_id

    return min(trees, key=order)


if __name__ == "__main__":
    main()
