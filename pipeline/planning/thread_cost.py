"""Computes what a trajectory takes of its rollout actor's one thread, and so how many tokens/s such a process can feed.

Workload, TreeShape, ToolLoad, Calibration ─► thread_cost ─► ThreadCost: vLLM's part, ours, tokens/s

An engine process hands requests to vLLM's own process, takes each token that comes back, and runs the searches, in one
thread. What a GPU could do beyond that it does not do: a small model on a fast GPU is fed by it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from berry.pipeline.config.plan import Calibration, Workload
from berry.pipeline.core.search.trial import TreeShape
from berry.pipeline.planning.tool_calls import ToolLoad


@dataclass(frozen=True, slots=True)
class ThreadCost:
    """What one trajectory asks of the thread: `tokens` that are generated for it, in `requests`; `vllm_s` and `own_s`
    are seconds of the thread in vLLM and in Berry. `measured`: False where all of it is `orchestration_ms`."""

    tokens: float
    requests: float
    vllm_s: float
    own_s: float
    measured: bool

    @property
    def trajectory_s(self) -> float:
        return self.vllm_s + self.own_s

    @property
    def tokens_per_s(self) -> float:
        """Tokens/s that one such thread can feed."""
        return self.tokens / self.trajectory_s if self.trajectory_s else math.inf


def thread_cost(w: Workload, tree: TreeShape, tools: ToolLoad, calibration: Calibration) -> ThreadCost:
    """The thread's time for one trajectory: a share for each token and each request where these are known; else, and
    for engines of a set pace, `orchestration_ms`."""
    tokens = tree.generated / tree.leaves * tools.sampled_share
    requests = tree.sequences / tree.leaves + tools.issued
    c = calibration
    costs = (c.vllm_token_us, c.vllm_request_us, c.own_token_us, c.own_request_us)
    if w.paced is not None or None in costs:
        return ThreadCost(tokens, requests, 0.0, c.orchestration_ms / 1e3, measured=False)
    vllm_token, vllm_request, own_token, own_request = (1e-6 * (cost or 0.0) for cost in costs)
    return ThreadCost(
        tokens,
        requests,
        vllm_s=vllm_token * tokens + vllm_request * requests,
        own_s=own_token * tokens + own_request * requests,
        measured=True,
    )
