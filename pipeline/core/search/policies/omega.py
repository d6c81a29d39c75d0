"""Finds the first wrong step of failed solutions by binary search (OmegaPRM, Luo et al. 2024).

    MC(s) = share of the k completions from prefix s that pass; the first wrong step is the first with MC = 0
    lo (MC > 0) and hi (MC = 0) around it; mid = (lo + hi) / 2: k completions from mid, and so on until hi = lo + 1

Only problems with 0 < MC < 1 at the root are searched: where all of the first solutions fail or pass, nothing is.

That takes about k · log2(steps) completions where Math-Shepherd takes k · steps. After the solutions themselves come
failed completions r from prefixes s with 0 < MC(s) < 1, the best `Q(s, r) + U(s)` first:

    Q(s, r) = alpha^(1 - MC(s)) · beta^(len(r) / L)        U(s) = c_puct · sqrt(sum_t N(t)) / (1 + N(s))

with N(s) the searches that started from s. The searches of one batch run side by side; the next batch is chosen when
all are done, so that nothing depends on the order of arrival. `Search.first_errors` has what was found, and the pooled
hard labels of the tree say the same: a step above a passing completion is right, one above none is wrong.

Degenerate cases: a solution of one step is wrong at that step, without a search; a step none of whose completions
could be verified ends its search without an answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import sqrt
from typing import Literal

from pydantic import Field

from berry.pipeline.config.sections.rollout.policies import PolicyConfig
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.tree import TreeNode
from berry.pipeline.core.values.counts import Counts, leaf_counts
from berry.pipeline.core.values.estimate import Heads, Scheme


class Omega(PolicyConfig):
    """Finds the first wrong step of failed solutions by binary search (OmegaPRM, Luo et al. 2024)."""

    type: Literal["omega"] = "omega"
    chains: int = Field(default=8, ge=1)
    """Solutions a problem at the start; those that fail are searched, if some pass (0 < MC < 1, as in the source)."""
    completions: int = Field(default=8, ge=1)
    """k: completions from a step to estimate its value."""
    searches: int = Field(default=4, ge=1)
    """Binary searches a problem at most; after the chains come failed completions, the most telling first."""
    alpha: float = Field(default=0.5, gt=0, le=1)
    """Preference for failures from prefixes of high value."""
    beta: float = Field(default=0.9, gt=0, le=1)
    """Preference for short completions."""
    length_tokens: int = Field(default=500, ge=1)
    """L: the length to which short is relative, in tokens."""
    c_puct: float = Field(default=0.125, ge=0)
    """Weight of exploration."""
    early_exit: bool = False
    """Cancel a step's other completions once one has passed: fewer tokens, but no values, since what is left depends on
    timing."""


@dataclass(slots=True)
class _Hunt:
    """One binary search over the steps of a failed rollout: `steps[lo]` is right (-1: its start), `steps[hi]` wrong."""

    leaf: str
    steps: list[TreeNode]
    lo: int
    hi: int
    mid: int = -1

    @property
    def done(self) -> bool:
        return self.hi - self.lo <= 1


class OmegaSearch(Search[Omega]):
    """Looks for the first wrong step of failed chains by binary search."""

    config = Omega
    needs_steps = True
    keeps_detail = True
    wants_token_ends = True
    heads = Heads.FORKS
    values_inside = False  # what is searched has failed
    cuts = False
    leaves_known = False  # completions follow the answers

    @classmethod
    def scheme(cls, rollout: Rollout) -> Scheme:
        drawn = super().scheme(rollout)
        policy = rollout.policy
        return replace(drawn, adaptive=True) if isinstance(policy, Omega) and policy.early_exit else drawn

    @classmethod
    def width(cls, policy: Omega) -> int:
        return policy.chains

    @classmethod
    def planned_leaves(cls, policy: Omega) -> int:
        """For solutions of one step: how many completions follow depends on the answers."""
        return policy.chains

    @classmethod
    def conflicts(cls, policy: Omega, rollout: Rollout) -> Iterator[str]:
        most = rollout.budget.max_leaves
        if most is not None and policy.chains + policy.completions > most:
            yield (
                f"rollout.policy (omega): {policy.chains} chains and {policy.completions} completions of one step are "
                f"more than rollout.budget.max_leaves = {most}: not one search could start"
            )

    def begin(self) -> None:
        self.first_errors: dict[str, str] = {}  # leaf of a failed rollout ─► node of its first wrong step
        self._hunts: dict[str, _Hunt] = {}  # node whose completions are awaited ─► the search that wants them
        self._found: dict[str, list[TreeNode]] = {}  # node ─► its completions that have a verdict
        self._awaited: dict[str, int] = {}  # node ─► completions without one
        self._starts: dict[str, int] = {}  # N(s)
        self._hunted: set[str] = set()
        self._searches = 0
        self._await(self.tree.root, self.policy.chains)

    def _await(self, node: TreeNode, n: int) -> None:
        self._awaited[node.node_id] = self.grow(node, n, to_end=True)
        self._found.setdefault(node.node_id, [])

    # ---- completions ------------------------------------------------------------------------------------------------

    def on_leaf(self, node: TreeNode) -> None:
        if node.drop is not None:
            self._came(node, verified=False)

    def on_step(self, node: TreeNode) -> None:
        self._came(node, verified=False)

    def on_verdict(self, node: TreeNode) -> None:
        if leaf_counts(node).passed:
            for part in self.sample(node):
                self.tree.forget_detail(part)
        self._came(node, verified=leaf_counts(node).checked > 0)

    def on_lost(self, node: TreeNode, count: int) -> None:
        self._awaited[node.node_id] -= count
        self._estimate_when_complete(node)

    def _came(self, leaf: TreeNode, *, verified: bool) -> None:
        source = self.source(leaf)
        self._awaited[source.node_id] -= 1
        if verified:
            self._found[source.node_id].append(leaf)
            if self.policy.early_exit and leaf_counts(leaf).passed and source.node_id in self._hunts:
                self.cancel(source)
        self._estimate_when_complete(source)

    def _mc(self, node: TreeNode) -> Counts:
        return sum((leaf_counts(leaf) for leaf in self._found.get(node.node_id, ())), Counts())

    # ---- searching --------------------------------------------------------------------------------------------------

    def _estimate_when_complete(self, node: TreeNode) -> None:
        if self._awaited[node.node_id] or self.stopping is not None:
            return
        hunt = self._hunts.pop(node.node_id, None)
        if hunt is None:
            return
        counts = self._mc(node)
        if not counts.checked:
            return
        if counts.passed:
            hunt.lo = hunt.mid
        else:
            hunt.hi = hunt.mid
        self._next(hunt)

    def _next(self, hunt: _Hunt) -> None:
        if hunt.done:
            self.first_errors[hunt.leaf] = hunt.steps[hunt.hi].node_id
            return
        hunt.mid = (hunt.lo + hunt.hi) // 2
        node = hunt.steps[hunt.mid]
        self._hunts[node.node_id] = hunt
        self._await(node, self.policy.completions)

    def on_idle(self) -> None:
        policy = self.policy
        left = policy.searches - self._searches
        for source, leaf in self._candidates()[: min(left, policy.chains)]:
            self._searches += 1
            self._hunted.add(leaf.node_id)
            self._starts[source.node_id] = self._starts.get(source.node_id, 0) + 1
            steps = self.cut_into_steps(leaf)
            self._next(_Hunt(leaf.node_id, steps, lo=-1, hi=len(steps) - 1))
        if self._searches < policy.searches and self.in_flight.sequences == 0 and self._candidates():
            self.on_idle()  # searches that were over at once leave room for more

    def _candidates(self) -> list[tuple[TreeNode, TreeNode]]:
        """(prefix, failed rollout from it) not searched yet, the most telling first."""
        policy = self.policy
        total = sum(self._starts.values())
        ranked: list[tuple[float, str, TreeNode, TreeNode]] = []
        for name, leaves in self._found.items():
            source = self.tree[name]
            counts = self._mc(source)
            if counts.soft is None or not counts.passed:
                continue  # nothing passes from here: below a wrong step, or too hard a problem, nothing is found
            explore = policy.c_puct * sqrt(total) / (1 + self._starts.get(name, 0))
            for leaf in leaves:
                if leaf_counts(leaf).passed or leaf.node_id in self._hunted:
                    continue
                length = (leaf.end - source.end) / policy.length_tokens
                merit = policy.alpha ** (1 - counts.soft) * policy.beta**length + explore
                ranked.append((-merit, leaf.node_id, source, leaf))
        ranked.sort(key=lambda entry: entry[:2])
        return [(source, leaf) for _, _, source, leaf in ranked]

    def policy_state(self) -> object:
        return (
            sorted(self.first_errors.items()),
            sorted((name, h.leaf, h.lo, h.hi, h.mid) for name, h in self._hunts.items()),
            sorted(self._awaited.items()),
            sorted(self._starts.items()),
            sorted(self._hunted),
            self._searches,
        )
