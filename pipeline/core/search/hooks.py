"""Declares what a policy says about itself before a run, and what it may answer to while a tree grows.

A policy is one file: a `PolicyConfig` (its keys, with a `type` of its own) and a subclass of `base.Search` that names
it as `config`, says how large its searches get and which keys can't work together, and overrides hooks. Only `config`,
`width`, `planned_leaves` and `begin` have no default.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Generic, TypeVar

from berry.pipeline.config.sections.rollout.policies import PolicyConfig
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.core.tree import TreeNode
from berry.pipeline.core.values.estimate import Heads

P = TypeVar("P", bound=PolicyConfig)


class Hooks(ABC, Generic[P]):
    """What is asked of a policy's class before a search, and called by the state machine (machine.py) during one, after
    its own books are up to date."""

    # ---- before a run: facts that follow from the configuration alone -----------------------------------------------

    config: ClassVar[type[PolicyConfig]]
    """The class that configures the policy; its `type` is the policy's name."""
    works_on_steps = True  # where the model never ends a step, the policy has nothing to work on
    needs_steps = False  # and a tree one step deep is of no use to it
    gives_up = False  # ranks siblings by a scorer and leaves some of them (so equal siblings are of no use to it)
    leaves_known = True  # `planned_leaves` is what comes out, whatever the answers are
    heeds_window = False  # keeps to `budget.max_in_flight`

    @classmethod
    @abstractmethod
    def width(cls, policy: P) -> int:
        """Sequences that a search samples at its start, before any budget."""

    @classmethod
    @abstractmethod
    def planned_leaves(cls, policy: P) -> int:
        """Trajectories a problem if nothing stops the search; where `leaves_known` is False, what is certain."""

    @classmethod
    def conflicts(cls, policy: P, rollout: Rollout) -> Iterator[str]:  # noqa: ARG003
        """What the configuration asks of this policy that it can't have, each in a sentence with the numbers; what
        holds for every policy is in conflicts.py."""
        return iter(())

    @classmethod
    def unpruned(cls, policy: P) -> tuple[PolicyConfig, str] | None:  # noqa: ARG003
        """A policy of the same size that gives nothing up, and the scorer that this one ranks by; None for one that
        gives up nothing (audit.py)."""
        return None

    @classmethod
    def spared_share(cls, policy: P) -> float:  # noqa: ARG003
        """Share of what the policy gives up that is grown on, drawn at random (`Search.give_up`)."""
        return 0.0

    @classmethod
    def stops_in_order(cls, rollout: Rollout) -> bool:  # noqa: ARG003
        """Whether the early stops of `rollout.budget` look at verdicts in the order of independent draws, so that
        values can be told all the same (`look_for_stop`, core/values/stopped.py)."""
        return False

    # ---- during a search --------------------------------------------------------------------------------------------

    keeps_detail = False  # per-token log-probabilities, entropies and text positions stay on the tree
    wants_token_ends = False  # cuts inside segments, so Completion.token_ends should be filled
    wants_entropies = False
    cuts = True  # grows step by step if there is an in-loop cut, so that it can act
    scores_steps = False  # waits for scores itself, so that an in-loop cut need not hold steps back

    heads = Heads.ALL  # which draws stand behind a node at which a segment was cut in two

    values_inside = True  # a step that ends inside a segment may take the segment's result as its value

    def scheduled(self, node: TreeNode, n: int) -> int:
        """How many of the samples from `node`, by index, are drawn whatever verdicts say, when the first `n` are asked
        for: what comes after them counts in no value."""
        del node
        return n

    @abstractmethod
    def begin(self) -> None:
        """Ask for the first segments."""

    def on_step(self, node: TreeNode) -> None:
        """A segment ended at a step: the trajectory can go on."""

    def on_leaf(self, node: TreeNode) -> None:
        """A trajectory has ended; its verdict is on the way if `node.drop` is None."""

    def on_cut(self, node: TreeNode) -> None:
        """The in-loop cut ends growth at `node`, which `on_step` may not have been told of: its score was too low, or
        it came in below such a node."""

    def on_score(self, node: TreeNode, value: float | None) -> None:
        """A score has come; None if it could not be had."""

    def on_verdict(self, node: TreeNode) -> None:
        """`node.verdict` has come."""

    def on_lost(self, node: TreeNode, count: int) -> None:
        """`count` children of `node` will not come."""

    def on_idle(self) -> None:
        """Nothing is in flight: ask for more, or the search ends."""

    def extend(self, leaves: int) -> None:
        """Use a grant of so many more leaves."""

    def wanted(self) -> int:
        """More leaves that would be of use, asked when the policy is done."""
        return 0

    def policy_state(self) -> object:
        """What `digest` should cover beyond the shared state; its repr must be deterministic."""
        return None
