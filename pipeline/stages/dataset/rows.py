"""Turns records into columns of the Parquet files, and rows back into records.

Node ⇄ nodes        Trajectory ⇄ trajectories        Problem + Trajectory + path ─► kept

Columns, since Arrow wants them: a dict for each row would be made only to be taken apart again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from operator import attrgetter
from typing import Any

from berry.pipeline import schema
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.core.values.estimate import Values
from berry.pipeline.engines.base import EngineInfo
from berry.pipeline.records import ASSISTANT, DropReason, Finish, Node, Problem, Trajectory, ValueKind
from berry.pipeline.stages.dataset.kept_tokens import add_tokens, has_ids
from berry.pipeline.stages.dataset.steps import Cutter, StepLabels, StepPlace
from berry.pipeline.storage.parquet.list_columns import NumberLists
from berry.pipeline.storage.parquet.shards import evidence_json
from berry.verifiers.base import Outcome, Reason, Verdict

Row = dict[str, Any]


ColumnLists = dict[str, Any]
"""By name: a list of a value for each row, or one of storage.parquet.list_columns."""

_OF_VERDICT = ("answer", "verdict", "verdict_reason", "evidence", "verify_ms")
_OF_PLACE = {"lease", "node", "parent", "leaf"}  # what the files say by number
_OF_NODE = [(name, attrgetter(name)) for name in schema.NODES.names if name not in _OF_PLACE and name != "logprob_sum"]
_OF_LABEL = {
    "step_values": attrgetter("label"),
    "step_lows": attrgetter("low"),
    "step_highs": attrgetter("high"),
    "step_counts": attrgetter("n"),
    "step_weights": attrgetter("mass"),
    "step_kinds": attrgetter("kind"),
    "step_reached": attrgetter("reached"),
}
_NOT_OWN = {*_OF_PLACE, *_OF_VERDICT, "variant_of", "response"}
_OF_TRAJECTORY = [(name, attrgetter(name)) for name in schema.TRAJECTORIES.names if name not in _NOT_OWN]


def empty(table: str) -> ColumnLists:
    """The columns of one of schema.TABLES, without rows yet; the lease is added when its files are written."""
    columns: ColumnLists = {name: [] for name in schema.TABLES[table].names if name != "lease"}
    if table == "kept":
        columns |= {"token_ids": NumberLists("i"), "logprobs": NumberLists("f")}
    return columns


def add_row(columns: ColumnLists, row: Mapping[str, Any]) -> None:
    """One row; what it does not name is null."""
    for name, values in columns.items():
        values.append(row.get(name))


def add_nodes(columns: ColumnLists, nodes: Sequence[Node], numbers: Mapping[str, int]) -> None:
    """Adds the nodes of one tree in the order in which `numbers` counts them, by id."""
    for name, get in _OF_NODE:
        columns[name].extend(map(get, nodes))
    columns["node"].extend(range(len(nodes)))
    columns["parent"].extend([None if node.parent_id is None else numbers[node.parent_id] for node in nodes])
    columns["logprob_sum"].extend([node.logprob_sum if node.logprobs is None else None for node in nodes])


def add_trajectories(
    columns: ColumnLists,
    problem: Problem,
    trajectories: Sequence[Trajectory],
    numbers: Mapping[str, int],
    responses: Sequence[str | None],
) -> None:
    """Adds the leaves of one tree, whose nodes are counted by `numbers`. `responses`: of those whose text is not that
    of the nodes along their paths; None of the others."""
    columns["leaf"].extend([numbers.get(t.leaf) for t in trajectories])
    columns["response"].extend(responses)
    for name, get in _OF_TRAJECTORY:
        columns[name].extend(map(get, trajectories))
    columns["variant_of"].extend([problem.variant_of] * len(trajectories))
    verdicts = [t.verdict for t in trajectories]
    told = {id(v): _told(v) for v in {id(v): v for v in verdicts}.values()}  # equal answers share one
    values = zip(*[told[id(v)] for v in verdicts], strict=True) if verdicts else ()
    for name, column in zip(_OF_VERDICT, values, strict=False):
        columns[name].extend(column)


def _told(verdict: Verdict | None) -> tuple[Any, ...]:
    """The columns `_OF_VERDICT`."""
    if verdict is None:
        return (None,) * len(_OF_VERDICT)
    evidence = evidence_json(verdict.evidence)
    return verdict.answer, verdict.outcome, verdict.reason, evidence, round(verdict.verify_ms, 2)


def add_kept(
    columns: ColumnLists,
    problem: Problem,
    kept: Sequence[tuple[Trajectory, Sequence[Node]]],
    numbers: Mapping[str, int],
    *,
    root: Node | None,
    values: Values,
    labels: StepLabels,
    rollout: Rollout,
    made_by: Mapping[str, Any],
) -> None:
    """Adds kept trajectories of one problem with their nodes, the root left out, and the values of its tree; those of
    the steps go to `labels`. `made_by`: see `made_by_engine`; a root that names its template arguments goes before."""
    n = len(kept)
    leaves = [path[-1] for _, path in kept]
    paths = [path for _, path in kept]
    cutter = Cutter(rollout.step, rollout.thinking)
    steps = [cutter.places(path) for path in paths]
    if root is not None and root.template_args is not None:
        made_by = {**made_by, "template_args": root.template_args}
    shared = {
        "problem_id": problem.id,
        "source": problem.source,
        "variant_of": problem.variant_of,
        "messages": (root and root.messages) or problem.messages_under(rollout.system_prompt),
        "prompt_token_ids": _prompt_ids(root, paths),
        **made_by,
    }
    for name, value in shared.items():
        columns[name].extend([value] * n)
    columns["trajectory_id"].extend([t.trajectory_id for t, _ in kept])
    columns["leaf"].extend([numbers[t.leaf] for t, _ in kept])
    columns["response"].extend([t.response for t, _ in kept])
    columns["step_ends"].extend(_step_ends([texts for texts, _ in steps], [t.response for t, _ in kept]))
    places = [(path, ends) for path, (_, ends) in zip(paths, steps, strict=True)]
    labels.add(values, places)
    columns["prm_scores"].extend(_prm_scores(places))
    columns["orm"].extend([t.orm for t, _ in kept])
    columns["verdict"].extend([None if t.verdict is None else t.verdict.outcome for t, _ in kept])
    columns["answer"].extend([None if t.verdict is None else t.verdict.answer for t, _ in kept])
    add_tokens(columns, paths)
    for name in ("engine_id", "weights_version", "seed"):
        columns[name].extend(map(attrgetter(name), leaves))
    columns["mode"].extend([t.mode for t, _ in kept])


def _prompt_ids(root: Node | None, paths: Sequence[Sequence[Node]]) -> Sequence[int] | None:
    """The prompt's token ids; None where a hosted API was given it as text."""
    if not all(map(has_ids, paths)):
        return None
    return () if root is None else root.token_ids


