"""What tests of calls and of episodes ask alike: limits drawn at random, what came out, and a faithful replay."""

from __future__ import annotations

import random
from typing import Any

from berry.pipeline.config.sections.rollout.rollout import Budget, Cut


def drawn_limits(chance: random.Random) -> dict[str, Any]:
    """A budget and perhaps a cut, as keys of a rollout."""
    return {
        "budget": Budget(
            stop_after_correct=chance.choice([None, 2]),
            max_leaves=chance.choice([None, 9]),
            max_depth=chance.choice([2, 64]),
        ),
        "cut": chance.choice([None, Cut(below=0.3, spare=0.5, speculative=chance.random() < 0.5)]),
    }


def outcome(played: Any) -> tuple[object, object, object]:
    """Nodes with their values, trajectories and ledger of a search that was played."""
    search = played.search
    nodes = [
        (n.node_id, n.parent_id, n.role, tuple(n.token_ids), n.value, n.value_n, n.value_kind, n.weight)
        for n in search.nodes()
    ]
    return nodes, [(t.trajectory_id, t.leaf, t.path, t.drop_reason) for t in search.trajectories()], search.ledger


def check_replay(played: Any, again: Any) -> None:
    """The same events in the same order give `again`, a fresh search, the same commands and the same state."""
    commands = list(again.start())
    for event in played.events:
        commands += again.handle(event)
    assert commands == played.commands
    assert again.digest() == played.search.digest()
