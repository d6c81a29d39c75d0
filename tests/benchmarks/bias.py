"""How far values, pass rates and step labels are from the truth, policy by policy, on the synthetic engine, which knows
it: the plain share of all leaves below a node (`pooled`, as before) beside the estimates of core/values (`value`).

    PYTHONPATH=. python -P tests/benchmarks/bias.py                        (some minutes)
    PYTHONPATH=. python -P tests/benchmarks/bias.py --problems 600 --only beam mcts
    PYTHONPATH=. python -P tests/benchmarks/bias.py --problems 3000 --spare 0.5 --only "entropy 4, 2x2x2, cut"
    PYTHONPATH=. python -P tests/benchmarks/bias.py --problems 120 --majority

Columns: mean error of the pass rate (the root's value); mean error at all nodes with something below; share of 95%
intervals that hold the truth, over nodes with four or more leaves (pooled) or independent continuations (value); mean
error of the labels of steps, plain and weighted as labels ask to be; share of step labels that are null. Errors come
with two standard errors over problems. No figure is of a language model.

Errors of values are means with control variates (Owen, Monte Carlo theory, 8.9): a sampled step moves the exact value
of its prefix by an amount whose mean is zero, whatever the search does, and most of an estimate's error is such moves.
What a regression on their sums explains is chance, no bias, and is left out of the mean and of its error.
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np

from berry.pipeline.config.sections.annotation import Annotation
from berry.pipeline.config.sections.rollout.rollout import Budget, Cut
from berry.pipeline.core.labels import step_labels
from berry.pipeline.core.search.policies.annotate import AnnotateSearch, Prepared
from berry.pipeline.core.search.policies.beam import Beam
from berry.pipeline.core.search.policies.best_of_n import BestOfN
from berry.pipeline.core.search.policies.dvts import Dvts
from berry.pipeline.core.search.policies.entropy import Entropy
from berry.pipeline.core.search.policies.fixed import Fixed
from berry.pipeline.core.search.policies.mcts import Mcts
from berry.pipeline.core.search.policies.omega import Omega
from berry.pipeline.core.search.policies.shepherd import Shepherd
from berry.pipeline.core.search.policies.value import ValueGuided
from berry.pipeline.core.steps import step_ends, token_ends
from berry.pipeline.core.values.counts import Counts, pooled
from berry.pipeline.core.values.intervals import wilson
from berry.pipeline.core.values.stored import read
from berry.pipeline.core.values.votes import votes
from berry.pipeline.engines.synthetic.process import STEP_END, TEXTS
from berry.pipeline.records import DropReason
from berry.verifiers.kinds.majority import consensus, readable_answer
from berry.verifiers.specs.union import MajoritySpec
from tests.core.conftest import Core

Pair = tuple[float, float]  # error times weight, weight
SPEC = MajoritySpec()


Controls = dict[int, list[float]]
"""By problem, sums with mean zero: see `moves`."""


@dataclass
class Errors:
    """Weighted errors of one estimate, by problem, and whether its intervals hold the truth. `controls`: of every
    problem, those without an error of their own too."""

    by_problem: dict[int, list[Pair]] = field(default_factory=dict)
    covered: list[bool] = field(default_factory=list)
    nulls: int = 0
    controls: Controls = field(default_factory=dict)

    def add(self, problem: int, error: float, weight: float = 1.0) -> None:
        self.by_problem.setdefault(problem, []).append((error * weight, weight))

    @property
    def count(self) -> int:
        return sum(map(len, self.by_problem.values()))

    @property
    def null_share(self) -> float:
        return self.nulls / (self.nulls + self.count) if self.nulls + self.count else 0.0

    @property
    def bias(self) -> float:
        """Weighted mean error over everything, less what the controls explain."""
        return self._estimate()[0]

    @property
    def two_sigma(self) -> float:
        """Two standard errors of `bias`; what one problem gives is not independent, so problems are the units."""
        return self._estimate()[1]

    def _estimate(self) -> tuple[float, float]:
        problems = list(self.controls or self.by_problem)
        pairs = [self.by_problem.get(problem, []) for problem in problems]
        errors = np.array([sum(e for e, _ in of) for of in pairs])
        weights = np.array([sum(w for _, w in of) for of in pairs])
        total = weights.sum()
        if not total:
            return float("nan"), float("nan")
        bias = errors.sum() / total
        n, rest, explained = len(problems), errors - bias * weights, 0
        if self.controls and n > 2 * len(self.controls[problems[0]]):
            drawn = np.array([self.controls[problem] for problem in problems])
            centred = drawn - drawn.mean(axis=0)
            slopes, _, explained, _ = np.linalg.lstsq(centred, rest, rcond=None)
            bias -= drawn.sum(axis=0) @ slopes / total
            rest = rest - centred @ slopes
        if n < explained + 2:
            return float(bias), float("nan")
        return float(bias), float(2 * (rest @ rest / (n - 1 - explained) * n) ** 0.5 / total)

    @property
    def coverage(self) -> float | None:
        return statistics.mean(self.covered) if self.covered else None


@dataclass
class Measured:
    """One policy's errors: `old_…` by pooling."""

    old_root: Errors = field(default_factory=Errors)
    old_nodes: Errors = field(default_factory=Errors)
    old_labels: Errors = field(default_factory=Errors)
    root: Errors = field(default_factory=Errors)
    nodes: Errors = field(default_factory=Errors)
    labels: Errors = field(default_factory=Errors)


