"""What rounds and pruning buy, on the tiny arithmetic model, on CPUs alone.

    PYTHONPATH=. python -P tests/benchmarks/rounds.py --out runs/rounds-benchmark       (make rounds)
    PYTHONPATH=. python -P tests/benchmarks/rounds.py --out runs/rounds-3 --seeds 1 2 3

For each seed, every figure read back from the Parquet that the runs have stored:
  pruned       configs/rounds.yaml, two rounds: a PRM and an ORM are trained, the generator learns what was kept
  unpruned     the same round 0, then the generator learns as many trajectories drawn from all of them, wrong ones too
  independent  fresh problems, the generator as it came, 16 samples each, pruned by the verdict at the end
  end only     the same as trees of 16 leaves; a PRM scores their steps, and cuts nothing
  in loop      the same trees, whose branches are cut where the PRM of round 0, alone, sees little hope
  joined       the same, the PRM being joined with the engine's log-probabilities
The two PRMs' cuts are compared with end only as it is, and with end only under the rule that the cut applies in the
loop: no step below 0.3. There the same trajectories are kept either way, and what differs is what they have cost.
Writes report.md, report.json and rounds.png. A repeated command goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berry.pipeline.config.reading.loading import load
from berry.pipeline.config.run import RunConfig, dump
from berry.pipeline.core.search import audit
from berry.pipeline.report.pruning import cut_lines, stage_lines
from berry.pipeline.report.rounds import round_lines
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.storage.run.directory import RunDir, open_run
from berry.pipeline.storage.run.duckdb_views import connect
from tests.benchmarks.harvest import harvest
from tests.benchmarks.rounds_report import BELOW, write

CONFIG = str(Path(__file__).parents[2] / "configs/rounds.yaml")
INDEPENDENT = ["rollout.policy={type: best_of_n, n: 16}"]
END_ONLY = ["rollout.policy={type: fixed, branching: [2, 2, 4]}"]
CUT = [f"rollout.cut={{model: prm, below: {BELOW}, speculative: false}}", "rollout.audit_share=0.2"]
ALONE = ["rewards.prm.blend=false"]


@dataclass(frozen=True)
class Rate:
    """pass@1 on held-out problems by round, and the gain with its 95% interval over problems."""

    problems: int
    before: float
    after: float
    low: float
    high: float
    examples: int

    @property
    def gain(self) -> float:
        return self.after - self.before


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("runs/rounds-benchmark"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--problems", type=int, help="of the rounds; default: as configs/rounds.yaml has it")
    parser.add_argument("--fresh", type=int, default=100, help="problems for the in-loop comparison")
    args = parser.parse_args()
    started = time.monotonic()
    results = [one_seed(args.out / f"seed-{seed}", seed, args.problems, args.fresh) for seed in args.seeds]
    wall_s = time.monotonic() - started
    write(args.out, results, wall_s=wall_s)
    print((args.out / "report.md").read_text())


def one_seed(out: Path, seed: int, problems: int | None, fresh: int) -> dict[str, Any]:
    size = [] if problems is None else [f"problems.0.count={problems}"]
    rounds = ["rounds.count=2", "rounds.train=[prm, orm]", f"seed={seed}", f"problems.0.seed={1000 + seed}", *size]
    pruned = berry(out / "pruned", rounds)
    examples = _lessons(pruned)
    control = [*rounds, "rounds.train=[]", "rounds.policy.learn_from=all", f"rounds.policy.most={examples}"]
    copy_round_0(pruned, out / "unpruned", control)
    unpruned = berry(out / "unpruned", control)
    asked = ["rounds=null", f"seed={seed}", f"problems.0.count={fresh}", f"problems.0.seed={7000 + seed}"]
    prm = pruned.location.path("round=0/weights/prm")
    scored = [*asked, f"rewards.prm.model={prm}", *END_ONLY]
    in_loop, joined = berry(out / "in-loop", [*scored, *CUT, *ALONE]), berry(out / "joined", [*scored, *CUT])
    end_alone, end_only = berry(out / "end-alone", [*scored, *ALONE]), berry(out / "end-only", scored)
    independent = berry(out / "independent", [*asked, *INDEPENDENT])
    same = {
        row[0]
        for row in connect(in_loop).execute("select distinct problem_id from trajectories").fetchall()
        if not audit.is_unpruned(stored_config(in_loop), row[0])
    }
    return {
        "seed": seed,
        "pruned": rate(pruned),
        "unpruned": rate(unpruned),
        "independent": harvest(independent, same),
        "end only": harvest(end_only, same),
        "in loop": harvest(in_loop, same),
        "joined": harvest(joined, same),
        "one rule": {
            name: tuple(harvest(run, same, liked=BELOW) for run in pair)
            for name, pair in (("in loop", (end_alone, in_loop)), ("joined", (end_only, joined)))
        },
        "stages": {name: stage_lines(r) for name, r in (("rounds", pruned), ("in loop", in_loop))},
        "cuts": [(name, line) for name, r in (("in loop", in_loop), ("joined", joined)) for line in cut_lines(r)],
        "prm": json.loads(Path(prm, "report.json").read_text()),
    }


def berry(place: Path, overrides: list[str]) -> RunDir:
    began = time.monotonic()
    words = [sys.executable, "-m", "berry", "run", CONFIG, *overrides, "--run", str(place), "--local"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(words)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    print(f"{place}: {time.monotonic() - began:.0f} s", flush=True)
    return open_run(str(place))


def copy_round_0(run: RunDir, place: Path, overrides: list[str]) -> None:
    """A run with another way of learning that starts from the same trees: the first round is the same either way."""
    if place.exists():
        return
    source = Path(run.location.path(""))
    aside = place.with_name(place.name + ".new")
    shutil.rmtree(aside, ignore_errors=True)
    for table in ("nodes", "kept", "trajectories"):
        shutil.copytree(source / "round=0" / table, aside / "round=0" / table)
    shutil.copy(source / "versions.json", aside)
    (aside / "run.yaml").write_text(dump(load(CONFIG, overrides, RunConfig)))
    aside.rename(place)


def _lessons(run: RunDir) -> int:
    return int(json.loads(Path(run.location.path("round=0/weights/policy/card.json")).read_text())["trajectories"])


def rate(run: RunDir) -> Rate:
    """What `berry inspect` says of the two rounds (report/rounds.py)."""
    first, second = round_lines(run)
    gain, error = second.heldout_gain, second.heldout_gain_error
    assert first.heldout_pass_at_1 is not None
    assert second.heldout_pass_at_1 is not None
    assert gain is not None
    assert error is not None, "a held-out problem has no interval by itself"
    before, after = first.heldout_pass_at_1, second.heldout_pass_at_1
    return Rate(second.heldout_problems, before, after, gain - error, gain + error, _lessons(run))


if __name__ == "__main__":
    main()
