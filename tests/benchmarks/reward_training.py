"""What packing earns in training a value model on a run's labels: trajectories a second over padded batches, in turns.

    python -P tests/benchmarks/reward_training.py RUN [--model tiny-arithmetic] [--batches 12] [--repeats 3]

A batch is that of `rewards.training`: 16 trajectories, padded and drawn at random, or four groups of four neighbours
of a tree. Forward and backward of the PRM's loss are timed. Beside the ratio of wall clocks stand the tokens of the
trajectories over those computed, and how far apart the two gradients are over the same rows (relative).
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

import torch

from berry.pipeline.config.sections.rewards import RewardTraining
from berry.pipeline.engines import models
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.rewards.model.loading import begin
from berry.pipeline.rewards.model.value_model import ValueModel
from berry.pipeline.rewards.packing.model_check import relative_difference
from berry.pipeline.rewards.training.examples import LabelBalance, TrainingSequence, samples
from berry.pipeline.rewards.training.packed_batches import GROUPS_A_BATCH, logits_at, neighbours, passes
from berry.pipeline.rewards.training.reward_trainer import weighted_loss
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.stages.training.reward_data import collect
from berry.pipeline.storage.run.directory import open_run

SETTINGS = RewardTraining()


def labelled_rows(name: str) -> list[TrainingSequence]:
    """The rows that `berry train` learns from."""
    run = open_run(name)
    config = stored_config(run)
    generator = vocabulary.of_engine(config.engine)
    found = collect(run, config, SETTINGS, generator, rounds=run.rounds(), progress=lambda *_: None)
    return samples(found.sample.train, what="prm", targets=SETTINGS.targets, min_visits=1, weigh_by_visits=True)


def gradient(
    model: ValueModel, rows: list[TrainingSequence], pack_tokens: int | None
) -> tuple[float, int, list[torch.Tensor]]:
    """Seconds of a forward and backward over the rows, the tokens computed, the gradient."""
    model.zero_grad(set_to_none=True)
    start, computed = time.perf_counter(), 0
    for one in passes(rows, pack_tokens=pack_tokens):
        weighted_loss(logits_at(model, one.pack, one.places), one, LabelBalance()).backward()
        computed += one.pack.ids.size
    seconds = time.perf_counter() - start
    return seconds, computed, [p.grad.clone() for p in model.parameters() if p.grad is not None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--model", default="tiny-arithmetic")
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    model = begin(models.resolve(options.model))
    with torch.no_grad():  # a head that starts from nothing gives the backbone no gradient
        next(model.head.parameters()).normal_(std=0.5)
    model.eval()
    rows = [
        TrainingSequence(tuple(i % model.vocabulary_size for i in row.ids), row.positions, row.targets, row.weights)
        for row in labelled_rows(options.run)
    ]
    chance = random.Random(0)
    size = SETTINGS.batch_size // GROUPS_A_BATCH
    grouped = [[rows[i] for i in some] for some in neighbours(rows, size)]
    chance.shuffle(grouped)
    packed = [
        [row for group in grouped[at : at + GROUPS_A_BATCH] for row in group]
        for at in range(0, len(grouped), GROUPS_A_BATCH)
    ][: options.batches]
    chance.shuffle(rows)
    padded = [rows[at : at + SETTINGS.batch_size] for at in range(0, len(rows), SETTINGS.batch_size)][: len(packed)]
    gradient(model, packed[0], SETTINGS.pack_tokens)  # warms up
    ratios, shares, apart = [], [], []
    for batch, other in zip(packed, padded, strict=True):
        shared = gradient(model, batch, SETTINGS.pack_tokens)
        for _ in range(options.repeats):
            alone = gradient(model, other, None)
            shared = gradient(model, batch, SETTINGS.pack_tokens)
            ratios.append((alone[0] / len(other)) / (shared[0] / len(batch)))
            shares.append(sum(len(row.ids) for row in batch) / shared[1])
        apart.append(relative_difference(shared[2], gradient(model, batch, None)[2]))
    print(f"{len(rows)} rows, {len(packed)} batches of {SETTINGS.batch_size}, {options.repeats} times in turns")
    print(f"trajectories a second, packed over padded: {statistics.median(ratios):.2f}x")
    print(f"tokens of the trajectories over those computed: {statistics.median(shares):.2f}x")
    print(f"gradients apart: {max(apart):.1e}")


if __name__ == "__main__":
    main()