def moves(search: Any, world: Any, steps: int) -> list[float]:
    """By how much the exact value moved over all sampled steps of a tree, each once however many paths share it and
    times the weights of the nodes above: a sum for each step's place, whether the total before it was right, and
    whether its sample begins at the root. Each has mean zero: what was sampled is in the tree whatever it says, and
    what it weighs was settled before."""
    chain, sums = world.chain, [0.0] * 4 * steps
    root = search.tree.root
    known = {root.node_id: (1.0, False)}  # weight, and whether it is of a sample that begins at the root
    for node in search.tree.walk():
        if node is root:
            continue
        weight, first = known[node.parent.node_id]
        first = node.parent is root or (first and node.index < 0)
        known[node.node_id] = weight * (1.0 if node.weight is None else node.weight), first
        ids = search.tree.response_ids(node.node_id)
        at = node.end - len(node.tokens)
        before = chain.value(ids[:at])
        while at < node.end:
            done, total, _ = chain.position(ids[:at])
            if done == steps:
                break
            try:
                at = min(ids.index(STEP_END, at) + 1, node.end)
            except ValueError:
                at = node.end
            after = chain.value(ids[:at])
            sums[4 * done + 2 * (total == chain.totals[done]) + first] += weight * (after - before)
            before = after
    return sums


def measure(
    core: Any,
    policy: Any,
    *,
    problems: int,
    noise: float = 0.1,
    shuffle: bool = False,
    steps: int = 8,
    labels: bool = True,
    first: int = 0,
    annotation: Annotation | None = None,
    min_visits: int = 0,
    pooling: bool = True,
    **rollout: Any,
) -> Measured:
    """Plays `problems` searches and holds what they say against the truth. `noise`: standard deviation of the scorer's
    error; `shuffle`: answers arrive in any order; `annotation`: the finished trees are labelled by completions;
    `min_visits`: values with fewer independent continuations behind them are left out, as null; `pooling`: the plain
    shares are looked at too."""
    controls: Controls = {}
    measured = Measured()
    for errors in (measured.root, measured.nodes, measured.labels):
        errors.controls = controls
    for index in range(first, first + problems):
        world = core.SyntheticWorld(index, noise=noise, steps=steps, error_rate=(0.1, 0.25), repair_rate=(0, 0.1))
        search = core.synthetic(world, policy, run_seed=index, **rollout)
        core.play(search, world, random.Random(index) if shuffle else None, check=False)
        if annotation is not None:
            search = annotate(core, search, world, annotation, shuffle=random.Random(index) if shuffle else None)
        controls[index] = moves(search, world, steps)
        plain = pooled(search.tree) if pooling else None
        _nodes(measured, search, world, index, min_visits, plain)
        if labels:
            _labels(measured, search, world, index, min_visits, plain)
    return measured


def annotate(
    core: Any, search: Any, world: Any, annotation: Annotation, *, shuffle: random.Random | None = None
) -> Any:
    """The tree of a finished search after `berry annotate`. `kept` are the trajectories that passed."""
    tree, decode = search.tree, world.engine.decode
    leaves = [t.leaf for t in search.trajectories() if tree[t.leaf].end]
    passed = {leaf for leaf in leaves if tree[leaf].verdict is not None and tree[leaf].verdict.passed}
    if isinstance(annotation.of, int):
        leaves = random.Random(search.run_seed).sample(leaves, min(annotation.of, len(leaves)))
    elif annotation.of != "all":
        leaves = [leaf for leaf in leaves if (leaf in passed) is (annotation.of == "kept")]
    chosen: dict[str, list[int]] = {}
    for leaf in leaves:
        ids = tree.response_ids(leaf)
        chosen[leaf] = step_ends(decode(ids), token_ends(ids, decode), search.rollout.step)
    labelling = AnnotateSearch(
        Prepared(tree, search.values().scheme, chosen),
        search.rollout,
        annotation,
        run_seed=search.run_seed + 10_000,
        round_index=0,
        context_len=4000,
    )
    core.play(labelling, world, shuffle, check=False)
    return labelling


