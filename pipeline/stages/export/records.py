"""What one stored tree gives for each export format.

StoredTree ─► sft | dpo | pairs | orm | prm | rl ─► records of layouts.py
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from berry.pipeline.config.rollout import Step, Thinking
from berry.pipeline.core.labels import LABELS, only, preferences
from berry.pipeline.core.tree import TreeNode
from berry.pipeline.core.values.estimate import Value
from berry.pipeline.records import ValueKind
from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.dataset.rows import Row
from berry.pipeline.stages.dataset.steps import split_steps
from berry.pipeline.stages.export.formats import Dpo, Orm, Pair, Prm, Rl, Sft, Source
from berry.pipeline.stages.training.step_labels import is_checked
from berry.verifiers.base import Outcome


@dataclass(frozen=True, slots=True)
class Filters:
    """`min_visits`: independent continuations behind a step's or a sibling's value; `min_confidence`: one minus the
    width of its 95% interval, in [0, 1]; `min_margin`: between siblings; `certain`: their intervals must not overlap;
    `per_problem`: most rows of one problem, drawn at random; `kinds`: of the values that are labels."""

    min_visits: int = 1
    min_confidence: float = 0.0
    min_margin: float = 0.0
    certain: bool = False
    per_problem: int | None = None
    kinds: tuple[ValueKind, ...] = LABELS


@dataclass(frozen=True, slots=True)
class Context:
    step: Step
    thinking: Thinking | None
    filters: Filters
    split: str = "train"


Record = Sft | Dpo | Pair | Orm | Prm | Rl


def confidence(value: Value) -> float:
    """One minus the width of the 95% interval of a value: 0 where nothing was checked."""
    return 1.0 - (value.high - value.low)


def sft(stored: StoredTree, context: Context) -> Iterator[Record]:
    del context
    for row in stored.kept:
        yield Sft(_origin(stored, row["trajectory_id"]), stored.messages, row["response"], row["orm"])


def dpo(stored: StoredTree, context: Context) -> Iterator[Record]:
    """Passing against failing whole answers: each text at least once, no pair twice."""
    del context
    chance = random.Random(stored.problem_id)
    good, bad = _texts(stored, Outcome.PASS), _texts(stored, Outcome.FAIL)
    if not good or not bad:
        return
    chance.shuffle(good)
    chance.shuffle(bad)
    for i in range(max(len(good), len(bad))):
        chosen, rejected = good[i % len(good)], bad[i % len(bad)]
        origin = _origin(stored, f"{chosen['trajectory_id']}>{rejected['trajectory_id']}")
        yield Dpo(origin, stored.messages, chosen["response"], rejected["response"])


def pairs(stored: StoredTree, context: Context) -> Iterator[Record]:
    tree, filters, values = stored.tree, context.filters, stored.values
    for found in preferences(
        tree, values, min_margin=filters.min_margin, min_n=filters.min_visits, kinds=filters.kinds
    ):
        if filters.certain and not found.certain:
            continue
        a, b = values[found.chosen], values[found.rejected]
        if min(confidence(a), confidence(b)) < filters.min_confidence:
            continue
        chosen, rejected = _text(tree[found.chosen]), _text(tree[found.rejected])
        if chosen == rejected or a.label is None or b.label is None:
            continue
        yield Pair(
            origin=_origin(stored, f"{found.chosen}>{found.rejected}"),
            messages=stored.messages,
            prefix="".join(map(_text, tree.path(tree[found.prefix]))),
            chosen=chosen,
            rejected=rejected,
            values=(a.label, b.label),
            visits=found.n,
            certain=found.certain,
        )


def orm(stored: StoredTree, context: Context) -> Iterator[Record]:
    del context
    for row in stored.trajectories:
        if is_checked(row):
            origin = _origin(stored, row["trajectory_id"])
            yield Orm(origin, stored.messages, row["response"], row["verdict"] == Outcome.PASS)


def prm(stored: StoredTree, context: Context) -> Iterator[Record]:
    """Steps whose label is not sure enough are joined to the next that is; a trajectory without any gives nothing."""
    prompt = stored.prompt.strip() if len(stored.messages) > 1 else stored.messages[0]["content"]
    filters = context.filters
    for row in stored.trajectories:
        if not is_checked(row) or row["leaf"] not in stored.tree:
            continue
        path = [stored.nodes[node.node_id] for node in stored.tree.path(stored.tree[row["leaf"]])]
        made = Prm(_origin(stored, row["trajectory_id"]), prompt, [], [], [], [], [], [], None)
        held = ""
        for step in split_steps(path, stored.values, context.step, context.thinking):
            held += step.text
            value = only(step.value, filters.kinds)
            if value.label is None or value.n < filters.min_visits or confidence(value) < filters.min_confidence:
                continue
            made.steps.append(held)
            made.soft.append(value.label)
            made.hard.append(bool(value.reached))
            made.visits.append(value.n)
            made.weights.append(value.mass)
            made.confidence.append(confidence(value))
            held = ""
        if made.steps:
            yield replace(made, first_error=next((i for i, h in enumerate(made.hard) if not h), None))


def rl(stored: StoredTree, context: Context) -> Iterator[Record]:
    """One row a problem; nothing where the run's problem files can't be read any more."""
    if stored.problem is None:
        return
    rate = only(stored.values[stored.tree.root.node_id], context.filters.kinds)
    yield Rl(
        origin=_origin(stored, stored.problem_id),
        messages=stored.messages,
        verifier=stored.problem.verifier.model_dump(mode="json"),
        source=stored.problem.source,
        pass_rate=rate.value,
        split=context.split,
    )


RECORDS: dict[str, Callable[[StoredTree, Context], Iterator[Record]]] = {
    "sft": sft,
    "dpo": dpo,
    "pairs": pairs,
    "orm": orm,
    "prm": prm,
    "rl": rl,
}


def _origin(stored: StoredTree, source_id: str) -> Source:
    return Source(stored.problem_id, source_id, stored.round_index)


def _texts(stored: StoredTree, outcome: Outcome) -> list[Row]:
    """Trajectories with this verdict, each text once."""
    found: dict[str, Row] = {}
    for row in stored.trajectories:
        if row["verdict"] == outcome and row["response"]:
            found.setdefault(row["response"], row)
    return list(found.values())


def _text(node: TreeNode) -> str:
    return node.text or ""
