"""Tells what a search policy asks of an engine a problem, and what its trees save over independent samples.

policy + lengths ─► core.search.trial ─► TreeShape (leaves, tokens, requests) ─► Sharing (prefill, contexts, KV)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from berry.pipeline.config.plan import Workload
from berry.pipeline.core.search.trial import Lengths, TreeShape, tree_shape


def shape_of(workload: Workload) -> TreeShape:
    """Grows the mean tree of one problem of this workload."""
    lengths = Lengths(
        output=workload.output_tokens,
        output_scv=workload.output_scv,
        step=workload.step_tokens,
        pass_rate=workload.pass_rate,
        within=workload.output_within,
        alike=workload.pass_rate_alike,
        max_depth=workload.max_depth,
    )
    return tree_shape(workload.policy, lengths)


@dataclass(frozen=True, slots=True)
class Sharing:
    """A tree against as many independent samples without a prefix cache; tokens a problem, contexts a
    sequence.

    `context`: tokens behind a decoding sequence on average. `resident`: KV tokens in memory for each
    decoding sequence, shared ones divided up; also what a step would read for each if the attention
    kernel read shared prefixes once (the time model does not assume that).
    """

    generated: float
    generated_independent: float
    prefill: float
    prefill_independent: float
    context: float
    resident: float
    resident_independent: float


def sharing(workload: Workload, tree: TreeShape) -> Sharing:
    """Computes what the tree saves. Partial blocks are never shared: a branch recomputes (block + 1) / 2 tokens on
    average. An engine reads for each sample of a request; a paced one, which is synthetic, once a request."""
    prompt, spread = workload.prompt_tokens, (1 + workload.output_scv) / 2
    reads = tree.requests if workload.paced else tree.sequences
    context = prompt + tree.behind
    if workload.prefix_caching:
        prefill = prompt + reads * min((workload.block_size + 1) / 2, prompt)
        resident = (prompt + tree.distinct) / tree.running
    else:
        prefill = reads * (prompt + tree.starts)
        resident = context
    return Sharing(
        generated=tree.generated,
        generated_independent=tree.independent,
        prefill=prefill,
        prefill_independent=tree.leaves * prompt,
        context=context,
        resident=min(resident, context),
        resident_independent=prompt + workload.output_tokens * spread,
    )


def depth_steps(workload: Workload) -> int:
    """Counts the steps of one trajectory."""
    return max(1, math.ceil(workload.output_tokens / workload.step_tokens))