def label_columns(labels: StepLabels) -> ColumnLists:
    """The figures of each step's label, as columns of kept trajectories."""
    return {name: labels.column(get) for name, get in _OF_LABEL.items()}


def made_by_engine(info: EngineInfo) -> dict[str, Any]:
    """The columns of `kept` that say what made it."""
    return {
        "model": info.model,
        "synthetic": info.synthetic,
        "template_hash": None if info.text_alone else info.template_hash,
        "template_args": args_json(info.template_args),
    }


def args_json(arguments: Mapping[str, Any]) -> str | None:
    """What a chat template was given beside the messages, as records hold it; None where it was nothing."""
    return json.dumps(arguments) if arguments else None


def made_by_marks(marks: Mapping[str, str]) -> dict[str, Any]:
    """What made a lease, from the marks of a stored file; files before schema version 3 do not name their template."""
    template = json.loads(marks.get("template", "{}"))
    return {
        "model": marks.get("model", ""),
        "synthetic": marks.get("synthetic") == "true",
        "template_hash": template.get("hash"),
        "template_args": args_json(template.get("args") or {}),
    }


def _prm_scores(steps: Iterable[tuple[Sequence[Node], Sequence[StepPlace]]]) -> list[list[float | None]]:
    """What the PRM says at the end of each step; where there are none, lists of one length are one object."""
    found: list[list[float | None]] = []
    none: dict[int, list[float | None]] = {}
    for path, places in steps:
        if any(node.inner_prm is not None for node in path):
            found.append(_inner_scores(path, places))
        elif {node.prm for node in path} <= {None}:
            found.append(none.setdefault(len(places), [None] * len(places)))
        else:
            found.append([path[at].prm for at, _ in places])
    return found


