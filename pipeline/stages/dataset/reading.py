"""Reads stored trees: one problem's nodes and trajectories as the core's Tree with its verdicts.

run directory ─► committed leases in order ─► StoredTree a problem ─► labels, export, training

Of a tree its shape and its figures are in memory, as columns (read_tree.py). Token ids, log-probabilities and texts lie
in a temporary file, and trajectories and kept rows stay in theirs until they are asked for (stored_rows.py).
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

from berry.pipeline import schema
from berry.pipeline.config.reading.loading import validate
from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.assignment.modes import mode_name, rollout_of
from berry.pipeline.core.search import audit
from berry.pipeline.core.search.registry import search_class
from berry.pipeline.core.tree import Tree
from berry.pipeline.core.values.annotated import annotated, is_annotated
from berry.pipeline.core.values.estimate import Scheme, Values
from berry.pipeline.core.values.stored import ValueReader, given_of
from berry.pipeline.errors import BerryError
from berry.pipeline.records import ASSISTANT, DropReason, Finish, Message, Node, Problem
from berry.pipeline.stages.dataset.read_tree import ReadTree, missing_node
from berry.pipeline.stages.dataset.rows import Row, node_of
from berry.pipeline.stages.dataset.stored_rows import (
    KeptRows,
    StoredNodes,
    TrajectoryRows,
    nodes_by_problem,
    places_of,
    rows_at,
)
from berry.pipeline.stages.leases.partition import left_out, searched_leases
from berry.pipeline.storage.parquet.lease_tables import open_lease
from berry.pipeline.storage.run.directory import RunDir
from berry.verifiers.base import Outcome, Reason, Verdict


@dataclass(frozen=True, slots=True)
class StoredTree:
    """`trajectories` and `kept` are rows as stored (schema.py), without the completions that were drawn only to label
    prefixes (`berry annotate`), which are in the tree alone; each row is made when it is asked for. `nodes`: records by
    id, read when they are asked for. `problem`: as it was asked; of runs before schema version 11 by the problem files
    as they are now, None where these can't be read any more. `family` is what splits go by: the problem this one is a
    variant of, else its own id. `prompt` is the prompt's text, special tokens left out; `sampled_under` the chat
    messages that its tokens are, None where the run did not store them; `template_args` what the chat template was
    given beside them, None where that is what the engine always gives it; `template_hash`: of that template, None
    before schema version 3. `mode`: the one that the problem was searched in; None where the run has none."""

    round_index: int
    tree: ReadTree
    prompt: str
    trajectories: TrajectoryRows
    kept: KeptRows
    problem: Problem | None
    family: str
    model: str
    synthetic: bool
    system_prompt: str | None
    values: Values
    nodes: Mapping[str, Node]
    sampled_under: list[Message] | None = None
    template_args: dict[str, Any] | None = None
    template_hash: str | None = None
    mode: str | None = None

    @property
    def problem_id(self) -> str:
        """The problem that the tree is of."""
        return self.tree.problem_id

    @property
    def messages(self) -> list[Message]:
        """The chat messages that the model was given.

        They are stored since schema version 3. Of earlier runs they are the kept rows', else those of the problem file
        as it is now, else the prompt's text, with the run's system prompt.
        """
        if self.sampled_under is not None:
            return [dict(m) for m in self.sampled_under]
        if self.kept:
            messages = [dict(m) for m in self.kept[0]["messages"]]
        elif self.problem is not None:
            messages = self.problem.messages
        else:
            return [{"role": "user", "content": self.prompt.strip()}]
        if self.system_prompt and messages[0]["role"] != "system":
            messages = [{"role": "system", "content": self.system_prompt}, *messages]
        return messages

    def response(self, leaf: str) -> str:
        """The text of a trajectory: as a rule that of the nodes along its path."""
        own = self.trajectories.own_responses.get(leaf)
        return "".join(node.text or "" for node in self.tree.path(self.tree[leaf])) if own is None else own

    def token_ids(self, leaf: str) -> array[int]:
        """Of the response, as they were sampled."""
        joined = array("i")
        for node in self.tree.path(self.tree[leaf]):
            joined.extend(node.tokens)
        return joined

    def logprobs(self, leaf: str) -> array[float] | None:
        """Of each response token, in nats, 0 for what a tool said; None where the run did not store them."""
        joined = array("f")
        for node in self.tree.path(self.tree[leaf]):
            if node.logprobs is not None:
                joined.extend(node.logprobs)
            elif node.given is not None:
                joined.extend([0.0] * len(node.tokens))
            elif len(node.tokens):
                return None
        return joined

    def texts(self, trajectory: Row) -> list[str]:
        """The texts of the nodes along a trajectory, root left out; joined they are the response."""
        return [node.text or "" for node in self.tree.path(self.tree[trajectory["leaf"]])]


def stored_config(run: RunDir) -> RunConfig:
    """The configuration a run was made with. Raises ConfigError if this release can't read it."""
    return validate(run.config() or {}, RunConfig, where=run.location.show("run.yaml"))


