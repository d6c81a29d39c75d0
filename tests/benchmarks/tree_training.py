"""What packing trees earns in training: trajectory tokens a second over the padded batch, in turns, on this machine.

    python -P tests/benchmarks/tree_training.py                              the tiny model, trees of 16, 64, 256 leaves
    python -P tests/benchmarks/tree_training.py --model smollm2-135m --leaves 16 64 --repeats 3
    python -P tests/benchmarks/tree_training.py --run RUN                    the trees that a run stored

A step is one tree, forward and backward under GRPO's loss. Trees are drawn with `--prompt` tokens before, `--segment`
tokens a segment and three levels of equal branching; `--run` takes a run's own. The padded batch reads all trajectories
of the tree, `--rows` at a time, as trainers do that do not know of trees. Beside the ratio of wall clocks stand the
tokens that each computes, and how far apart the two gradients are (relative).
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM

from berry.pipeline.config.sections.rounds import GrpoTraining
from berry.pipeline.core.assignment.splits import Split
from berry.pipeline.engines import models
from berry.pipeline.rewards.packing.attention import prefers_flex
from berry.pipeline.rewards.packing.model_check import relative_difference
from berry.pipeline.rewards.policy.batches import Passes, batches
from berry.pipeline.rewards.policy.examples import PolicyTree, every_tree, sequence
from berry.pipeline.rewards.policy.objectives.clipped_ratio import ClippedRatio
from berry.pipeline.stages.training.policy_trees import collect_trees
from berry.pipeline.storage.files import locate
from berry.pipeline.storage.run.directory import RunDir

BRANCHING = {16: (4, 2, 2), 64: (4, 4, 4), 256: (8, 8, 4)}
OBJECTIVE = ClippedRatio(GrpoTraining())


@dataclass(frozen=True, slots=True)
class Measured:
    seconds: float
    computed: int
    gradient: list[torch.Tensor]


def drawn_tree(leaves: int, *, prompt: int, segment: int, vocabulary: int, seed: int) -> PolicyTree:
    """Random tokens; segments are half to one and a half times `segment` long."""
    chance = random.Random(seed)

    def tokens(count: int) -> list[int]:
        return [chance.randrange(3, vocabulary) for _ in range(count)]

    before, level = tokens(prompt), [[]]
    for width in BRANCHING[leaves]:
        level = [
            [*above, *tokens(chance.randrange(segment // 2, segment * 3 // 2))] for above in level for _ in range(width)
        ]
    return PolicyTree(
        f"{leaves} leaves",
        [
            sequence(
                before,
                way,
                weight=1 / leaves,
                advantages=[chance.choice((-1.0, 1.0))] * len(way),
                logprobs=[-5.0] * len(way),
            )
            for way in level
        ],
    )


def measure(model: torch.nn.Module, tree: PolicyTree, passes: Passes) -> Measured:
    """One step's forward and backward, with the attention that a round takes for it."""
    if prefers_flex(model):
        chosen = "sdpa" if passes.tokens is None else "flex_attention"
        model.set_attn_implementation(chosen)  # pyright: ignore[reportCallIssue]
    model.zero_grad(set_to_none=True)
    start, computed = time.perf_counter(), 0
    for batch in batches([tree], passes):
        OBJECTIVE.loss(model, batch).backward()
        computed += batch.pack.ids.size
    if prefers_flex(model):
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return Measured(seconds, computed, [p.grad.clone() for p in model.parameters() if p.grad is not None])


def compare(model: torch.nn.Module, trees: Sequence[PolicyTree], *, rows: int, tokens: int, repeats: int) -> str:
    """A row of the table: medians over the trees and repeats of ratios measured in turns."""
    ratios, shares, apart, rates = [], [], [], []
    for tree in trees:
        flat = sum(len(one.ids) for one in tree.sequences)
        for _ in range(repeats):
            padded, packed = (measure(model, tree, passes) for passes in (Passes(None, rows), Passes(tokens, rows)))
            ratios.append(padded.seconds / packed.seconds)
            shares.append(flat / packed.computed)
            apart.append(relative_difference(packed.gradient, padded.gradient))
            rates.append(flat / packed.seconds)
    name = trees[0].problem_id if len(trees) == 1 else f"{len(trees)} trees"
    return (
        f"{name:>12} | {statistics.median(ratios):5.2f}x | {statistics.median(shares):5.2f}x | "
        f"{statistics.median(rates):24,.0f} | {max(apart):.1e}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny-arithmetic")
    parser.add_argument("--leaves", type=int, nargs="+", default=[16, 64, 256], choices=sorted(BRANCHING))
    parser.add_argument("--prompt", type=int, default=40)
    parser.add_argument("--segment", type=int, default=16)
    parser.add_argument("--rows", type=int, default=16, help="trajectories of a padded batch")
    parser.add_argument("--tokens", type=int, default=8192, help="most tokens of a pack")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--run", help="take the trees of this run, in place of drawn ones")
    parser.add_argument("--trees", type=int, default=8, help="of a run: how many")
    parser.add_argument("--device", default="cpu", help="of the model: cpu or cuda")
    options = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(models.resolve(options.model), dtype=torch.float32)
    model = model.eval().to(options.device)
    asked = {"rows": options.rows, "tokens": options.tokens, "repeats": options.repeats}
    if options.run:
        run = RunDir(locate(options.run))
        found = list(every_tree(collect_trees(run, GrpoTraining(per_problem=10_000), Split(0.0, 0.0), rounds=[0])))
        groups = [found[: options.trees]]
    else:
        size = {"prompt": options.prompt, "segment": options.segment, "vocabulary": model.config.vocab_size}
        groups = [[drawn_tree(leaves, **size, seed=leaves)] for leaves in options.leaves]
    compare(model, groups[0], **asked)  # warms up
    print("        tree |  wall  | tokens | tokens/s of trajectories | gradients apart")
    for trees in groups:
        print(compare(model, trees, **asked), flush=True)


if __name__ == "__main__":
    main()
