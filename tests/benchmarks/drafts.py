"""Counts how many drafted tokens a model accepts on trees, whose siblings repeat each other, and what that is worth.

    python tests/benchmarks/drafts.py [--problems 4] [--model smollm2-135m] [--policies fixed best_of_n]

Each policy is run without drafts and with n-gram drafts, on the same problems and seeds. Tokens a second are of the
engine while it has work (generated_tokens over the time that its sequences ran is left to the run's own figures): on
cores that others use too, look at the accepted share alone, which does not depend on the host.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

POLICIES = {
    "best_of_n": "{type: best_of_n, n: 8}",
    "fixed": "{type: fixed, branching: [4, 2]}",
}
DRAFTS = {
    "none": "{}",
    "ngram": "{speculative_config: {method: ngram, num_speculative_tokens: 4, prompt_lookup_min: 2, "
    "prompt_lookup_max: 4}}",
}


def run(folder: Path, policy: str, drafts: str, *, problems: int, model: str) -> dict[str, Any]:
    """The figures of one run in this process's child."""
    name = f"{policy}-{drafts}"
    recipe = Path(__file__).resolve().parents[2] / "configs/recipes/speculative.yaml"
    command = [sys.executable, "-m", "berry", "run", str(recipe), "--local"]
    command += [f"name={name}", f"storage.root={folder}", f"rollout.policy={POLICIES[policy]}", "report=false"]
    command += [f"engine.extra={DRAFTS[drafts]}", f"problems.0.count={problems}", f"engine.model={model}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((folder / name / "metrics" / "run.json").read_text(encoding="utf-8"))


def main() -> None:
    """Runs every policy with and without drafts and prints a row for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=4)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=POLICIES)
    chosen = parser.parse_args()
    print("policy      drafts  generated   drafted  accepted  share  tokens/s", flush=True)
    with tempfile.TemporaryDirectory(prefix="berry-drafts-") as folder:
        for policy in chosen.policies:
            for drafts in DRAFTS:
                seen = run(Path(folder), policy, drafts, problems=chosen.problems, model=chosen.model)
                drafted, accepted = seen["drafted_tokens"], seen["accepted_tokens"]
                share = f"{accepted / drafted:.0%}" if drafted else "-"
                print(
                    f"{policy:11} {drafts:6} {seen['generated_tokens']:10,} {drafted:9,} {accepted:9,} {share:>6} "
                    f"{seen['tokens_per_s']:9.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
