"""Prunes or verifies a finished run anew, without an engine: a new run directory beside the old trees.

    runs/NAME ─► stored leases ─► [verify again ─► values backed up anew] ─► prune ─► runs/NAME/revisions/AS

The revision is a run like any other: `berry inspect`, `show` and `export` read it; an interrupted one goes on behind
its last committed lease.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from msgspec import structs

from berry.pipeline.config import run as run_config
from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.rollout.rollout import Thinking
from berry.pipeline.core import calls
from berry.pipeline.core.assignment.modes import rollout_of
from berry.pipeline.core.prune.exact_duplicate import ExactDuplicateRule
from berry.pipeline.core.prune.registry import prune
from berry.pipeline.core.values.stored import back_up, read, rebuild
from berry.pipeline.core.values.votes import Vote, votes
from berry.pipeline.records import ASSISTANT, DropReason, Node, Problem, TokenLedger, Trajectory
from berry.pipeline.stages.checking.question import check_request, with_retry
from berry.pipeline.stages.dataset.reading import asked, scheme_for
from berry.pipeline.stages.dataset.rows import made_by_marks, node_of, trajectory_of
from berry.pipeline.stages.dataset.tables import Seen, Tables
from berry.pipeline.stages.leases.lease import Lease, LeaseReport, add_modes
from berry.pipeline.stages.leases.partition import AllBut, left_out, searched_leases
from berry.pipeline.stages.leases.reports import read_commit_marks
from berry.pipeline.storage.digest_set import DigestSet
from berry.pipeline.storage.files import Location
from berry.pipeline.storage.parquet import lease_rows, shards
from berry.pipeline.storage.run.directory import RunDir
from berry.verifiers.base import Verdict
from berry.verifiers.checker import Checker
from berry.verifiers.kinds.majority import ConsensusRequest
from berry.verifiers.specs.union import MajoritySpec

Reverifier = Callable[[Problem, Sequence[Trajectory], Mapping[str, Vote]], Awaitable[dict[str, Verdict]]]
"""New verdicts, by trajectory id, for one problem's complete trajectories; votes by leaf, for those without a gold."""


def reverifier(
    checker: Checker, thinking_of: Callable[[Problem], Thinking | None] = lambda _problem: None
) -> Reverifier:
    """Checks stored responses as a run does: same verifiers, same question, asked again where a check can't be made.
    `thinking_of`: the tags of a problem's responses."""
    ask = with_retry(checker.check)

    async def check(
        problem: Problem, trajectories: Sequence[Trajectory], drawn: Mapping[str, Vote] | None = None
    ) -> dict[str, Verdict]:
        if isinstance(problem.verifier, MajoritySpec):
            texts = {t.trajectory_id: t.response for t in trajectories}
            if drawn is None:
                return await checker.agree(ConsensusRequest(problem.id, problem.verifier, texts))
            scored = all(t.orm is not None for t in trajectories)
            scores = {t.trajectory_id: (t.orm or 0.0) if scored else 1.0 for t in trajectories}
            weights = {t.trajectory_id: drawn[t.leaf].weight * scores[t.trajectory_id] for t in trajectories}
            chains = {t.trajectory_id: drawn[t.leaf].chain for t in trajectories}
            return await checker.agree(ConsensusRequest(problem.id, problem.verifier, texts, weights, chains))
        thinking = thinking_of(problem)
        requests = [check_request(problem, t.response, thinking) for t in trajectories]
        verdicts = await asyncio.gather(*(ask(request) for request in requests))
        return {t.trajectory_id: verdict for t, verdict in zip(trajectories, verdicts, strict=True)}

    return check


@dataclass(slots=True)
class Stored:
    """What one lease holds for one problem."""

    problem: Problem
    nodes: list[Node]
    trajectories: list[Trajectory]


def read_lease(location: Location, lease: Lease, round_index: int) -> Iterator[Stored]:
    """The lease's trees in the order of its problems, each problem as it was asked, with its verifier as it is now.
    Raises StorageError where a shard is damaged."""
    rows = lease_rows.read_lease(location, lease.number, round_index)
    for problem in lease.problems:
        nodes = [node_of(r) for r in rows.nodes if r["problem_id"] == problem.id]
        then = asked(nodes[0].problem) if nodes else None
        yield Stored(
            problem if then is None else then.model_copy(update={"verifier": problem.verifier}),
            nodes,
            [trajectory_of(r) for r in rows.trajectories if r["problem_id"] == problem.id],
        )


