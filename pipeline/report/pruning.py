"""Counts what pruning buys, from what is stored.

    trajectories ─► stages: what share is left after each, round by round
    audited trees (never pruned) + the configured cuts ─► CutLine: how often one is right, what it saves and loses

Audited problems are held out from all training and searched without pruning (core/search/audit.py): of a model's scores
on what it has learned from nothing could be said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.core.prune.orm import OrmRule
from berry.pipeline.core.prune.prm import PrmRule
from berry.pipeline.core.search import audit
from berry.pipeline.core.search.policies.beam import Beam
from berry.pipeline.core.search.policies.dvts import Dvts
from berry.pipeline.core.search.policies.value import ValueGuided
from berry.pipeline.records import DropReason, Finish
from berry.pipeline.stages.dataset.reading import stored_config
from berry.pipeline.stages.dataset.stored_families import stored_families
from berry.pipeline.storage.run.directory import RunDir
from berry.pipeline.storage.run.duckdb_views import connect

STAGES: dict[str, frozenset[DropReason]] = {
    "in the loop": frozenset({DropReason.CUT_IN_LOOP}),
    "ended": frozenset(
        {
            DropReason.TRUNCATED,
            DropReason.EMPTY,
            DropReason.CANCELLED,
            DropReason.PROMPT_TOO_LONG,
            DropReason.ENGINE_FAILED,
            DropReason.QUARANTINED,
        }
    ),
    "verifier": frozenset({DropReason.WRONG, DropReason.NO_ANSWER, DropReason.UNVERIFIABLE}),
    "reward models": frozenset({DropReason.LOW_ORM, DropReason.LOW_PRM}),
}
OTHER = "other rules"


@dataclass(frozen=True, slots=True)
class StageLine:
    """`left`: share of all branches that ended, or were cut, that is still there after each stage."""

    round_index: int
    branches: int
    left: dict[str, float]


@dataclass(frozen=True, slots=True)
class CutLine:
    """One cut held against the verifier on trees that it did not touch. `precision`: of the checked leaves it would
    have given up, the share that fails; `failing`: of all checked leaves, which is what chance would have."""

    round_index: int
    cut: str
    problems: int
    leaves: int
    failing: float
    given_up: int
    precision: float | None
    tokens_saved: float | None
    good_lost: float | None


@dataclass(slots=True)
class _AuditedNode:
    node_id: int
    parent: int | None
    depth: int
    prm: float | None
    finish: str
    tokens: int


@dataclass(slots=True)
class _AuditedProblem:
    """One audited problem in one round: its nodes, and of each checked leaf whether it passed and its ORM score."""

    nodes: dict[int, _AuditedNode] = field(default_factory=dict)
    leaves: dict[int, tuple[bool, float | None, float | None]] = field(default_factory=dict)


def stage_lines(run: RunDir) -> list[StageLine]:
    """Counts, round by round, what each stage of pruning left."""
    counts: dict[int, dict[str | None, int]] = defaultdict(dict)
    for round_index, reason, count in (
        connect(run).execute("select round, drop_reason, count(*) from trajectories group by 1, 2").fetchall()
    ):
        counts[round_index][reason] = count
    lines: list[StageLine] = []
    for round_index, by_reason in sorted(counts.items()):
        total = left = sum(by_reason.values())
        shares: dict[str, float] = {}
        for stage, reasons in STAGES.items():
            left -= sum(by_reason.get(reason.value, 0) for reason in reasons)
            shares[stage] = left / total
        shares[OTHER] = by_reason.get(None, 0) / total
        lines.append(StageLine(round_index, total, shares))
    return lines


def cut_lines(run: RunDir) -> list[CutLine]:
    """Holds the cuts of every round in which steps, or leaves, have scores against the truth; empty where there is
    nothing to hold against the truth."""
    stored = stored_config(run)
    lines: list[CutLine] = []
    for mode, config in zip(stored.rollout.modes or (None,), stored.each_mode, strict=True):
        of = _cut_lines(run, stored, config, None if mode is None else mode.name)
        lines += of if mode is None else [replace(line, cut=f"{mode.name}: {line.cut}") for line in of]
    return lines


def _cut_lines(run: RunDir, stored: RunConfig, config: RunConfig, mode: str | None) -> list[CutLine]:
    """`config`: the run in `mode`."""
    lines: list[CutLine] = []
    for round_index, grown in sorted(_audited(run, stored, mode).items()):
        name = in_loop_cut(config.rollout)
        if name is not None and any(n.prm is not None for g in grown for n in g.nodes.values()):
            lines.append(
                _line(round_index, name, grown, [_below(g, would_cut(g.nodes, config.rollout)) for g in grown])
            )
        for rule in config.pruning:
            match rule:
                case OrmRule(at_least=float() as least):
                    lines.append(
                        _line(round_index, f"orm rule, below {least:g}", grown, _scored(grown, 1, least), end=True)
                    )
                case PrmRule(at_least=least, over="min"):
                    lines.append(
                        _line(round_index, f"prm rule, below {least:g}", grown, _scored(grown, 2, least), end=True)
                    )
    return lines


def in_loop_cut(rollout: Rollout) -> str | None:
    """Names what prunes while trees grow, in words; None if nothing does by the PRM."""
    match rollout.policy:
        case ValueGuided(scorer="prm", cut_below=below):
            return f"value policy, prm below {below:g}"
        case Beam(scorer="prm", width=width) | Dvts(scorer="prm", width=width):
            return f"{rollout.policy.type}, all but the best of {width}"
    if rollout.cut is not None and rollout.cut.model == "prm":
        return f"prm below {rollout.cut.below:g}"
    return None


def would_cut(nodes: Mapping[int, Any], rollout: Rollout) -> set[int]:
    """Finds the nodes that the in-loop cut would not have grown further. Beam and DVTS are taken as keeping the best of
    every `width` candidates of a depth that are still growing or end there."""
    policy, cut = rollout.policy, rollout.cut
    if isinstance(policy, Beam | Dvts):
        return _outranked(list(nodes.values()), policy.width)
    below, first = (policy.cut_below, 1) if isinstance(policy, ValueGuided) else (0.0, 1)
    if cut is not None and cut.model == "prm" and cut.below > below:
        below, first = cut.below, cut.from_step
    return {
        n.node_id
        for n in nodes.values()
        if n.parent is not None
        and n.finish == Finish.STEP.value
        and n.prm is not None
        and n.prm < below
        and n.depth >= first
    }


def _outranked(nodes: Sequence[_AuditedNode], width: int) -> set[int]:
    by_depth: dict[int, list[_AuditedNode]] = defaultdict(list)
    for node in nodes:
        if node.parent is not None and node.prm is not None:
            by_depth[node.depth].append(node)
    out: set[int] = set()
    for _, here in sorted(by_depth.items()):
        alive = [node for node in here if node.parent not in out]
        ranked = sorted(alive, key=lambda n: (-(n.prm or 0.0), n.node_id))
        stay = {node.node_id for node in ranked[: -(-len(ranked) // width)]}
        out.update(node.node_id for node in here if node.node_id not in stay and node.finish == Finish.STEP.value)
        out.update(node.node_id for node in here if node.parent in out)
    return out


def _below(grown: _AuditedProblem, cut: set[int]) -> tuple[set[int], int]:
    """Finds the leaves that would not be there, and the tokens of everything strictly below a cut."""
    gone: set[int] = set()

    def is_gone(node: _AuditedNode) -> bool:
        above = node.parent
        while above is not None:
            if above in cut:
                return True
            above = grown.nodes[above].parent if above in grown.nodes else None
        return False

    tokens = 0
    for node in grown.nodes.values():
        if is_gone(node):
            gone.add(node.node_id)
            tokens += node.tokens
    return gone & grown.leaves.keys(), tokens


def _scored(grown: Sequence[_AuditedProblem], which: int, least: float) -> list[tuple[set[int], int]]:
    chosen: list[tuple[set[int], int]] = []
    for one in grown:
        low = {leaf for leaf, figures in one.leaves.items() if _under(figures[which], least=least)}
        chosen.append((low, 0))
    return chosen


def _under(score: float | None, *, least: float) -> bool:
    return score is not None and score < least


def _line(
    round_index: int,
    name: str,
    grown: Sequence[_AuditedProblem],
    gone: Sequence[tuple[set[int], int]],
    *,
    end: bool = False,
) -> CutLine:
    leaves = sum(len(g.leaves) for g in grown)
    good = sum(passed for g in grown for passed, _, _ in g.leaves.values())
    given_up = sum(len(lost) for lost, _ in gone)
    lost = sum(g.leaves[leaf][0] for g, (those, _) in zip(grown, gone, strict=True) for leaf in those)
    tokens = sum(n.tokens for g in grown for n in g.nodes.values() if n.parent is not None)
    return CutLine(
        round_index=round_index,
        cut=name,
        problems=len(grown),
        leaves=leaves,
        failing=(leaves - good) / leaves if leaves else 0.0,
        given_up=given_up,
        precision=(given_up - lost) / given_up if given_up else None,
        tokens_saved=None if end or not tokens else sum(saved for _, saved in gone) / tokens,
        good_lost=lost / good if good else None,
    )


def _audited(run: RunDir, config: RunConfig, mode: str | None) -> dict[int, list[_AuditedProblem]]:
    by_round: dict[int, dict[str, _AuditedProblem]] = defaultdict(lambda: defaultdict(_AuditedProblem))
    db = connect(run)
    families = stored_families(run, db)
    everyone = not audit.prunes(config.rollout)
    ids = [
        row[0]
        for row in db.execute(
            "select distinct problem_id from trajectories where ? is null or mode = ?", [mode, mode]
        ).fetchall()
    ]
    chosen = [i for i in ids if families.part(i) == "heldout" and (everyone or families.is_unpruned(i))]
    if not chosen:
        return {}
    for round_index, problem, *values in db.execute(
        "select round, problem_id, node, parent, depth, prm, finish, len(token_ids) from nodes "
        "where list_contains(?, problem_id)",
        [chosen],
    ).fetchall():
        by_round[round_index][problem].nodes[values[0]] = _AuditedNode(*values)
    for round_index, problem, leaf, outcome, orm, prm in db.execute(
        "select round, problem_id, leaf, outcome, orm, prm_min from trajectories "
        "where list_contains(?, problem_id) and outcome in ('pass', 'wrong')",
        [chosen],
    ).fetchall():
        by_round[round_index][problem].leaves[leaf] = (outcome == "pass", orm, prm)
    return {index: list(problems.values()) for index, problems in by_round.items()}
