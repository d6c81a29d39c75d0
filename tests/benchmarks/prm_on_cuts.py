"""What cuts do to a value model that learns from the trees they leave, on the synthetic engine, which knows the truth:
the same problems grown without cuts; with a cut, labelled as 0.1.0 did by the plain share of the leaves that are left
(`pooled`); and with a cut that spares a share (labels are estimates, weighted by their masses).

    PYTHONPATH=. python -P tests/benchmarks/prm_on_cuts.py                       (some minutes)
    PYTHONPATH=. python -P tests/benchmarks/prm_on_cuts.py --problems 600 --spare 0.05
    PYTHONPATH=. python -P tests/benchmarks/prm_on_cuts.py --seeds 5 --packing always

Columns: bias of the training labels against the true values, with two standard errors by problem; of the model on
held-out problems, whose trees are never cut: its mean error (`label_bias` of a report, against the truth) and its
calibration error, both against the true values, the mean over trainings that differ in their seed with the lowest and
the highest; tokens generated; seconds for growing and for a training. The cut's scorer is the truth with noise. No
figure is of a language model.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rewards import RewardTraining
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.values.counts import pooled
from berry.pipeline.core.values.estimate import Found, Scheme, Value, Values
from berry.pipeline.core.values.intervals import wilson
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.records import ValueKind
from berry.pipeline.report.summary import summarise
from berry.pipeline.rewards.training.evaluation import label_truth
from berry.pipeline.stages.leases.partition import iter_leases
from berry.pipeline.stages.problems.sources import survey
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.stages.training.reward_data import collect
from berry.pipeline.stages.training.reward_model import train_reward
from berry.pipeline.storage.run.directory import RunDir, prepare
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.checker import CheckRequest

SETTINGS: dict[str, Any] = {
    "backbone": {"type": "fresh", "layers": 2, "hidden": 32, "heads": 2, "max_tokens": 1024},
    "epochs": 4,
    "learning_rate": 5e-3,
    "batch_size": 8,
    "per_problem": 6,
    "heldout_share": 0.3,
    "validation_share": 0.1,
    "blend": False,
}


@dataclass(frozen=True)
class Case:
    """How trees are grown, and of which kind their values are: "pooled" as 0.1.0 took them."""

    name: str
    cut: dict[str, Any] | None
    labels: str = "estimate"


@dataclass(frozen=True)
class Row:
    """Figures of one case, against the truth."""

    name: str
    label_bias: float
    label_error: float
    mean_errors: list[float]
    calibration_errors: list[float]
    tokens: int
    grown_s: float
    trained_s: float


def cases(below: float, spare: float) -> list[Case]:
    cut = {"model": "prm", "below": below, "speculative": False}
    return [
        Case("no cut", None),
        Case("cut, pooled (0.1.0)", {**cut, "spare": 0.0}, "pooled"),
        Case(f"cut, {spare:g} spared", {**cut, "spare": spare}),
    ]


async def check(request: CheckRequest) -> Verdict:
    """The boxed number against the problem's."""
    said = request.response.rpartition("\\boxed{")[2].partition("}")[0]
    gold = getattr(request.spec, "answer", None)
    return verdict(Reason.CORRECT if said == gold else Reason.WRONG_ANSWER, answer=said)


class NoisyTruth:
    """A scorer that says the true value of a prefix with an error of standard deviation `noise`."""

    def __init__(self, engine: Synthetic, noise: float) -> None:
        self.engine = engine
        self.noise = noise

    async def score(
        self, *, model: str, prompt_ids: list[int], response_ids: list[int], logprob: float | None = None
    ) -> float:
        del model, logprob
        prefix = [*prompt_ids, *response_ids]
        return self.engine.true_value(prefix) + random.Random(f"{prefix}").gauss(0, self.noise)

    def versions(self) -> dict[str, str]:
        return {"prm": "noisy truth"}