def as_checked(nodes: Sequence[Node], trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """Trajectories with the responses that verifiers read: what the model itself said, without what tools said."""
    texts = {node.node_id: node.text for node in nodes if node.role == ASSISTANT}
    if len(texts) == len(nodes):
        return list(trajectories)
    root = nodes[0].node_id
    return [
        structs.replace(t, response=calls.spoken(texts.get(at) for at in t.path if at != root)) for t in trajectories
    ]


async def revise(
    source: RunDir,
    target: RunDir,
    config: RunConfig,
    *,
    check: Reverifier | None,
    progress: Callable[[LeaseReport], None],
    at_once: int = 4,
) -> int:
    """Revises every committed lease of every round that the target lacks; returns how many. Without `check` the stored
    verdicts stand.

    An `exact_duplicate` rule holds over the whole run here, where in the run itself each lease is committed without
    knowledge of the others. Leases are then taken in order, one at a time, and those that an interrupted revision has
    committed are gone through once more for what they had seen. Digests are kept in files of this host's folder for
    temporary ones (TMPDIR), 16 bytes a response that is kept."""
    if not any(isinstance(rule, ExactDuplicateRule) for rule in config.pruning):
        return await _revise_all(source, target, config, check, progress, at_once, None)
    with TemporaryDirectory(prefix="berry-digests-") as folder:
        modes = count()
        seen: Seen = defaultdict(lambda: DigestSet(Path(folder, str(next(modes)))))
        return await _revise_all(source, target, config, check, progress, 1, seen)


async def _revise_all(
    source: RunDir,
    target: RunDir,
    config: RunConfig,
    check: Reverifier | None,
    progress: Callable[[LeaseReport], None],
    at_once: int,
    seen: Seen | None,
) -> int:
    revised = 0
    without = left_out(source)
    for round_index in source.rounds():
        done = target.committed(round_index)
        todo = source.committed(round_index) - (done if seen is None else set())
        turn = asyncio.Semaphore(at_once)
        skip = AllBut(todo)

        async def one(
            lease: Lease,
            round_index: int = round_index,
            turn: asyncio.Semaphore = turn,
            done: frozenset[int] = frozenset(done),
        ) -> None:
            async with turn:
                if lease.number in done:
                    await _recall(target, config, lease, round_index, seen)
                else:
                    progress(await _revise_lease(source, target, config, lease, round_index, check, seen))

        async with asyncio.TaskGroup() as group:
            leases = searched_leases(source, config, round_index, skip=skip, left_out=without)
            for number, lease in enumerate(leases, 1):
                group.create_task(one(lease))
                revised += lease.number not in done
                if number % 64 == 0:  # let some end before more are read
                    await asyncio.sleep(0)
    return revised


async def _recall(target: RunDir, config: RunConfig, lease: Lease, round_index: int, seen: Seen | None) -> None:
    """Adds to `seen` what a lease that was revised earlier held, by pruning it once more."""
    for stored in await asyncio.to_thread(lambda: list(read_lease(target.location, lease, round_index))):
        if stored.trajectories and seen is not None:
            prune(stored.trajectories, config.pruning, seen=seen[stored.trajectories[0].mode])


async def _revise_lease(
    source: RunDir,
    target: RunDir,
    config: RunConfig,
    lease: Lease,
    round_index: int,
    check: Reverifier | None,
    seen: Seen | None,
) -> LeaseReport:
    marks = await asyncio.to_thread(read_commit_marks, source.location, lease.number, round_index)
    before: dict[str, Any] = json.loads(marks["report"])
    made_by = made_by_marks(marks)
    tables = Tables() if seen is None else Tables(seen=seen)
    kept_tokens = 0
    for stored in await asyncio.to_thread(lambda: list(read_lease(source.location, lease, round_index))):
        problem = stored.problem
        scheme = scheme_for(config, problem.id, problem.variant_of or problem.id)
        if check is not None:
            complete = [t for t in stored.trajectories if t.verdict is not None]
            drawn = votes(rebuild(stored.nodes), scheme.heads) if stored.nodes else {}
            verdicts = await check(stored.problem, as_checked(stored.nodes, complete), drawn)
            for trajectory in complete:
                trajectory.verdict = verdicts[trajectory.trajectory_id]
            back_up(
                stored.nodes,
                {t.leaf: t.verdict for t in stored.trajectories},
                scheme,
                completions=[t.leaf for t in stored.trajectories if t.drop_reason is DropReason.ANNOTATION],
                chosen_by_verdict=config.annotation is not None and config.annotation.chosen_by_verdict,
            )
        tables.add(
            stored.problem,
            stored.nodes,
            stored.trajectories,
            read(stored.nodes, scheme),
            rules=config.pruning,
            rollout=rollout_of(config, problem.id),
            made_by=made_by,
        )
        kept_tokens += _kept_tokens(stored)
    spent: dict[str, dict[str, int]] = before.get("modes", {})
    add_modes(tables.modes, {mode: {"generated": its["generated"]} for mode, its in spent.items()})
    report = LeaseReport(
        **{
            **before,
            "ledger": _ledger(before, kept_tokens),
            "solved": tables.solved,
            "kept": tables.n_kept,
            "drops": tables.drops,
            "modes": tables.modes,
        }
    )
    metadata = {**marks, "config": run_config.digest(config), "report": json.dumps(asdict(report))}
    await asyncio.to_thread(
        shards.write,
        target.location,
        round_index=round_index,
        lease=lease.number,
        tables=tables.by_name(),
        metadata=metadata,
    )
    return report


def _ledger(before: dict[str, Any], kept_tokens: int) -> TokenLedger:
    """What was spent stays; what was kept of it is counted anew."""
    ledger = before["ledger"]
    extra = {k: v for k, v in ledger["extra"].items() if not k.startswith("pruned.")}
    return TokenLedger(**{**ledger, "kept": kept_tokens, "extra": extra})


def _kept_tokens(stored: Stored) -> int:
    """Of the segments of one tree that kept trajectories hold, each once."""
    held = {node for trajectory in stored.trajectories if trajectory.kept for node in trajectory.path}
    return sum(len(node.token_ids) for node in stored.nodes if node.node_id in held)