def count(run: RunDir, rounds: Iterable[int] | None = None) -> int:
    """Problems in committed leases, without opening any: the last lease may hold fewer."""
    config = stored_config(run)
    chosen = run.rounds() if rounds is None else list(rounds)
    return sum(len(run.committed(r)) for r in chosen) * config.storage.lease_problems


def read_trees(run: RunDir, *, rounds: Iterable[int] | None = None) -> Iterator[StoredTree]:
    """Every committed tree, one lease's in memory at a time. Raises StorageError for a damaged shard."""
    config = stored_config(run)
    for round_index in run.rounds() if rounds is None else sorted(rounds):
        handed_out = _problems(run, config, round_index)
        for lease in sorted(run.committed(round_index)):
            yield from _read_lease(run, config, round_index, lease, partial(_of_lease, handed_out, lease))


def read_leases(
    run: RunDir, round_index: int, leases: Iterable[int], *, only: str | None = None
) -> Iterator[StoredTree]:
    """The trees of these committed leases, in this order; `only`: that of this problem alone, without reading the
    others' rows. Problem files are not looked through, so that a few trees of a large run are read at once: of runs
    before schema version 11 their `problem` is None. Raises StorageError for a damaged shard."""
    config = stored_config(run)
    for lease in leases:
        yield from _read_lease(run, config, round_index, lease, dict, only)


def _problems(run: RunDir, config: RunConfig, round_index: int) -> Iterator[tuple[int, dict[str, Problem]]]:
    """Lease by lease, the problems the run's sources give; ends early where they can't be read any more."""
    try:
        for lease in searched_leases(run, config, round_index, skip=(), left_out=left_out(run)):
            yield lease.number, {p.id: p for p in lease.problems}
    except (BerryError, OSError):
        return


def variants_of_earlier_runs(run: RunDir) -> dict[str, str]:
    """For runs whose trajectories do not say it (before schema version 5): the family of each problem that is a
    variant, from the problem files; empty for others, and where the files can't be read any more."""
    if run.versions().get("schema", schema.VERSION) >= FAMILIES_STORED_SINCE:
        return {}
    problems = chain.from_iterable(found.values() for _, found in _problems(run, stored_config(run), 0))
    return {problem.id: problem.variant_of for problem in problems if problem.variant_of}


def _of_lease(handed_out: Iterator[tuple[int, dict[str, Problem]]], lease: int) -> dict[str, Problem]:
    for number, problems in handed_out:
        if number == lease:
            return problems
    return {}


FAMILIES_STORED_SINCE = 5  # schema version
_OF_LEAF = ("leaf", "orm", "verdict", "verdict_reason", "answer", "drop_reason", "variant_of")


def _read_lease(
    run: RunDir,
    config: RunConfig,
    round_index: int,
    lease: int,
    from_files: Callable[[], dict[str, Problem]],
    only: str | None = None,
) -> Iterator[StoredTree]:
    """Problems without nodes, since they were quarantined, have no tree. `from_files`: the lease's problems by their
    files as they are now, for runs that did not store them."""
    found: dict[str, Problem] | None = None
    tables = open_lease(run.location, lease, round_index)
    marks = tables["nodes"].marks
    template_hash = json.loads(marks.get("template", "{}")).get("hash")
    leaves, kept = tables["trajectories"], tables["kept"]
    leaves_at, kept_at = (places_of(table.batches(["problem_id"])) for table in (leaves, kept))
    start, stop = 0, None
    if only is not None:
        start, stop = next(iter(places_of(tables["nodes"].batches(["problem_id"])).get(only, ())), (0, 0))
    for problem_id, node_rows in nodes_by_problem(tables["nodes"], start=start, stop=stop):
        places = leaves_at.get(problem_id, ())
        root, reader, families = next(node_rows), ValueReader(), set[str]()
        leaf_rows = _leaf_rows(rows_at(leaves, places, _OF_LEAF), families)
        tree = ReadTree(problem_id, _read_by(reader, chain((root,), node_rows)), leaf_rows)
        problem, its_kept = asked(root["problem"]), KeptRows(kept, kept_at.get(problem_id, ()), tree)
        if problem is None:
            found = from_files() if found is None else found
            problem = found.get(problem_id)
        family = _family(problem_id, families, its_kept, problem)
        yield StoredTree(
            round_index=round_index,
            tree=tree,
            prompt=root["text"] or "",
            trajectories=TrajectoryRows(leaves, places, tree),
            kept=its_kept,
            problem=problem,
            family=family,
            model=marks.get("model", ""),
            synthetic=marks.get("synthetic") == "true",
            system_prompt=rollout_of(config, problem_id).system_prompt,
            sampled_under=root["messages"],
            template_args=None if root["template_args"] is None else json.loads(root["template_args"]),
            template_hash=template_hash,
            mode=mode_name(config, problem_id),
            values=_values(tree, reader, scheme_for(config, problem_id, family), config),
            nodes=StoredNodes(tables["nodes"], (start, start + len(tree))),
        )
        start += len(tree)


