"""Draws the trees that a report shows: problems that passed seldom and often, few enough that the page stays small.

committed leases, a seeded few ─► trees ─► spread over the shares that passed ─► tree_json, until the page is full
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from berry.pipeline.errors import BerryError
from berry.pipeline.records import Ending, ending
from berry.pipeline.report.browser.tree_json import TokenEnds, tree_json
from berry.pipeline.stages.dataset.reading import StoredTree, read_leases
from berry.pipeline.storage.run.directory import RunDir

TREES = 12
LOOKED_AT = 48  # trees read, of which the shown ones are chosen
MOST_BYTES = 3_000_000  # of all trees, as JSON
MOST_NODES = 600
MOST_CHARS = 4_000


@dataclass(frozen=True, slots=True)
class Samples:
    """`trees` as tree_json writes them; `note` says how they were chosen; `unreadable`: what was damaged."""

    trees: tuple[dict[str, Any], ...]
    note: str
    unreadable: tuple[str, ...] = ()


def draw_samples(run: RunDir, *, token_ends: TokenEnds | None = None, seed: int = 0) -> Samples:
    """Trees from leases all over the run, spread over the shares that passed."""
    unreadable: list[str] = []
    seen = list(_some_trees(run, random.Random(seed), unreadable))
    chosen = _spread(seen, TREES)
    trees: list[dict[str, Any]] = []
    left = MOST_BYTES
    for stored in chosen:
        made = tree_json(stored, token_ends=token_ends, most_chars=MOST_CHARS, most_nodes=MOST_NODES)
        size = len(json.dumps(made, ensure_ascii=False).encode())
        if size > left:
            continue
        left -= size
        trees.append(made)
    note = (
        f"{len(trees)} trees, chosen by lot and spread over the shares that passed; berry view shows all of them."
        if trees
        else "No tree is committed yet."
    )
    return Samples(tuple(trees), note, tuple(unreadable))


def _some_trees(run: RunDir, chance: random.Random, unreadable: list[str]) -> Iterator[StoredTree]:
    """Up to LOOKED_AT trees of leases drawn by lot; a damaged lease is passed over and told."""
    found = 0
    for round_index in run.rounds():
        leases = sorted(run.committed(round_index))
        chance.shuffle(leases)
        for lease in leases:
            if found >= LOOKED_AT:
                return
            try:
                for stored in read_leases(run, round_index, [lease]):
                    found += 1
                    yield stored
            except BerryError as error:
                unreadable.append(str(error))


def _spread(trees: Sequence[StoredTree], most: int) -> list[StoredTree]:
    """At most `most` of them, at equal distances in order of the share that passed."""
    ordered = sorted(trees, key=lambda t: (_share_passed(t), t.problem_id, t.round_index))
    if len(ordered) <= most:
        return ordered
    return [ordered[round(i * (len(ordered) - 1) / (most - 1))] for i in range(most)]


def _share_passed(stored: StoredTree) -> float:
    endings = [ending(row["verdict"], row["verdict_reason"], row["finish"]) for row in stored.trajectories]
    passed, wrong = endings.count(Ending.PASS), endings.count(Ending.WRONG)
    return passed / (passed + wrong) if passed + wrong else -1.0


def list_row(tree: dict[str, Any]) -> dict[str, Any]:
    """What the browser's list shows of a tree."""
    leaves = [node["leaf"] for node in tree["nodes"] if node["leaf"] is not None]
    endings = [leaf["outcome"] for leaf in leaves]
    return {
        "problem": tree["problem"],
        "round": tree["round"],
        "passed": endings.count(Ending.PASS),
        "checked": endings.count(Ending.PASS) + endings.count(Ending.WRONG),
        "leaves": len(leaves),
        "kept": sum(leaf["kept"] for leaf in leaves),
    }
