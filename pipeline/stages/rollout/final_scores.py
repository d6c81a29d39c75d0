"""Scores a finished search with reward models: ORM values of leaves, and PRM values that were not asked for before.

    Tree ─► paths, each extended node by node ─► prefixes without a score ─► Scorer ─► node.prm, leaf.orm

In the loop a policy asks for what it needs with Score commands; what is kept needs scores at every node all the same.
A score that can't be had stays None and fails nothing. Prefixes of one tree share their beginnings, so that a scorer
that keeps prefixes reads each token once; and they are made one after another, so that a tree of thousands of long
answers is never there as thousands of copies.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence

from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.errors import EngineError, first_error
from berry.pipeline.stages.rollout.ports import Scorer
from berry.verifiers.base import Outcome

AT_ONCE = 128  # prefixes that a scorer is asked for at once: several of its batches
log = logging.getLogger(__name__)


async def score_ends(tree: Tree, scorer: Scorer, models: Sequence[str]) -> int:
    """Asks for all scores that are missing; `models` of "prm" and "orm". Returns how many could not be had."""
    prompt_ids = tree.prompt_ids.tolist()
    free = asyncio.Semaphore(AT_ONCE)
    failed = 0

    async def one(node: TreeNode, model: str, response_ids: list[int], logprob: float | None) -> None:
        nonlocal failed
        try:
            value = await scorer.score(model=model, prompt_ids=prompt_ids, response_ids=response_ids, logprob=logprob)
            if model == "orm":
                node.orm = value
            else:
                node.prm = value
        except EngineError as error:
            log.warning("%s of %s: %s", model, node.node_id, error)
            failed += 1
        finally:
            free.release()

    try:
        async with asyncio.TaskGroup() as group:
            for node, ids, logprob in _prefixes(tree):
                for model in models:
                    if _wants(node, model):
                        await free.acquire()
                        group.create_task(one(node, model, ids[: node.end], logprob))
                        await asyncio.sleep(0)  # others have their turn between two copies
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors
    return failed


def _prefixes(tree: Tree) -> Iterator[tuple[TreeNode, list[int], float | None]]:
    """Each node below the root, parents first, with the response's tokens up to and with it (one list, which goes on to
    be used) and their log-probability in nats; None where it has no token, or the engine did not say."""
    ids: list[int] = []
    sums: list[float | None] = [0.0]  # by depth, along the path
    for node in tree.walk():
        if node.parent is None:
            continue
        del ids[node.parent.end :], sums[node.depth :]
        ids.extend(node.tokens)
        before, own = sums[-1], node.logprob_sum
        sums.append(None if before is None or own is None else before + own)
        yield node, ids, sums[-1] if node.end else None


def _wants(node: TreeNode, model: str) -> bool:
    if node.parent is None or not node.tokens:
        return False
    if model == "prm":
        return node.prm is None
    checked = node.verdict is not None and node.verdict.outcome in Outcome
    return node.orm is None and not node.children and checked
