"""Holds the pruning rules, which decide what trajectories of one problem are kept. One file a rule.

trajectories + rules (in the config's order) ─► registry.prune ─► [Decision(keep, reason)]
"""

from berry.pipeline.core.prune.base import Decision
from berry.pipeline.core.prune.registry import prune

__all__ = ["Decision", "prune"]
