"""Memory of trainings on a million kept rows of four rounds: `python -P tests/benchmarks/training_memory.py`.

Makes a run of the synthetic engine in this process (`--rows` kept trajectories over four rounds, of which each is the
same files under another name), then goes through one epoch of it in a process of its own, for the generator (`sft`) and
for a PRM: every tree is counted or written, every step is read and packed as training does, and each `--every`-th step
is taken by a small model with AdamW. Prints the memory at a tenth of the steps and the most that came after it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.engines.synthetic.engine import Synthetic
from berry.pipeline.stages.leases.partition import iter_leases
from berry.pipeline.stages.problems.sources import survey
from berry.pipeline.stages.rollout.worker import LeaseWorker
from berry.pipeline.storage.run.directory import RunDir, open_run, prepare
from berry.verifiers.base import Reason, Verdict, verdict
from berry.verifiers.checker import CheckRequest

ROUNDS = 4
LEAVES = 16
BATCH = 64


async def _check(request: CheckRequest) -> Verdict:
    said = request.response.rpartition("\\boxed{")[2].partition("}")[0]
    right = said == getattr(request.spec, "answer", None)
    return verdict(Reason.CORRECT if right else Reason.WRONG_ANSWER, answer=said)


def make(folder: str, rows: int) -> int:
    """A run of four rounds, all of whose trajectories are kept; how many those are."""
    raw = {
        "name": "large",
        "problems": [{"type": "synthetic", "count": rows // ROUNDS // LEAVES, "seed": 9, "steps": [2, 4]}],
        "engine": {"type": "synthetic", "filler_tokens": [1, 3]},
        "rollout": {
            "policy": {"type": "fixed", "branching": [4, 4]},
            "step": {"type": "delimiter", "delimiters": ["\n\n"]},
            "sampling": {"max_tokens": 200},
        },
        "rewards": {"training": {"heldout_share": 0.02, "validation_share": 0.01, "sample_size": 2000}},
        "pruning": [],
        "storage": {"lease_problems": 128},
    }
    config = validate(raw, RunConfig, where="benchmark")
    found = survey(config.problems)
    run, _ = prepare(folder, config, {"problems": {"count": found.count, "digest": found.digest}})

    async def work() -> None:
        worker = LeaseWorker(config, run.location, Synthetic(config.engine), _check, "benchmark")  # type: ignore[arg-type]
        for lease in iter_leases(config.problems, size=config.storage.lease_problems, skip=()):
            await worker.run(lease)
        await worker.close()

    asyncio.run(work())
    for number in range(1, ROUNDS):
        for path in Path(folder, "round=0").rglob("*.parquet"):
            other = Path(folder, f"round={number}", path.parent.name, path.name)
            other.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, other)
    from berry.pipeline.storage.run.duckdb_views import connect

    counted = connect(open_run(folder)).execute("select count(*) from trajectories where kept").fetchone()
    assert counted is not None
    return counted[0]


def policy_steps(run: RunDir, every: int) -> Iterator[tuple[int, int]]:
    """Goes through an epoch of `sft`; yields how many steps are done, of how many."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from berry.pipeline.config.sections.rounds import SftTraining
    from berry.pipeline.core.assignment.splits import split_of
    from berry.pipeline.engines.text import vocabulary
    from berry.pipeline.rewards.policy.batches import Passes, batches
    from berry.pipeline.rewards.policy.objectives.sft import Sft
    from berry.pipeline.rewards.policy.step_reader import StepReader
    from berry.pipeline.rewards.training.step_order import StepOrder
    from berry.pipeline.stages.dataset.reading import stored_config
    from berry.pipeline.stages.training.policy_trees import collect_trees

    settings = SftTraining(epochs=1, batch_size=BATCH, per_problem=LEAVES)
    source = collect_trees(run, settings, split_of(stored_config(run)), rounds=run.rounds())
    order = StepOrder(source.sizes, step_size=BATCH, buffer=settings.shuffle_buffer, seed=0)
    size = vocabulary.of_engine(stored_config(run).engine).size
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=size, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
    )
    optimizer = torch.optim.AdamW(model.parameters())
    reader, objective, total = StepReader(source, order), Sft(), order.total
    print(f"{source.trajectories} rows", flush=True)
    for number in range(total):
        trees = reader.read(number)
        mass = sum(objective.mass(tree.sequences, tree.pairs) for tree in trees)
        for batch in batches(trees, Passes(settings.pack_tokens, settings.batch_size)):
            if number % every == 0:
                (objective.loss(model, batch) / mass).backward()
        if number % every == 0:
            optimizer.step()
            optimizer.zero_grad()
        yield number + 1, total


