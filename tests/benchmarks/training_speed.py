"""What a training of the generator computes a second on one core: the `train_tflops` of a hardware sheet.

    python -P tests/benchmarks/training_speed.py --model smollm2-135m
    python -P tests/benchmarks/training_speed.py --model tiny-arithmetic --leaves 64

A step is one drawn tree (`tree_training.py`), packed: forward, backward and AdamW. Its FLOP are those that `berry plan`
counts, three forward passes of the tokens that are computed. Time is CPU time of a process with one thread, so that
others' work counts little; `--device cuda` takes the wall clock.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from transformers import AutoModelForCausalLM

from berry.pipeline.engines import models
from berry.pipeline.planning.models import model_sheet
from berry.pipeline.planning.training import train_flops
from berry.pipeline.rewards.policy.batches import Passes, batches
from tests.benchmarks.tree_training import OBJECTIVE, drawn_tree


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m", help="of configs/models")
    parser.add_argument("--leaves", type=int, default=16, choices=(16, 64, 256))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(models.resolve(options.model), dtype=torch.float32)
    model = model.eval().to(options.device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-6)
    sheet = model_sheet(options.model)
    clock = time.process_time if options.device == "cpu" else time.perf_counter
    rates, speeds = [], []
    for repeat in range(options.repeats + 1):
        tree = drawn_tree(options.leaves, prompt=40, segment=16, vocabulary=model.config.vocab_size, seed=repeat)
        start, computed = clock(), 0
        for batch in batches([tree], Passes(8192, 16)):
            OBJECTIVE.loss(model, batch).backward()
            computed += batch.pack.ids.size
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if options.device == "cuda":
            torch.cuda.synchronize()
        seconds = clock() - start
        if repeat:  # the first warms up
            speeds.append(computed / seconds)
            rates.append(computed * train_flops(sheet, 64) / seconds / 1e12)
    print(
        f"{options.model}: {statistics.median(speeds):,.0f} computed tokens/s, {statistics.median(rates):.4f} TFLOP/s ",
        end="",
    )
    print(f"({min(rates):.4f} to {max(rates):.4f}), trees of {options.leaves} leaves")


if __name__ == "__main__":
    main()
