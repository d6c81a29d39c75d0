"""Tokens that a value model reads to score trees step by step, counted on a run's stored trees.

    python -P tests/benchmarks/scoring.py RUN [--together 32] [--model FOLDER] [--keep 65536]

Every node of every tree is scored as a search asks for it: depth by depth, `--together` problems at once, with prefixes
kept. Beside it: each trajectory read once from its beginning (what scoring at the end costs), and each node's whole
prefix read anew (the naive way). Values are compared with the naive way's on a sample.
"""

from __future__ import annotations

import argparse
import random
from itertools import islice

import torch

from berry.pipeline.rewards.model.loading import load
from berry.pipeline.rewards.serving.scorer import PrefixScorer
from berry.pipeline.stages.dataset.reading import StoredTree, read_trees
from berry.pipeline.storage.run.directory import open_run

SAMPLE = 200


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run")
    parser.add_argument("--model", help="default: the PRM that round 0 trained")
    parser.add_argument("--together", type=int, default=32)
    parser.add_argument("--keep", type=int, default=65536)
    args = parser.parse_args()
    torch.set_num_threads(1)
    run = open_run(args.run)
    model = load(args.model or run.location.path("round=0/weights/prm"))
    reader = PrefixScorer(model, keep_tokens=args.keep)
    trees = read_trees(run)
    once = nodes = count = 0
    sample: list[tuple[list[int], float]] = []
    while group := list(islice(trees, args.together)):
        count += len(group)
        once += sum(ends(tree) for tree in group)
        for prefixes in depths(group):
            values = reader.values(prefixes)
            nodes += len(prefixes)
            sample.extend(zip(prefixes, values, strict=True))
    reads = reader.reads
    print(f"{count} trees, {nodes:,} steps scored, {args.together} problems at once, {args.keep:,} tokens kept")
    print(f"each trajectory's tokens once   {once:>10,} tokens   1.00")
    print(f"step by step, prefixes kept     {reads.computed:>10,} tokens   {reads.computed / once:.2f}")
    print(f"step by step, naive             {reads.naive:>10,} tokens   {reads.naive / once:.2f}")
    chosen = random.Random(0).sample(sample, min(SAMPLE, len(sample)))
    off = [abs(PrefixScorer(model, keep_tokens=0).values([ids])[0] - value) for ids, value in chosen]
    print(f"largest difference of a value from the naive way's: {max(off):.1e}")


def ends(tree: StoredTree) -> int:
    """Tokens of all trajectories, prompts included."""
    return sum(
        len(tree.tree.prompt_ids) + tree.tree[row["leaf"]].end for row in tree.trajectories if row["leaf"] in tree.tree
    )


def depths(group: list[StoredTree]) -> list[list[list[int]]]:
    """Prefixes to score, one list a depth."""
    by_depth: dict[int, list[list[int]]] = {}
    for tree in group:
        for node in tree.tree.walk():
            if node.parent is not None and node.tokens:
                by_depth.setdefault(node.depth, []).append(
                    [*tree.tree.prompt_ids, *tree.tree.response_ids(node.node_id)]
                )
    return [by_depth[depth] for depth in sorted(by_depth)]


if __name__ == "__main__":
    main()
