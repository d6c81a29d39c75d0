"""Makes the searches that label a stored run, from its committed leases, and the records that they leave.

    source run's lease ─► StoredSearch a problem ─► AnnotateSearch (core/search/annotate.py) ─► journal, executor …
    finished search, stored rows ─► records: the stored ones, cut at their steps, and the completions

What the source run decided stays: which trajectories are kept, and why others are not.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from functools import lru_cache

from pydantic import TypeAdapter

from berry.pipeline.config.run import RunConfig
from berry.pipeline.config.sections.annotation import Annotation
from berry.pipeline.config.sections.engine import EngineConfig
from berry.pipeline.config.sections.rollout.rollout import Rollout
from berry.pipeline.core import seeds
from berry.pipeline.core.assignment.modes import engine_of, rollout_of
from berry.pipeline.core.prune import Decision
from berry.pipeline.core.search.base import Search
from berry.pipeline.core.search.policies.annotate import AnnotateSearch, Prepared
from berry.pipeline.core.steps import token_ends
from berry.pipeline.core.tree import Tree, TreeNode
from berry.pipeline.core.values.estimate import is_known
from berry.pipeline.core.values.stored import reader_of
from berry.pipeline.engines.base import Engine
from berry.pipeline.engines.text import vocabulary
from berry.pipeline.engines.text.through_text import ThroughText
from berry.pipeline.engines.text.vocabulary import Vocabulary
from berry.pipeline.errors import ConfigError
from berry.pipeline.records import DropReason, Message, Problem, TokenLedger, Trajectory
from berry.pipeline.stages.dataset.reading import is_completion, rebuild, scheme_for, stored_config
from berry.pipeline.stages.dataset.rows import Row, made_by_marks, node_of, trajectory_of
from berry.pipeline.stages.dataset.steps import Decode, path_step_ends
from berry.pipeline.stages.leases.lease import Lease
from berry.pipeline.stages.leases.reports import read_commit_marks
from berry.pipeline.storage.parquet.lease_rows import read_lease
from berry.pipeline.storage.run.directory import RunDir
from berry.verifiers.specs.union import MajoritySpec, MathSpec

NOTHING_TO_COMPLETE = frozenset(
    {DropReason.EMPTY, DropReason.PROMPT_TOO_LONG, DropReason.ENGINE_FAILED, DropReason.QUARANTINED}
)


@dataclass(frozen=True, slots=True)
class StoredSearch:
    """One problem's tree as it is stored, and what is to be labelled of it. Of a problem that nothing grew for, `nodes`
    is empty. `speaks`: what its token ids mean, where another model is to complete its texts; None: where ids are
    completed."""

    problem: Problem
    nodes: list[Row]
    trajectories: list[Row]
    config: RunConfig
    annotation: Annotation
    round_index: int
    speaks: Vocabulary | None = None

    @property
    def prompt_ids(self) -> list[int]:
        """The prompt's token ids, as they were sampled from."""
        return list(self.nodes[0]["token_ids"])

    @property
    def messages(self) -> list[Message]:
        """What the prompt's tokens are, as they were sampled under; not stored before schema version 3."""
        return self.nodes[0]["messages"] or self.problem.messages_under(self.rollout.system_prompt)

    @property
    def rollout(self) -> Rollout:
        """How the problem was searched, in its mode."""
        return rollout_of(self.config, self.problem.id)

    def search(self, engine: Engine) -> Search:
        """The search that completes this tree, not started yet; `engine` as `reads` gives it. Raises ConfigError where
        its tokens are others than those that are stored."""
        if self.speaks is None and engine.encode(self.messages) != self.prompt_ids:
            raise ConfigError(
                f"problem {self.problem.id!r}: {engine.info.model} reads its prompt as other tokens than are stored; "
                "annotate with a model of the same tokenizer and chat template (engine.model, engine.chat_template), "
                "or have prefixes tokenised again (routing.prefixes: text; berry annotate --prefixes text)"
            )
        return AnnotateSearch(
            self._prepared(engine.decode),
            self.rollout,
            self.annotation,
            run_seed=self.config.seed,
            round_index=self.round_index,
            context_len=engine.info.max_model_len,
        )

    def reads(self, engine: Engine) -> Engine:
        """The engine as one that goes on from what is stored."""
        if self.speaks is None or not self.nodes:
            return engine
        return ThroughText(engine, self.speaks, self.messages, prompt_len=len(self.prompt_ids))

    def _prepared(self, decode: Decode) -> Prepared:
        tree = rebuild(self.problem.id, self.nodes, self.trajectories)
        if self.nodes[0]["sample"] is not None:
            join_segments(tree)
        rollout = self.rollout
        chosen: dict[str, list[int]] = {}
        for leaf in self._chosen(tree):
            path = tree.path(tree[leaf])
            chosen[leaf] = ends = path_step_ends(path, rollout.step, rollout.thinking, decode)
            for node in path:
                if any(node.end - len(node.tokens) < end < node.end for end in ends):
                    _find_ends(node, decode)
        family = self.problem.variant_of or self.problem.id
        scheme = reader_of(map(node_of, self.nodes)).own_scheme(scheme_for(self.config, self.problem.id, family))
        return Prepared(tree, scheme, chosen)

    def _chosen(self, tree: Tree) -> list[str]:
        """The leaves of the trajectories that are to be labelled, in the order in which they are stored."""
        of = self.annotation.of
        rows = [row for row in self.trajectories if row["leaf"] in tree and _can_be_labelled(row, tree)]
        if self.annotation.method == "omega":
            rows = [row for row in rows if _failed(tree[row["leaf"]])]
        if of in ("kept", "dropped"):
            rows = [row for row in rows if row["kept"] is (of == "kept")]
        elif isinstance(of, int) and len(rows) > of:
            place = (self.config.seed, self.round_index, self.problem.id)
            drawn = sorted(rows, key=lambda row: seeds.share("annotate", *place, row["leaf"]))[:of]
            chosen = {row["leaf"] for row in drawn}
            rows = [row for row in rows if row["leaf"] in chosen]
        return [row["leaf"] for row in rows]

    @property
    def asked(self) -> Problem:
        """The problem whose verifier checks completions. Where a majority elected the answer that is it: completions
        are held against it, and have no vote."""
        spec = self.problem.verifier
        if not isinstance(spec, MajoritySpec):
            return self.problem
        evidence = (json.loads(row["evidence"]) for row in self.trajectories if row["evidence"])
        elected = next((e["pseudo_label"] for e in evidence if "pseudo_label" in e), None)
        if elected is None:
            return self.problem
        against = MathSpec(answer=elected, extract=spec.extract, strictness=spec.strictness)
        return self.problem.model_copy(update={"verifier": against})


