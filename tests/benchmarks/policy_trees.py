"""Draws the tree that each search policy grows of one problem: `python -P tests/benchmarks/policy_trees.py`.

    tiny-arithmetic, nine modes of one run, a policy each ─► a problem of which most trees pass and fail ─► NAME.png

`docs/policies.md` shows the pictures. Value models are `logprob`, so that no other model is needed. `--run` keeps the
run in that folder and takes it from there the next time; `--problem` draws another one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import berry
from berry.pipeline.report.browser.tree_json import tree_json
from berry.pipeline.report.pictures.tree_picture import draw_tree
from berry.pipeline.stages.dataset.reading import StoredTree, read_trees
from berry.pipeline.storage.run.directory import open_run

DPI = 80
POLICIES: dict[str, dict[str, Any]] = {
    "best_of_n": {"n": 8},
    "fixed": {"branching": [3, 2, 2]},
    "entropy": {"chains": 3, "forks": 2, "branches": 2},
    "value": {"leaves": 10, "chains": 4, "scorer": "logprob"},
    "beam": {"beams": 3, "width": 3, "scorer": "logprob", "spare": 0.2},
    "dvts": {"subtrees": 3, "width": 3, "scorer": "logprob", "spare": 0.2},
    "mcts": {"simulations": 12, "parallel": 2, "width": 3},
    "shepherd": {"chains": 1, "completions": 3},
    "omega": {"chains": 3, "completions": 3, "searches": 1},
}


def make(folder: Path, problems: int, seed: int) -> None:
    """A run in this process whose modes are the policies."""
    config: dict[str, Any] = {
        "name": "policy-trees",
        "seed": seed,
        "problems": [{"type": "arithmetic", "count": problems, "seed": 17}],
        "engine": {"type": "vllm", "model": "tiny-arithmetic", "dtype": "float32", "max_model_len": 128},
        "rollout": {
            "step": {"type": "delimiter", "delimiters": ["\n"]},
            "sampling": {"temperature": 1.0, "max_tokens": 64},
            "modes": [{"name": name, "all": True, "policy": {"type": name, **keys}} for name, keys in POLICIES.items()],
        },
        "report": False,
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(config, file)  # JSON is YAML
        file.flush()
        berry.run(file.name, place=str(folder), local=True)


def by_problem(folder: Path) -> dict[str, dict[str, StoredTree]]:
    """The trees of each problem by their mode."""
    found: dict[str, dict[str, StoredTree]] = defaultdict(dict)
    for stored in read_trees(open_run(str(folder))):
        assert stored.mode is not None
        found[stored.family][stored.mode] = stored
    return found


def telling(trees: dict[str, StoredTree]) -> tuple[int, int]:
    """How many trees of a problem have both answers that pass and ones that don't; the fewer nodes, the better."""
    mixed = sum(len({row["verdict"] for row in stored.trajectories}) > 1 for stored in trees.values())
    return mixed, -sum(len(list(stored.tree.walk())) for stored in trees.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=12, help="of which one is drawn (default: 12)")
    parser.add_argument("--seed", type=int, default=1, help="of the run (default: 1)")
    parser.add_argument("--problem", help="draw this one (default: the one that tells most)")
    parser.add_argument("--run", type=Path, help="folder of the run, kept (default: a temporary one)")
    parser.add_argument("--out", type=Path, default=Path("docs/images/policies"), help="folder of the pictures")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder: Path = args.run or Path(temporary) / "run"
        if not folder.exists():
            make(folder, args.problems, args.seed)
        problems = by_problem(folder)
        chosen = args.problem or max(problems, key=lambda name: telling(problems[name]))
        args.out.mkdir(parents=True, exist_ok=True)
        for name, stored in problems[chosen].items():
            place = args.out / f"{name}.png"
            draw_tree(tree_json(stored)).savefig(place, dpi=DPI)
            print(f"{place}  {len(stored.trajectories)} leaves, {place.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