def grown(case: Case, place: Path, *, problems: int, noise: float) -> tuple[RunDir, RunConfig]:
    """A run of one round in this process. Its held-out problems are audited, so that no cut touches them."""
    raw = {
        "name": place.name,
        "problems": [{"type": "synthetic", "count": problems, "seed": 9}],
        "engine": {"type": "synthetic", "filler_tokens": [0, 0], "tell": 1.0, "error_rate": [0.1, 0.3]},
        "rollout": {
            "policy": {"type": "fixed", "branching": [4, 2]},
            "step": {"type": "delimiter", "delimiters": ["\n\n"]},
            "sampling": {"max_tokens": 300},
            "cut": case.cut,
            "audit_share": 0.3,
        },
        "rewards": {"training": {**SETTINGS, "labels": [case.labels]}},
        "storage": {"lease_problems": 50},
    }
    config = validate(raw, RunConfig, where="benchmark")
    found = survey(config.problems)
    run, _ = prepare(str(place), config, {"problems": {"count": found.count, "digest": found.digest}})

    async def work() -> None:
        engine = Synthetic(config.engine)  # type: ignore[arg-type]
        worker = LeaseWorker(config, run.location, engine, check, "benchmark", scorer=NoisyTruth(engine, noise))
        for lease in iter_leases(config.problems, size=config.storage.lease_problems, skip=()):
            await worker.run(lease)
        await worker.close()

    asyncio.run(work())
    return run, config


def pooled_values(search: Search) -> Values:
    """The plain share of the leaves below each node, as 0.1.0 stored it, in place of `Search.values`."""
    found: Found = {}
    for node_id, count in pooled(search.tree).items():
        low, high = wilson(count.passed, count.checked)
        kind = ValueKind.POOLED if count.checked else None
        found[node_id] = Value(count.soft, low, high, count.checked, 1.0, kind, count.hard), None
    return Values(Scheme(), found)


def measured(case: Case, place: Path, *, problems: int, noise: float, seeds: int, packing: str) -> Row:
    began = time.monotonic()
    instead = patch.object(Search, "values", pooled_values) if case.labels == "pooled" else nullcontext()
    with instead:
        run, config = grown(case, place, problems=problems, noise=noise)
    grown_s = time.monotonic() - began
    settings = RewardTraining(**SETTINGS, labels=[case.labels], packing=packing)  # type: ignore[arg-type]
    speaks = vocabulary.of_engine(config.engine)
    splits = collect(run, config, settings, speaks, rounds=[0], progress=lambda *_: None).sample
    labels = label_truth(splits.train)
    lines = []
    for seed in range(seeds):
        report = train_reward(run, "prm", settings.model_copy(update={"seed": seed}), name=f"prm-{seed}").report
        lines.append(next(one for one in report["scorers"] if one["scorer"] == "prm"))
    return Row(
        case.name,
        labels["label_bias"],
        2 * labels["standard_error"],
        [line["truth_mean_error"] for line in lines],
        [line["truth_calibration_error"] for line in lines],
        summarise(run).generated_tokens,
        grown_s,
        (time.monotonic() - began - grown_s) / seeds,
    )


def _spread(values: Sequence[float], form: str) -> str:
    return f"{fmean(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--below", type=float, default=0.1, help="the cut's threshold")
    parser.add_argument("--spare", type=float, default=0.2, help="share of branches to be cut that goes on")
    parser.add_argument("--noise", type=float, default=0.3, help="standard deviation of the scorer's error")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each case")
    parser.add_argument("--packing", choices=["never", "always"], default="never", help="rewards.training.packing")
    args = parser.parse_args(argv)
    print(f"{'':20s} {'label bias':>15s} {'model: error':>24s} {'calibration':>22s} {'tokens':>9s} {'seconds':>9s}")
    with tempfile.TemporaryDirectory() as folder:
        for number, case in enumerate(cases(args.below, args.spare)):
            row = measured(
                case,
                Path(folder, f"run-{number}"),
                problems=args.problems,
                noise=args.noise,
                seeds=args.seeds,
                packing=args.packing,
            )
            errors, calibrations = _spread(row.mean_errors, "+.3f"), _spread(row.calibration_errors, ".3f")
            print(
                f"{row.name:20s} {row.label_bias:+8.3f} ±{row.label_error:.3f} {errors:>24s} {calibrations:>22s} "
                f"{row.tokens:9,} {row.grown_s:4.0f}+{row.trained_s:4.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
