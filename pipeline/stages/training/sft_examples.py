"""Chooses the trajectories of a tree that the generator is fine-tuned on.

kept rows, or (the control) all that ended ─► distinct texts ─► at most `per_problem`, drawn by seed ─► [SftExample]
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from berry.pipeline.config.sections.rounds import PolicyTraining
from berry.pipeline.core.splits import Split
from berry.pipeline.records import Finish
from berry.pipeline.rewards.training.examples import SftExample
from berry.pipeline.stages.dataset.reading import StoredTree, read_trees
from berry.pipeline.storage.run.directory import RunDir


def collect_examples(
    run: RunDir, settings: PolicyTraining, split: Split, *, rounds: Sequence[int]
) -> list[tuple[str, SftExample]]:
    """Collects (problem, example) of the given rounds, `settings.most` of them at most.

    Problems held out, and those that decide when a reward model stops, teach the generator nothing: it becomes the
    reward model's backbone.
    """
    found = [
        (tree.problem_id, example)
        for tree in read_trees(run, rounds=rounds)
        if split.part(tree.family) == "train"
        for example in sft_examples(tree, settings)
    ]
    if settings.most is not None and len(found) > settings.most:
        found = random.Random(f"{settings.seed}/most").sample(found, settings.most)
    return found


def sft_examples(stored: StoredTree, settings: PolicyTraining) -> list[SftExample]:
    """Chooses the examples of one tree. Equal texts count once, so that an answer that is found often does not crowd
    out the others."""
    if settings.learn_from == "kept":
        distinct = {row["response"]: tuple(row["token_ids"]) for row in stored.kept}
    else:
        distinct = {
            row["response"]: tuple(stored.tree.response_ids(row["leaf"]))
            for row in stored.trajectories
            if row["finish"] == Finish.STOP.value
        }
    texts = sorted(distinct)
    random.Random(f"{settings.seed}/{stored.problem_id}").shuffle(texts)
    prompt = tuple(stored.tree.prompt_ids.tolist())
    return [SftExample(prompt, distinct[text]) for text in texts[: settings.per_problem]]