def _can_be_labelled(row: Row, tree: Tree) -> bool:
    return row["drop_reason"] not in NOTHING_TO_COMPLETE and not is_completion(row) and tree[row["leaf"]].end > 0


def _failed(leaf: TreeNode) -> bool:
    return is_known(leaf.verdict) and leaf.verdict is not None and not leaf.verdict.passed


def join_segments(tree: Tree) -> None:
    """Tells the pieces of a sampled segment that was cut which segment they are of and where they begin in it, which is
    not stored: without it a piece that is cut again would be named like another."""
    tails = {node.parent.node_id: node for node in tree.walk() if node.index < 0 and node.parent is not None}
    for node in tree.walk():
        if node.index < 0 or node.node_id not in tails:
            continue
        pieces = [node]
        while (tail := tails.get(pieces[-1].node_id)) is not None:
            pieces.append(tail)
        offset = 0
        for piece in pieces:
            piece.origin, piece.offset = pieces[-1].node_id, offset
            offset += len(piece.tokens)


def _find_ends(node: TreeNode, decode: Decode) -> None:
    """Finds where the tokens of a node end in its text, so that its pieces share it."""
    if node.ends is None and node.text is not None:
        ends = token_ends(node.tokens, decode)
        if ends and ends[-1] == len(node.text):
            node.ends = array("i", ends)