def _nodes(
    measured: Measured, search: Any, world: Any, index: int, min_visits: int, counts: dict[str, Counts] | None
) -> None:
    tree, values = search.tree, search.values()
    for node in tree.walk():
        value = values[node.node_id]
        if not node.children:
            continue
        truth = world.true_value(tree, node.node_id)
        count = counts[node.node_id] if counts else None
        if count is not None and count.checked:
            measured.old_nodes.add(index, count.soft - truth)
            if count.checked >= 4:
                low, high = wilson(count.passed, count.checked)
                measured.old_nodes.covered.append(low <= truth <= high)
            if node is tree.root:
                measured.old_root.add(index, count.soft - truth)
        for errors in (measured.nodes, measured.root) if node is tree.root else (measured.nodes,):
            if value.value is None or value.kind != "estimate" or value.n < min_visits:
                errors.nulls += 1
                continue
            errors.add(index, value.value - truth)
            if value.n >= 4:
                errors.covered.append(value.low <= truth <= value.high)


@cache
def _length(token: int) -> int:
    return len(TEXTS[token])


def _labels(
    measured: Measured, search: Any, world: Any, index: int, min_visits: int, counts: dict[str, Counts] | None
) -> None:
    """Every step of every checked trajectory, each shared prefix once, as labels are read back from storage."""
    tree, seen = search.tree, set[tuple[str, int]]()
    stored = not isinstance(search, AnnotateSearch)
    values = read(search.nodes(), search.scheme(search.rollout)) if stored else search.values()
    for trajectory in search.trajectories():
        if trajectory.verdict is None or trajectory.drop_reason is DropReason.ANNOTATION:
            continue
        ids = tree.response_ids(trajectory.leaf)
        token_ends = tuple(accumulate(map(_length, ids)))  # each token of a step has a text of its own
        ends = step_ends(world.engine.decode(ids), token_ends, search.rollout.step)[:-1]
        path = tree.path(tree[trajectory.leaf])
        at = 0
        for end, label in zip(ends, step_labels(tree, trajectory.leaf, ends, values), strict=True):
            while path[at].end < end:
                at += 1
            if (path[at].node_id, end) in seen:
                continue
            seen.add((path[at].node_id, end))
            truth = world.chain.value(ids[:end])
            if counts and (plain := counts[path[at].node_id].soft) is not None:
                measured.old_labels.add(index, plain - truth)
            errors = measured.labels
            if label.label is None or label.n < min_visits:
                errors.nulls += 1
                continue
            errors.add(index, label.label - truth, label.mass)
            if label.n >= 4:
                errors.covered.append(label.low <= truth <= label.high)


def sparing(config: Any, share: float) -> Any:
    """A policy or a cut that spares so large a share; one that gives nothing up as it is."""
    return config.model_copy(update={"spare": share}) if hasattr(config, "spare") else config


NINE: dict[str, Any] = {
    "best_of_n 32": BestOfN(n=32),
    "fixed 4,2,2,2": Fixed(branching=(4, 2, 2, 2)),
    "entropy 4, 2x2x2": Entropy(chains=4, forks=2, rounds=2, branches=2),
    "value 16": ValueGuided(leaves=16),
    "beam 4x4": Beam(beams=4, width=4),
    "dvts 4x4": Dvts(subtrees=4, width=4),
    "mcts 32": Mcts(simulations=32),
    "shepherd 2x8": Shepherd(chains=2, completions=8),
    "omega": Omega(chains=8, completions=8, searches=4),
}
CUTS: dict[str, tuple[Any, dict[str, Any]]] = {
    f"{name}, cut {below}": (NINE[name], {"cut": Cut(model="prm", below=below, speculative=False)})
    for name in ("best_of_n 32", "fixed 4,2,2,2", "entropy 4, 2x2x2", "value 16", "beam 4x4", "dvts 4x4")
    for below in (0.1, 0.3)
}
ANNOTATED: dict[str, tuple[Any, dict[str, Any]]] = {
    f"{name}, {how}": (
        sparing(NINE[name], 0.0),
        {"annotation": Annotation.model_validate({"method": method, "of": of})},
    )
    for name in ("best_of_n 32", "beam 4x4", "mcts 32", "value 16")
    for how, method, of in (("kept", "shepherd", "kept"), ("2 each", "shepherd", 2), ("omega", "omega", "dropped"))
}
VOTERS: dict[str, Any] = {
    **NINE,
    "shepherd 4x4": Shepherd(chains=4, completions=4),
    "shepherd 1x8": Shepherd(chains=1, completions=8),
}


@dataclass
class Elected:
    """Problems that a majority of each tree's leaves labelled, how many of these rightly, and the independent chains
    that the votes of a problem came from, in the mean."""

    labelled: int = 0
    right: int = 0
    chains: float = 0.0


