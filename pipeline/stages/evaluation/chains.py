"""Holds what methods choose from: the independent chains of a problem, and the leaves that a search ended with.

    StoredTree ─► independent chains (where the search was one of INDEPENDENT)     StoredTree ─► leaves of a search

A chain is one draw of the generator from the prompt to its end. Of a tree that forks, each child of the root begins
one; below it the chain goes on with the rest of the segment that was sampled first, else with the first sample. What
other forks hold is left out, since it shares a prefix with the chain.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from berry.pipeline.config.run import RunConfig
from berry.pipeline.core.assignment.modes import given_id
from berry.pipeline.core.search.policies.mcts import Mcts
from berry.pipeline.core.search.registry import search_class
from berry.pipeline.core.values.estimate import Heads
from berry.pipeline.core.values.votes import votes
from berry.pipeline.records import DropReason, Ending, ending
from berry.pipeline.stages.dataset.read_tree import ReadNode, ReadTree
from berry.pipeline.stages.dataset.reading import StoredTree
from berry.pipeline.stages.dataset.rows import Row
from berry.verifiers.kinds.majority import one_spelling

REWARDS = ("orm", "prm_last", "prm_min", "prm_prod")
"""Columns of trajectories with what reward models say of an answer, each in [0, 1]."""
LOGPROB = "logprob"
"""Mean log-probability, in nats, of an answer's sampled tokens: what the generator itself says, at no further cost."""
SCORES = (*REWARDS, LOGPROB)
"""What an answer can be chosen by."""

_GIVEN_UP = frozenset({DropReason.CUT_IN_LOOP, DropReason.CANCELLED})
_RIGHT = {Ending.PASS: True, Ending.WRONG: False, Ending.NO_ANSWER: False, Ending.TRUNCATED: False}


@dataclass(frozen=True, slots=True)
class ScoredAnswer:
    """One finished trajectory. `passed` None: it could not be checked. `answer`: the class of its answer among those of
    the problem, None where it gave none. `tokens` of the response; `scores` by name, those that the run has."""

    passed: bool | None
    answer: str | None
    tokens: int
    scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProblemAnswers:
    """All that one problem's methods choose from. `generated`: tokens sampled for all answers, a shared prefix once.
    `segments`: what a model reads below the prompt, as (tokens, tokens before them): a shared prefix is one segment,
    and what tools said counts too. `weights`: votes of a search's leaves (core/values/votes.py); None where all count
    the same. `text`: what was asked."""

    problem_id: str
    benchmark: str
    prompt_tokens: int
    answers: tuple[ScoredAnswer, ...]
    generated: int
    segments: tuple[tuple[int, int], ...]
    weights: tuple[float, ...] | None = None
    text: str = ""

    @property
    def pass_rate(self) -> float | None:
        """Share of the checked answers that passed; of independent chains the generator's own pass rate."""
        known = [a.passed for a in self.answers if a.passed is not None]
        return sum(known) / len(known) if known else None


def is_independent(config: RunConfig) -> bool:
    """Whether every child of the root begins a chain that neither a score nor a verdict chose: no policy that gives
    branches up or draws by results, no cut in the loop, no budget that ends a search early."""
    search = search_class(config.rollout.policy)
    scheme = search.scheme(config.rollout)
    stopped = scheme.adaptive or scheme.ends is not None
    chosen = search.gives_up or stopped or scheme.heads is Heads.OWN
    return not chosen and config.rollout.cut is None


def in_loop_scorers(config: RunConfig) -> frozenset[str]:
    """The reward models that a run's search asks while it grows (prm, orm): their reading is part of its cost whatever
    chooses in the end."""
    rollout = config.rollout
    found = set() if rollout.cut is None else {rollout.cut.model}
    unpruned = search_class(rollout.policy).unpruned(rollout.policy)
    if unpruned is not None:
        found.add(unpruned[1])
    if isinstance(rollout.policy, Mcts) and rollout.policy.prior == "scorer":
        found.add(rollout.policy.scorer)
    return frozenset(found)


