"""Scores a finished search with reward models: ORM values of leaves, and PRM values that were not asked for before.

    Tree ─► prefixes without a score ─► Scorer, all at once ─► node.prm, leaf.orm

In the loop a policy asks for what it needs with Score commands; what is kept needs scores at every node all the same.
A score that can't be had stays None and fails nothing. Prefixes of one tree share their beginnings, so that a scorer
that keeps prefixes reads each token once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from berry.pipeline.core.scorers import path_logprob
from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.errors import EngineError
from berry.pipeline.stages.rollout.ports import Scorer
from berry.verifiers.base import Outcome

log = logging.getLogger(__name__)


async def score_ends(tree: Tree, scorer: Scorer, models: Sequence[str]) -> int:
    """Asks for all scores that are missing; `models` of "prm" and "orm". Returns how many could not be had."""
    prompt_ids = tree.prompt_ids.tolist()

    async def one(node: TreeNode, model: str) -> bool:
        try:
            value = await scorer.score(
                model=model,
                prompt_ids=prompt_ids,
                response_ids=tree.response_ids(node.node_id),
                logprob=path_logprob(tree, node.node_id),
            )
        except EngineError as error:
            log.warning("%s of %s: %s", model, node.node_id, error)
            return False
        if model == "orm":
            node.orm = value
        else:
            node.prm = value
        return True

    wanted = [(node, model) for model in models for node in tree.walk() if _wants(node, model)]
    had = await asyncio.gather(*(one(node, model) for node, model in wanted))
    return len(had) - sum(had)


def _wants(node: TreeNode, model: str) -> bool:
    if node.parent is None or not node.tokens:
        return False
    if model == "prm":
        return node.prm is None
    checked = node.verdict is not None and node.verdict.outcome in Outcome
    return node.orm is None and not node.children and checked
