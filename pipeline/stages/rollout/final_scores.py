"""Scores a finished search with reward models: ORM values of leaves, and PRM values that were not asked for before.

    Tree ─► paths, each extended node by node ─► prefixes without a score ─► Scorer ─► node.prm, inner_prm, leaf.orm

In the loop a policy asks for what it needs with Score commands; what is kept needs scores at every step all the same,
at those that end inside a node too (inner_steps). A score that can't be had stays None and fails nothing. Prefixes of
one tree share their beginnings, so that a scorer that keeps prefixes reads each token once; and they are made one after
another, so that a tree of thousands of long answers is never there as thousands of copies.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.errors import EngineError, first_error
from berry.pipeline.stages.rollout.commands.ports import Scorer
from berry.verifiers.base import Outcome

AT_ONCE = 128  # prefixes that a scorer is asked for at once: several of its batches
log = logging.getLogger(__name__)


async def score_ends(
    tree: Tree, scorer: Scorer, models: Sequence[str], inside: Mapping[str, Sequence[int]] | None = None
) -> int:
    """Asks for all scores that are missing; `models` of "prm" and "orm"; `inside`: by node id, token offsets in it at
    which the PRM is asked too. Returns how many could not be had."""
    prompt_ids = tree.prompt_ids.tolist()
    free = asyncio.Semaphore(AT_ONCE)
    failed = 0

    async def one(
        node: TreeNode, model: str, response_ids: list[int], logprob: float | None, put: Callable[[float], None]
    ) -> None:
        nonlocal failed
        try:
            put(await scorer.score(model=model, prompt_ids=prompt_ids, response_ids=response_ids, logprob=logprob))
        except EngineError as error:
            log.warning("%s of %s: %s", model, node.node_id, error)
            failed += 1
        finally:
            free.release()

    try:
        async with asyncio.TaskGroup() as group:
            for node, ids, before in _prefixes(tree):
                for model, end, put in _wanted(node, models, (inside or {}).get(node.node_id, ())):
                    await free.acquire()
                    prefix = ids[: node.end - len(node.tokens) + end]
                    group.create_task(one(node, model, prefix, _logprob(node, end, before), put))
                    await asyncio.sleep(0)  # others have their turn between two copies
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors
    return failed


def _prefixes(tree: Tree) -> Iterator[tuple[TreeNode, list[int], float | None]]:
    """Each node below the root, parents first, with the response's tokens up to and with it (one list, which goes on to
    be used), and the log-probability in nats of those above it; None where the engine did not say."""
    ids: list[int] = []
    sums: list[float | None] = [0.0]  # by depth, along the path
    for node in tree.walk():
        if node.parent is None:
            continue
        del ids[node.parent.end :], sums[node.depth :]
        ids.extend(node.tokens)
        before, own = sums[-1], node.logprob_sum
        sums.append(None if before is None or own is None else before + own)
        yield node, ids, before


def _wanted(
    node: TreeNode, models: Sequence[str], inner_ends: Sequence[int]
) -> Iterator[tuple[str, int, Callable[[float], None]]]:
    """Which model is to score a node, after how many of its tokens, and what takes the score."""
    if not node.tokens:
        return
    if "prm" in models:
        if inner_ends and node.inner_prm is None:
            scores: list[float | None] = [None] * len(inner_ends)
            node.inner_prm = scores
            for at, end in enumerate(inner_ends):
                yield "prm", end, partial(scores.__setitem__, at)
        if node.prm is None:
            yield "prm", len(node.tokens), partial(setattr, node, "prm")
    checked = node.verdict is not None and node.verdict.outcome in Outcome
    if "orm" in models and node.orm is None and not node.children and checked:
        yield "orm", len(node.tokens), partial(setattr, node, "orm")


def _logprob(node: TreeNode, end: int, before: float | None) -> float | None:
    """Log-probability in nats of a response that ends after so many tokens of a node."""
    own = node.logprob_sum
    if end < len(node.tokens):
        own = None if node.logprobs is None else sum(node.logprobs[:end])
    return None if before is None or own is None else before + own