def elect(core: Any, policy: Any, *, problems: int, noise: float = 0.1) -> tuple[Elected, Elected]:
    """What majorities label where every leaf has one vote and is a chain of its own, as before; and by the votes of
    core/values/votes.py. No verdict tells right from wrong while such a search grows."""
    before, now = Elected(), Elected()
    for index in range(problems):
        world = core.SyntheticWorld(index, noise=noise, steps=8, error_rate=(0.1, 0.25), repair_rate=(0, 0.1))
        world.verdict = lambda _: core.UNSURE
        search = core.synthetic(world, policy, run_seed=index)
        core.play(search, world, check=False)
        tree = search.tree
        leaves = [leaf.node_id for leaf in tree.leaves() if leaf.verdict is not None]
        answers = {leaf: readable_answer(world.engine.decode(tree.response_ids(leaf)), SPEC) for leaf in leaves}
        drawn = votes(tree, search.heads)
        weights, chains = ({leaf: getattr(drawn[leaf], name) for leaf in leaves} for name in ("weight", "chain"))
        for told, verdicts in (
            (before, consensus(answers, None, MajoritySpec(min_chains=1, confidence=0))),
            (now, consensus(answers, weights, SPEC, chains)),
        ):
            evidence = [verdict.evidence for verdict in verdicts.values()]
            label = next((seen["pseudo_label"] for seen in evidence if "pseudo_label" in seen), None)
            told.labelled += label is not None
            told.right += label == str(world.answer)
            told.chains += (evidence[0]["chains"] if evidence else 0.0) / problems
    return before, now


def elections(core: Any, problems: int, noise: float) -> None:
    print(f"{'majority, labelled (right)':26s} {'a leaf a vote':>16s} {'by chains':>16s} {'chains':>7s}")
    for name, policy in VOTERS.items():
        found = elect(core, policy, problems=problems, noise=noise)
        cells = [f"{e.labelled} ({_share(e.right / e.labelled if e.labelled else None)})" for e in found]
        print(f"{name:26s} {cells[0]:>16s} {cells[1]:>16s} {found[1].chains:7.1f}", flush=True)


STOPS: dict[str, tuple[Any, dict[str, Any]]] = {
    "best_of_n 32, 4 right": (NINE["best_of_n 32"], {"budget": Budget(stop_after_correct=4)}),
}


def table(
    core: Any, cases: dict[str, tuple[Any, dict[str, Any]]], problems: int, noise: float, min_visits: int = 0
) -> None:
    print(f"{'':22s} {'pass rate':>24s} {'nodes':>15s} {'covers':>11s} {'step labels':>25s} {'null':>5s}")
    parts = f"{'pooled':>9s} {'value':>14s} {'pooled  value':>15s} {'pooled value':>11s} {'pooled':>9s} {'value':>16s}"
    print(f"{'':22s} {parts}")
    for name, (policy, rollout) in cases.items():
        m = measure(core, policy, problems=problems, noise=noise, min_visits=min_visits, **rollout)
        print(
            f"{name:22s} {m.old_root.bias:+9.3f} {m.root.bias:+7.3f} ±{m.root.two_sigma:.3f}"
            f" {m.old_nodes.bias:+8.3f} {m.nodes.bias:+6.3f}"
            f" {_share(m.old_nodes.coverage):>6s} {_share(m.nodes.coverage):>4s}"
            f" {m.old_labels.bias:+9.3f} {m.labels.bias:+9.3f} ±{m.labels.two_sigma:.3f} {m.labels.null_share:5.0%}",
            flush=True,
        )


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=150)
    parser.add_argument("--only", nargs="*", default=[], help="rows whose names begin so")
    parser.add_argument("--noise", type=float, default=0.1, help="standard deviation of the scorer's error")
    parser.add_argument("--spare", type=float, help="share of what is given up that goes on; default: the policies'")
    parser.add_argument("--majority", action="store_true", help="what majorities of trees elect, in place of values")
    parser.add_argument("--min-visits", type=int, default=0, help="values with less behind them are left out")
    args = parser.parse_args(argv)
    cases = {**{name: (policy, {}) for name, policy in NINE.items()}, **CUTS, **STOPS, **ANNOTATED}
    if args.only:
        cases = {name: case for name, case in cases.items() if name.startswith(tuple(args.only))}
    if args.spare is not None:
        cases = {
            name: (sparing(policy, args.spare), {key: sparing(value, args.spare) for key, value in rollout.items()})
            for name, (policy, rollout) in cases.items()
        }
    if args.majority:
        elections(Core(), args.problems, args.noise)
    else:
        table(Core(), cases, args.problems, args.noise, args.min_visits)


if __name__ == "__main__":
    main()