def asked(stored: str | None) -> Problem | None:
    """The problem that a tree is of, as it was asked, by what its root has; None before schema version 11."""
    return None if stored is None else Problem.model_validate_json(stored)


def _read_by(reader: ValueReader, rows: Iterable[Row]) -> Iterator[Row]:
    """The rows as they are, after `reader` was given each."""
    for row in rows:
        reader.add(node_of(row))
        yield row


def _leaf_rows(rows: Iterable[Row], families: set[str]) -> Iterator[Row]:
    """What a tree's leaves are told of them; those without a tree are left out. Adds the families that they name."""
    for row in rows:
        if row["variant_of"]:
            families.add(row["variant_of"])
        if row["leaf"] is not None:
            yield row | {"leaf": str(row["leaf"])}


def scheme_for(config: RunConfig, problem_id: str, family: str) -> Scheme:
    """How the tree of a problem of this family was drawn, as far as its values depend on it. Where verdicts chose what
    was labelled, a segment's own result is no label of the steps inside it."""
    rollout = audit.rollout_for(config, problem_id, family)
    scheme = search_class(rollout.policy).scheme(rollout)
    chosen = config.annotation is not None and config.annotation.chosen_by_verdict
    return replace(scheme, inside=False) if chosen else scheme


def is_completion(row: Row) -> bool:
    """Whether a trajectory was drawn only to label the prefix that it completes."""
    return row["drop_reason"] == DropReason.ANNOTATION


def _values(tree: ReadTree, reader: ValueReader, scheme: Scheme, config: RunConfig) -> Values:
    """As they are stored; of an annotated tree worked out again, since a completed node stores the value that its
    completions give, and passes up what its own search drew."""
    if config.annotation is None or not is_annotated(tree):
        return reader.values(scheme)
    return annotated(tree, reader.own_scheme(scheme), chosen_by_verdict=config.annotation.chosen_by_verdict)


def _family(problem_id: str, families: set[str], kept: KeptRows, problem: Problem | None) -> str:
    """Rows of trajectories say it since schema version 5, of earlier runs the kept ones, else the problem files."""
    stored = next(iter(families), None)
    if stored is None and kept.are_in_memory:
        stored = next((row["variant_of"] for row in kept if row["variant_of"]), None)
    if stored is None and problem is not None:
        stored = problem.variant_of
    return stored or problem_id


def rebuild(problem_id: str, nodes: Iterable[Row], trajectories: Iterable[Row]) -> Tree:
    """The tree that these rows were stored from, as far as labels need it: shape, tokens, texts, scores, verdicts.
    Raises StorageError where a node is not there."""
    rows = iter(nodes)
    root = next(rows)
    tree = Tree(problem_id, root["token_ids"], root["node_id"])
    for row in rows:
        if row["parent_id"] not in tree:
            raise missing_node(problem_id, f"{row['parent_id']} above node {row['node_id']}")
        node = tree.attach(row["node_id"], tree[row["parent_id"]], row["token_ids"])
        node.text = row["text"]
        node.finish = Finish(row["finish"])
        node.prm, node.inner_prm = row["prm"], row["inner_prm"]
        node.logprob_sum = row["logprob_sum"]
        node.logprobs = None if row["logprobs"] is None else array("f", row["logprobs"])
        node.mean_entropy = row["mean_entropy"]
        if row["sample"] is not None:
            node.index, node.weight = row["sample"], row["weight"]
        node.engine_id, node.weights_version, node.seed = row["engine_id"], row["weights_version"], row["seed"]
        if row["role"] not in (None, ASSISTANT):
            node.given = given_of(node_of(row))
    verdicts: dict[tuple[str, str, str | None], Verdict] = {}
    for row in trajectories:
        if not row["leaf"]:
            continue
        if row["leaf"] not in tree:
            raise missing_node(problem_id, row["leaf"])
        leaf = tree[row["leaf"]]
        leaf.orm = row["orm"]
        if row["verdict"] is not None:
            said = row["verdict"], row["verdict_reason"], row["answer"]
            if said not in verdicts:
                verdicts[said] = Verdict(Outcome(said[0]), Reason(said[1]), answer=said[2])
            leaf.verdict = verdicts[said]
        if is_completion(row):
            leaf.drop = DropReason.ANNOTATION
    return tree