def _inner_scores(path: Sequence[Node], places: Sequence[StepPlace]) -> list[float | None]:
    """Of a step that ends inside a node the score there; None where the node was scored at another number of steps, as
    on another path that ends in white space."""
    inside = Counter(at for at, whole in places if not whole)
    at_hand = {at: iter(path[at].inner_prm or ()) for at in inside}
    matches = {at: len(path[at].inner_prm or ()) == count for at, count in inside.items()}
    return [path[at].prm if whole else next(at_hand[at]) if matches[at] else None for at, whole in places]


def _step_ends(steps: Sequence[list[str]], responses: Sequence[str]) -> list[list[int]]:
    """Where steps end in each response, in characters. The last is its end, even where the texts of its nodes join to
    another one. Responses whose steps are one object, as those of equal texts are, share what is found."""
    known: dict[tuple[int, int], list[int]] = {}
    found: list[list[int]] = []
    for texts, response in zip(steps, responses, strict=True):
        length = len(response)
        ends = known.get((id(texts), length))
        if ends is None:
            ends = list(accumulate(map(len, texts)))
            if ends and ends[-1] != length:
                ends = [*(min(end, length) for end in ends[:-1]), length]
            known[id(texts), length] = ends
        found.append(ends)
    return found


def node_of(row: Row) -> Node:
    """The record that a row of the nodes' table was made from."""
    kind = row["value_kind"]
    typed = {
        "finish": Finish(row["finish"]),
        "value_kind": None if kind is None else ValueKind(kind),
        "role": row["role"] or ASSISTANT,
    }
    return Node(**{**{name: row[name] for name in Node.__struct_fields__}, **typed})


def trajectory_of(row: Row) -> Trajectory:
    """Without `kept` and, unless it is structural, `drop_reason`: those are for the rules to say."""
    reason = DropReason(row["drop_reason"]) if row["drop_reason"] else None
    return Trajectory(
        trajectory_id=row["trajectory_id"],
        problem_id=row["problem_id"],
        leaf=row["leaf"],
        path=tuple(row["path"]),
        response=row["response"] or "",
        verdict=_verdict_of(row),
        n_tokens=row["n_tokens"],
        n_new_tokens=row["n_new_tokens"],
        orm=row["orm"],
        prm_min=row["prm_min"],
        prm_last=row["prm_last"],
        prm_prod=row["prm_prod"],
        finish=Finish(row["finish"]),
        drop_reason=reason if reason in STRUCTURAL else None,
        mode=row["mode"],
        model=row["model"],
    )


STRUCTURAL = frozenset(
    {
        DropReason.TRUNCATED,
        DropReason.EMPTY,
        DropReason.CANCELLED,
        DropReason.CUT_IN_LOOP,
        DropReason.PROMPT_TOO_LONG,
        DropReason.ENGINE_FAILED,
        DropReason.QUARANTINED,
        DropReason.ANNOTATION,
        DropReason.TOO_MANY_CALLS,
        DropReason.RESULT_TOO_LONG,
        DropReason.TOOL_FAILED,
    }
)
"""Reasons that come from the search itself: no rule gave them, none can take them back."""


def _verdict_of(row: Row) -> Verdict | None:
    if row["verdict"] is None:
        return None
    evidence = json.loads(row["evidence"]) if row["evidence"] else {}
    return Verdict(
        Outcome(row["verdict"]), Reason(row["verdict_reason"]), row["answer"], evidence, row["verify_ms"] or 0.0
    )
