"""What a policy may answer to. All but `begin` do nothing unless overridden."""

from __future__ import annotations

from abc import ABC, abstractmethod

from berry.pipeline.core.tree import TreeNode


class Hooks(ABC):
    """Called by the state machine (machine.py) after its own books are up to date."""

    keeps_detail = False  # per-token log-probabilities, entropies and text positions stay on the tree
    wants_token_ends = False  # cuts inside segments, so Completion.token_ends should be filled
    wants_entropies = False
    cuts = True  # grows step by step if there is an in-loop cut, so that it can act
    scores_steps = False  # waits for scores itself, so that an in-loop cut need not hold steps back

    @abstractmethod
    def begin(self) -> None:
        """Ask for the first segments."""

    def on_step(self, node: TreeNode) -> None:  # noqa: B027
        """A segment ended at a step: the trajectory can go on."""

    def on_leaf(self, node: TreeNode) -> None:  # noqa: B027
        """A trajectory has ended; its verdict is on the way if `node.drop` is None."""

    def on_cut(self, node: TreeNode) -> None:  # noqa: B027
        """The in-loop cut ends growth at `node`, which `on_step` may not have been told of: its score was too low, or
        it came in below such a node."""

    def on_score(self, node: TreeNode, value: float | None) -> None:  # noqa: B027
        """A score has come; None if it could not be had."""

    def on_verdict(self, node: TreeNode) -> None:  # noqa: B027
        """`node.verdict` has come."""

    def on_lost(self, node: TreeNode, count: int) -> None:  # noqa: B027
        """`count` children of `node` will not come."""

    def on_idle(self) -> None:  # noqa: B027
        """Nothing is in flight: ask for more, or the search ends."""

    def extend(self, leaves: int) -> None:  # noqa: B027
        """Use a grant of so many more leaves."""

    def wanted(self) -> int:
        """More leaves that would be of use, asked when the policy is done."""
        return 0

    def policy_state(self) -> object:
        """What `digest` should cover beyond the shared state; its repr must be deterministic."""
        return None

    @property
    @abstractmethod
    def planned_leaves(self) -> int:
        """Leaves the policy grows if nothing stops it (an upper bound where that depends on the answers)."""