# ---- a lease --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredLease:
    """A committed lease of the run that is labelled. `marks`: what its commit file says of itself; `speaks`: what its
    token ids mean, where its texts are completed."""

    searches: Mapping[str, StoredSearch]
    marks: Mapping[str, str]
    speaks: Vocabulary | None = None

    def reads(self, engine: Engine) -> Engine:
        """The engine as one that reads what is stored."""
        return engine if self.speaks is None else ThroughText(engine, self.speaks)

    @property
    def goes_on(self) -> list[str]:
        """The problems that went on from the stored lease to another."""
        return list(json.loads(self.marks["report"]).get("goes_on", ()))

    @property
    def made_by(self) -> dict[str, object]:
        """What made the stored lease: its files' marks."""
        return made_by_marks(self.marks)

    @property
    def spent(self) -> TokenLedger:
        """What the run spent on the lease, without what became of it, which is counted anew."""
        before = TokenLedger(**json.loads(self.marks["report"])["ledger"])
        extra = {name: count for name, count in before.extra.items() if not name.startswith("pruned.")}
        return replaced(before, kept=0, extra=extra)


def read_stored(source: RunDir, config: RunConfig, lease: Lease, round_index: int) -> StoredLease:
    """Reads what is to be labelled of one lease. Raises StorageError where a shard is damaged."""
    annotation = config.annotation
    assert annotation is not None
    marks = read_commit_marks(source.location, lease.number, round_index)
    rows = read_lease(source.location, lease.number, round_index)
    nodes, trajectories = _by_problem(rows.nodes), _by_problem(rows.trajectories)
    speaks = _speaks(source, lease) if annotation.prefixes == "text" else None
    searches = {
        problem.id: StoredSearch(
            problem,
            nodes.get(problem.id, []),
            trajectories.get(problem.id, []),
            config,
            annotation,
            round_index,
            speaks,
        )
        for problem in lease.problems
    }
    return StoredLease(searches, marks, speaks)


def _speaks(source: RunDir, lease: Lease) -> Vocabulary:
    """What the token ids of a stored lease mean: all its problems were searched on one engine."""
    made = stored_config(source)
    return _vocabulary(made.on_engine(engine_of(made, lease.problems[0].id)).engine.model_dump_json())


@lru_cache(maxsize=8)
def _vocabulary(engine: str) -> Vocabulary:
    """Of an engine's section as JSON: loading a tokenizer takes longer than labelling a small lease."""
    return vocabulary.of_engine(TypeAdapter[EngineConfig](EngineConfig).validate_json(engine))


def _by_problem(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["problem_id"], []).append(row)
    return found


# ---- records --------------------------------------------------------------------------------------------------------


def records_of(stored: StoredSearch, search: Search) -> Iterator[tuple[Trajectory, Decision]]:
    """The trajectories of a labelled tree with what was decided of them: those that were stored, along the nodes into
    which their segments were cut, and the completions, which are dropped as such; their responses are left to the
    runtime."""
    tree = search.tree
    for row in stored.trajectories:
        trajectory = trajectory_of(row)
        if row["leaf"] in tree:
            trajectory.path = tuple(node.node_id for node in tree.path(tree[row["leaf"]]))
        reason = None if row["drop_reason"] is None else DropReason(row["drop_reason"])
        yield trajectory, Decision(row["kept"], reason)
    known = {row["leaf"] for row in stored.trajectories}
    added = 0
    for trajectory in search.trajectories():
        if trajectory.leaf not in known and tree[trajectory.leaf].drop is DropReason.ANNOTATION:
            place = trajectory.trajectory_id.rpartition("-")[0]
            trajectory.trajectory_id = f"{place}-{len(stored.trajectories)}.{added}"  # those there keep their numbers
            added += 1
            yield trajectory, Decision(keep=False, reason=DropReason.ANNOTATION)


def drawn_to_label(stored: StoredSearch, trajectories: Sequence[Trajectory]) -> set[str]:
    """The leaves that were drawn to label what is stored, of the trajectories of the labelled tree."""
    known = {row["leaf"] for row in stored.trajectories}
    return {one.leaf for one in trajectories if one.leaf not in known}
