"""Prepares a rollout actor whose engine is spread over several nodes.

    placement group: one bundle a GPU ─► this actor in the first ─► the engine's process, a driver of Ray's of its own
                                                                         └─► a part in every bundle

One part that dies ends the engine's process, and with it this actor (`RolloutActor._die`): its leases are handed out
again. Where a node was lost, Ray gives the group another, and the actor that it has started again waits for that.
"""

from __future__ import annotations

import logging
import os
from collections import Counter

import ray
from ray.util import get_current_placement_group, placement_group_table

from berry.pipeline.errors import EngineError

log = logging.getLogger(__name__)


async def until_all_parts_have_a_place() -> None:
    """Waits until every bundle of this actor's placement group is on a node, and says where parts of a stage lie on
    several nodes that need not."""
    group = get_current_placement_group()
    if group is None:
        raise EngineError("an engine over several nodes must be in a placement group, and this actor is in none")
    await group.ready()
    held = Counter(placement_group_table(group)["bundles_to_node_id"].values())
    if len(set(held.values())) > 1:
        log.warning(
            "an engine lies on %d nodes with %s of its GPUs, not as many on each: layers that are split may talk over "
            "the network. Empty nodes let Ray pack it",
            len(held),
            ", ".join(str(count) for count in held.values()),
        )


def let_the_engine_find_ray() -> None:
    """Tells the engine's process, which inherits this one's environment, which cluster this is, and whether it asks for
    a token: left alone it looks for the newest one on this host, and takes a token that lies there for asked for."""
    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