def reward_steps(run: RunDir, every: int) -> Iterator[tuple[int, int]]:
    """The same of a PRM: rows are written to files, and read step by step."""
    import torch

    from berry.pipeline.config.sections.rewards import FreshBackbone
    from berry.pipeline.engines.text import vocabulary
    from berry.pipeline.rewards.model.loading import fresh
    from berry.pipeline.rewards.training.examples import LabelBalance
    from berry.pipeline.rewards.training.packed_batches import logits_at, passes
    from berry.pipeline.rewards.training.retokenize import translate
    from berry.pipeline.rewards.training.reward_trainer import Order, weighted_loss
    from berry.pipeline.rewards.training.stored_rows import StoredRows
    from berry.pipeline.stages.dataset.reading import stored_config
    from berry.pipeline.stages.training.reward_data import TrainingFiles, collect

    config = stored_config(run)
    assert config.rewards is not None
    settings = config.rewards.training
    speaks = vocabulary.of_engine(config.engine)
    reader = vocabulary.for_fresh(speaks)
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        with TrainingFiles(work / "rows", work / "validation", "prm", settings, run) as files:
            rewrite = partial(translate, generator=speaks, reader=reader)
            found = collect(
                run, config, settings, speaks, rounds=run.rounds(), progress=_quiet, rewrite=rewrite, files=files
            )
        rows = StoredRows(work / "rows")
        print(f"{len(rows)} rows of {found.trajectories} trajectories", flush=True)
        model = fresh(FreshBackbone(layers=1, hidden=16, heads=2), vocabulary_size=reader.size, seed=0)
        optimizer = torch.optim.AdamW(model.parameters())
        order = Order(groups=-(-len(rows) // 4), groups_a_step=BATCH // 4, seed=0, epochs=1)
        for number in range(order.total):
            step = [row for at in order.step(number) for row in rows[4 * at : 4 * at + 4]]
            for one in passes(step, pack_tokens=settings.pack_tokens):
                if number % every == 0:
                    weighted_loss(logits_at(model, one.pack, one.places), one, LabelBalance()).backward()
            if number % every == 0:
                optimizer.step()
                optimizer.zero_grad()
            yield number + 1, order.total


def _quiet(_text: str, _share: float | None) -> None:
    return None


def child(folder: str, what: str, every: int) -> None:
    """Goes through an epoch, and prints the memory in MB at a tenth of it and the most after that."""
    import torch

    torch.set_num_threads(1)
    steps: Callable[[RunDir, int], Iterator[tuple[int, int]]] = policy_steps if what == "policy" else reward_steps
    process, began = psutil.Process(), time.monotonic()
    at_tenth = most = ended = 0.0
    total = 0
    for done, total in steps(open_run(folder), every):
        if done % max(1, total // 200) and done != total:
            continue
        if done == total:
            gc.collect()
        now = process.memory_info().rss / 2**20
        if done <= total / 10:
            at_tenth = max(at_tenth, now)
        most, ended = max(most, now), now
    print(f"{what}: {total} steps, {time.monotonic() - began:.0f} s")
    print(f"{what}: {at_tenth:.0f} MB up to a tenth, at most {most:.0f} ({most / at_tenth - 1:+.1%}), {ended:.0f} last")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--every", type=int, default=50, help="steps of which one is taken by the model (default: 50)")
    parser.add_argument("--what", choices=["policy", "reward"], nargs="+", default=["policy", "reward"])
    parser.add_argument("--run", help="folder of the run, kept (default: a temporary one)")
    parser.add_argument("--child", nargs=2, metavar=("RUN", "WHAT"), help=argparse.SUPPRESS)
    args: Any = parser.parse_args()
    if args.child:
        folder, what = args.child
        child(folder, what, args.every)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.run or f"{temporary}/run"
        if not Path(folder, "round=3").exists():
            print(f"{make(folder, args.rows):,} kept rows of {ROUNDS} rounds", flush=True)
        for what in args.what:
            words = [sys.executable, "-P", __file__, "--every", str(args.every), "--child", folder, what]
            subprocess.run(words, check=True)


if __name__ == "__main__":
    main()
