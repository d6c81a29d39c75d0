"""What the generator is best trained for: held-out pass@1 after one round of `sft`, `grpo` and `tree`.

    PYTHONPATH=. python -P tests/benchmarks/objectives.py --out runs/objectives --seeds 1 2 3

For each seed all three learn from the same trees of round 0, so that generated tokens are equal; `epochs` is set so
that the model computes as many tokens in training (`sft` has those of configs/rounds.yaml), so that wall time is about
equal too: it is measured and stands beside. Figures are read back from the Parquet that the runs have stored. Writes
objectives.json and objectives.png, and prints a table. A repeated command goes on where it was.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from berry.pipeline.config.reading.loading import load
from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.assignment.splits import split_of
from berry.pipeline.report.pictures.plots import MARKERS, PALETTE, STYLE
from berry.pipeline.report.rounds import round_lines
from berry.pipeline.rewards.packing.layout import packed_tokens
from berry.pipeline.rewards.policy.examples import every_tree
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.stages.training.policy_trees import collect_trees
from berry.pipeline.storage.run.directory import RunDir, open_run
from tests.benchmarks.rounds import CONFIG, berry, copy_round_0

OBJECTIVES = {
    "sft": ["rounds.policy.type=sft"],
    "grpo": ["rounds.policy={type: grpo, learning_rate: 0.0003, clip_high: 0.28, max_gap: 1.0}"],
    "tree": ["rounds.policy={type: tree, learning_rate: 0.0003, clip_high: 0.28, max_gap: 1.0}"],
}
MOST_EPOCHS = 8.0


@dataclass(frozen=True)
class Outcome:
    """Of one training: pass@1 on held-out problems before and after, the gain with the half-width of its 95% interval
    over problems, epochs, tokens that the model computed in them, and seconds of the training process, its start
    included (None where the run was there already)."""

    before: float
    after: float
    gain: float
    error: float
    problems: int
    epochs: float
    computed: int
    wall_s: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/objectives"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--problems", type=int, default=1200)
    parser.add_argument("--branching", default="[2, 2]", help="of each tree (default: [2, 2])")
    args = parser.parse_args()
    found: dict[str, list[Outcome]] = {name: [] for name in OBJECTIVES}
    for seed in args.seeds:
        for name, outcome in one_seed(args.out / f"seed-{seed}", seed, args.problems, args.branching).items():
            found[name].append(outcome)
        write(args.out, found, args.seeds)
    print_table(found, args.seeds)


def one_seed(out: Path, seed: int, problems: int, branching: str) -> dict[str, Outcome]:
    common = [
        *("rounds.train=[]", f"seed={seed}", f"problems.0.seed={1000 + seed}", f"problems.0.count={problems}"),
        *(f"rollout.policy={{type: fixed, branching: {branching}}}", "report=false"),
    ]
    first = berry(out / "round-0", [*common, "rounds.count=1"])
    budget: float | None = None
    outcomes: dict[str, Outcome] = {}
    for name, own in OBJECTIVES.items():
        overrides = [*common, "rounds.count=2", *own]
        settings = load(CONFIG, overrides, RunConfig)
        assert settings.rounds is not None
        assert settings.rounds.policy is not None
        an_epoch = tokens_of_an_epoch(first, settings)
        budget = settings.rounds.policy.epochs * an_epoch if budget is None else budget
        epochs = min(MOST_EPOCHS, budget / an_epoch)
        overrides.append(f"rounds.policy.epochs={epochs:.2f}")
        copy_round_0(first, out / name, overrides)
        wall_s = run_timed(out / name, overrides)
        outcomes[name] = outcome_of(open_run(str(out / name)), epochs, wall_s)
        print(f"seed {seed}: {name}: {outcomes[name]}", flush=True)
    return outcomes


def tokens_of_an_epoch(run: RunDir, config: RunConfig) -> int:
    """That the model computes in one pass over what it learns from."""
    assert config.rounds is not None
    assert config.rounds.policy is not None
    trees = collect_trees(run, config.rounds.policy, split_of(stored_config(run)), rounds=[0])
    return sum(packed_tokens([one.ids for one in tree.sequences]) for tree in every_tree(trees))


def run_timed(place: Path, overrides: list[str]) -> float | None:
    """Runs to the end; the seconds between the two lines that frame the training."""
    words = [sys.executable, "-m", "berry", "run", CONFIG, *overrides, "--run", str(place), "--local"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    began = ended = None
    said: list[str] = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("learning from round 0"):
            began = time.monotonic()
        elif line.startswith("taking new weights"):
            ended = time.monotonic()
    if process.wait() != 0:
        sys.exit(f"{' '.join(words)}\n{''.join(said)[-3000:]}")
    return None if began is None or ended is None else ended - began


def outcome_of(run: RunDir, epochs: float, wall_s: float | None) -> Outcome:
    first, second = round_lines(run)
    assert first.heldout_pass_at_1 is not None
    assert second.heldout_pass_at_1 is not None
    assert second.heldout_gain is not None
    assert second.heldout_gain_error is not None
    card = json.loads(Path(run.location.path("round=0/weights/policy/card.json")).read_text())
    return Outcome(
        before=first.heldout_pass_at_1,
        after=second.heldout_pass_at_1,
        gain=second.heldout_gain,
        error=second.heldout_gain_error,
        problems=second.heldout_problems,
        epochs=epochs,
        computed=int(card["metrics"]["computed_tokens"]),
        wall_s=wall_s,
    )


def pooled(outcomes: list[Outcome]) -> tuple[float, float]:
    """The mean gain over seeds, which have other problems, and the half-width of its 95% interval."""
    count = len(outcomes)
    return sum(one.gain for one in outcomes) / count, sqrt(sum(one.error**2 for one in outcomes)) / count


def print_table(found: dict[str, list[Outcome]], seeds: list[int]) -> None:
    print(
        "| objective | seed | held-out problems | before | after | gain, points (95%) | epochs | computed | seconds |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for name, outcomes in found.items():
        for seed, one in zip(seeds, outcomes, strict=True):
            wall = "–" if one.wall_s is None else f"{one.wall_s:.0f}"
            print(
                f"| {name} | {seed} | {one.problems} | {one.before:.1%} | {one.after:.1%} "
                f"| {100 * one.gain:+.1f} ± {100 * one.error:.1f} | {one.epochs:.2f} | {one.computed:,} | {wall} |"
            )
        gain, error = pooled(outcomes)
        print(
            f"| {name} | all | {sum(o.problems for o in outcomes)} | | | {100 * gain:+.1f} ± {100 * error:.1f} | | | |"
        )


def write(out: Path, found: dict[str, list[Outcome]], seeds: list[int]) -> None:
    plain: dict[str, Any] = {name: [asdict(one) for one in outcomes] for name, outcomes in found.items()}
    (out / "objectives.json").write_text(json.dumps(plain, indent=1))
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for i, (name, outcomes) in enumerate(found.items()):
            for j, one in enumerate(outcomes):
                at = i + 0.14 * (j - (len(outcomes) - 1) / 2)
                axes.errorbar(at, one.gain, one.error, marker=MARKERS[i], color=PALETTE[i], alpha=0.5, capsize=2)
            gain, error = pooled(outcomes)
            axes.errorbar(i + 0.35, gain, error, marker=MARKERS[i], color=PALETTE[i], capsize=4, label=f"{name}, all")
        axes.axhline(0, color="0.6", linewidth=1)
        axes.set_xticks(range(len(found)), list(found))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_title(f"gain in held-out pass@1 after one round, seeds {', '.join(map(str, seeds))}", fontsize=10)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=130)
    (out / "objectives.png").write_bytes(buffer.getvalue())


if __name__ == "__main__":
    main()
