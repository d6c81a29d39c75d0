"""What a search policy asks of an engine: how many leaves, tokens and requests a problem, and what they
share.

    policy + lengths ─► Shape (stages of a growing tree) ─► Sharing (against independent samples)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import singledispatch

from berry.pipeline.config.base import Section
from berry.pipeline.config.plan import Workload
from berry.pipeline.core.search.best_of_n import BestOfN
from berry.pipeline.core.search.entropy import Entropy
from berry.pipeline.core.search.fixed import Fixed
from berry.pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Stage:
    """`live` sequences that each grow by `tokens`, starting `start` tokens after the prompt; `below` is
    how many distinct tokens of the tree (prompt left out) lie under them when they start."""

    live: float
    tokens: float
    start: float
    below: float


@dataclass(frozen=True, slots=True)
class Shape:
    """One problem's tree, in tokens of length `output` a trajectory."""

    leaves: float
    stages: tuple[Stage, ...]

    @property
    def generated(self) -> float:
        """Tokens generated a problem."""
        return sum(s.live * s.tokens for s in self.stages)

    @property
    def requests(self) -> float:
        """Sequences started a problem, each from a cached prefix."""
        return sum(s.live for s in self.stages)

    @property
    def width(self) -> float:
        """Sequences at once, averaged over the tokens they generate."""
        return sum(s.live * s.live * s.tokens for s in self.stages) / self.generated


@singledispatch
def stages(policy: Section, length: float, step: float) -> tuple[float, list[Stage]]:
    """Leaves and stages of a policy. Raises ConfigError for one the plan has no shape for."""
    name = getattr(policy, "type", type(policy).__name__)
    raise ConfigError(
        f"the plan knows no tree shape for policy {name} (at {length:g} tokens, steps of {step:g}): "
        f"plan it as best_of_n with as many trajectories"
    )


@stages.register
def _(policy: BestOfN, length: float, step: float) -> tuple[float, list[Stage]]:  # noqa: ARG001
    return policy.n, [Stage(policy.n, length, 0, 0)]


@stages.register
def _(policy: Fixed, length: float, step: float) -> tuple[float, list[Stage]]:
    out: list[Stage] = []
    live, start, below = 1.0, 0.0, 0.0
    for factor in policy.branching:
        live *= factor
        grow = min(step, length - start)
        if grow <= 0:
            break
        out.append(Stage(live, grow, start, below))
        start, below = start + grow, below + live * grow
    if length > start:
        out.append(Stage(live, length - start, start, below))
    return live, out


@stages.register
def _(policy: Entropy, length: float, step: float) -> tuple[float, list[Stage]]:  # noqa: ARG001
    """Forks lie anywhere in their chain, so a branch adds half a chain on average."""
    out = [Stage(policy.chains, length, 0, 0)]
    below = policy.chains * length
    live = policy.chains * policy.forks * policy.branches
    for _round in range(policy.rounds):
        out.append(Stage(live, length / 2, length / 2, below))
        below += live * length / 2
    return policy.chains + policy.rounds * live, out


def shape(workload: Workload) -> Shape:
    """The tree of one problem of this workload."""
    leaves, parts = stages(workload.policy, workload.output_tokens, workload.step_tokens)
    return Shape(leaves, tuple(parts))


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


def sharing(workload: Workload, tree: Shape) -> Sharing:
    """What the tree saves. Partial blocks are never shared: a branch recomputes (block + 1) / 2 tokens on
    average."""
    prompt, spread = workload.prompt_tokens, (1 + workload.output_scv) / 2
    weight = tree.generated
    partial = (workload.block_size + 1) / 2
    context = sum(s.live * s.tokens * (prompt + s.start + s.tokens * spread) for s in tree.stages) / weight
    # time in a stage goes as its tokens, whatever its width: average unique tokens over time, then a sequence
    steps = sum(s.tokens for s in tree.stages)
    unique = sum(s.tokens * (prompt + s.below + s.live * s.tokens * spread) for s in tree.stages) / steps
    live = sum(s.tokens * s.live for s in tree.stages) / steps
    if workload.prefix_caching:
        prefill = prompt + tree.requests * min(partial, prompt)
        resident = unique / live
    else:
        prefill = sum(s.live * (prompt + s.start) for s in tree.stages)
        resident = context
    length = workload.output_tokens
    return Sharing(
        generated=tree.generated,
        generated_independent=tree.leaves * length,
        prefill=prefill,
        prefill_independent=tree.leaves * prompt,
        context=context,
        resident=min(resident, context),
        resident_independent=prompt + length * spread,
    )


def depth_steps(workload: Workload) -> int:
    """Steps of one trajectory."""
    return max(1, math.ceil(workload.output_tokens / workload.step_tokens))