def independent_chains(stored: StoredTree, benchmark: str) -> ProblemAnswers:
    """The chains that begin at the root of one tree, in the order in which they were drawn."""
    by_leaf = {row["leaf"]: row for row in stored.trajectories}
    rows, ends = [], []
    for child in sorted(stored.tree.root.children, key=lambda node: node.index):
        end = _end(child)
        if end.node_id in by_leaf:
            rows.append(by_leaf[end.node_id])
            ends.append(end)
    spelling = one_spelling(row["answer"] for row in rows)
    read = [node for end in ends for node in stored.tree.path(end)]  # chains share no node but the root
    return _answers(stored, benchmark, rows, spelling, read, None)


def _answers(
    stored: StoredTree,
    benchmark: str,
    rows: Iterable[Row],
    spelling: Mapping[str, str],
    read: Iterable[ReadNode],
    weights: tuple[float, ...] | None,
) -> ProblemAnswers:
    """`read`: the nodes that a model has read, the root left out."""
    prompt = len(stored.tree.prompt_ids)
    generated, segments = 0, []
    for node in read:
        segments.append((node.n_tokens, prompt + node.end - node.n_tokens))
        generated += 0 if node.given is not None else node.n_tokens
    return ProblemAnswers(
        given_id(stored.problem_id, stored.mode),
        benchmark,
        prompt,
        tuple(answer_of(row, spelling, mean_logprob(stored.tree, row["leaf"])) for row in rows),
        generated,
        tuple(segments),
        weights,
        "\n\n".join(m["content"] for m in stored.messages if m["role"] != "system"),
    )


def _end(node: ReadNode) -> ReadNode:
    """The leaf of the chain that goes on with the first draw at each fork."""
    while node.children:
        node = min(node.children, key=lambda child: child.index)  # -1: the rest of a segment that was cut in two
    return node


def search_leaves(stored: StoredTree, benchmark: str) -> ProblemAnswers:
    """Every leaf that a search ended with, and all the tokens that it sampled. Branches that it gave up before they
    came to an answer are no leaves to choose among: nothing about them could have been checked."""
    rows = [row for row in stored.trajectories if row["drop_reason"] not in _GIVEN_UP]
    spelling = one_spelling(row["answer"] for row in rows)
    drawn = votes(stored.tree, stored.values.scheme.heads)
    weights = tuple(drawn[row["leaf"]].weight if row["leaf"] in drawn else 0.0 for row in rows)
    if stored.tree.has_completions:  # which label prefixes, and are no part of the search
        ways = (stored.tree.path(stored.tree[row["leaf"]]) for row in stored.trajectories)
        read = list({node.number: node for way in ways for node in way}.values())
    else:
        read = [node for node in stored.tree.walk() if node.number]
    return _answers(stored, benchmark, rows, spelling, read, weights)


def mean_logprob(tree: ReadTree, leaf: str) -> float | None:
    """Mean over the sampled tokens of a response, in nats; None where the run did not store them, or of none."""
    total, tokens = 0.0, 0
    for node in tree.path(tree[leaf]):
        if node.given is not None or not node.n_tokens:
            continue
        if node.logprob_sum is None:
            return None
        total += node.logprob_sum
        tokens += node.n_tokens
    return total / tokens if tokens else None


def answer_of(row: Row, spelling: Mapping[str, str], logprob: float | None = None) -> ScoredAnswer:
    """Takes what methods need of one trajectory's row, its answer as its class is spelled. One that gave no answer, or
    was out of tokens, is not right."""
    passed = _RIGHT.get(ending(row["verdict"], row["verdict_reason"], row["finish"]))
    scores = {name: float(row[name]) for name in REWARDS if row.get(name) is not None}
    if logprob is not None:
        scores[LOGPROB] = logprob
    return ScoredAnswer(passed, spelling.get(row["answer"]), int(row["n_tokens"]), scores)


def read_answers(
    trees: Iterable[StoredTree],
    benchmarks: Mapping[str, str] | None = None,
    *,
    independent: bool,
) -> Iterator[ProblemAnswers]:
    """Every tree's answers: its independent chains, or all leaves of the search. `benchmarks`: the name by problem id,
    and problems that are not among them are passed over; None: all, by the source that they name."""
    for stored in trees:
        if benchmarks is None:
            name = (stored.problem.source if stored.problem is not None else "") or "all problems"
        elif (asked := given_id(stored.problem_id, stored.mode)) in benchmarks:
            name = benchmarks[asked]
        else:
            continue
        yield independent_chains(stored, name) if independent else search_leaves(stored, name)
