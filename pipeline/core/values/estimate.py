"""Estimates node values without bias from the verdicts of the leaves and the weights with which branches were drawn.

    up(leaf)  = 1 if it passed, 0 if it failed; unknown if it could not be checked or gave no answer
    up(s)     = (1/b) · sum over the sampled children c of  w_c · up(c)
    mass(s)   = (1/b) · sum over them of                    w_c · mass(c)          mass(leaf) = 1

b children were sampled from s (those of which nothing is known left out); w_c is 1 over the chance with which the
search kept c once it was sampled: 1 for most, 0 for a branch given up, 1/share for one that was spared at random in
its stead (Horvitz and Thompson 1952; the "Russian roulette" of Monte-Carlo transport). Each sampled child is one draw
of the policy from s, so E[up(s)] is the value of s and E[mass(s)] = 1, whatever was cut below. A single estimate may
exceed 1 where a spared branch stands for twenty. A label for training is up / mass, in [0, 1], with the sample weight
mass: weighted so, labels are unbiased too.

Where a sampled segment was forked at places chosen by looking at all of it (`Heads.FORKS`: entropy, omega) or at
verdicts (`Heads.OWN`: mcts), the forks are no further draws for what lies above: there a segment passes up the result
of its own end alone. The head of such a segment has the mean of its forks as value (FORKS; nothing without forks), or
the result of its own segment (OWN).

Where verdicts end independent chains in the order of the draws, the root has the value of stopped.py, chains up to the
stop have theirs, and chains beyond it none.

A given node (a tool's result) is drawn by nobody: the call above it has its value, and passes it up.

The interval is Wilson's over the independent continuations: `n` = (sum x_c)² / sum x_c² with x_c = w_c · mass(c), which
is the number of known children where all weigh the same. The draws below one child are not independent as seen from s,
so that they narrow nothing. Mass that was lost to cuts (mass < 1) may have any value: the interval is widened by it.
Where a threshold cuts (`Scheme.cuts`), how much is lost is chance too: four chains of four that are still there may be
those of a problem that keeps half. There the mass counts as little as the lower end of its own Wilson interval says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from math import fsum

from msgspec import Struct

from berry.pipeline.core.tree_view import NodeView, TreeView
from berry.pipeline.core.values.intervals import wilson
from berry.pipeline.core.values.stopped import Ends, pass_at_k, until_stop
from berry.pipeline.records import ValueKind
from berry.verifiers.base import Outcome, Verdict


class Heads(Enum):
    """Which draws stand behind the value of a node at which a sampled segment was cut in two."""

    ALL = "all"  # cut by a rule that looks at nothing but the prefix: the rest of the segment and the forks alike
    FORKS = "forks"  # the place was chosen by looking at the rest: the forks alone
    OWN = "own"  # forked where verdicts said so: the rest of the segment alone


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a search draws, as far as values depend on it.

    `survivors`: branches are given up and none is spared, so that only survivors' rates can be told. `adaptive`: what
    is sampled, or how long, depends on verdicts in a way that no estimate here corrects. `cuts`: a threshold on scores
    gives branches up, so that how many are left says something of how good they looked. `inside`: a step that ends
    inside a segment may take the segment's result as its one continuation. `ends`: the rule by which verdicts end the
    independent chains from the root, looked at in the order of the draws (stopped.py); None: they run to their number.
    """

    heads: Heads = Heads.ALL
    survivors: bool = False
    adaptive: bool = False
    cuts: bool = False
    inside: bool = True
    ends: Ends | None = None


class Value(Struct, frozen=True, gc=False):
    """Value of a prefix. `value` None with a kind: what is known is no estimate (ADAPTIVE); kind None: nothing below
    could be checked. `low`, `high`: 95% interval of the true value. `n`: independent continuations behind it.
    `mass`: what the label value / mass weighs. `reached`: whether any continuation passed, however it was drawn; None
    if none was checked."""

    value: float | None = None
    low: float = 0.0
    high: float = 1.0
    n: int = 0
    mass: float = 0.0
    kind: ValueKind | None = None
    reached: bool | None = None

    @property
    def label(self) -> float | None:
        """Target in [0, 1] for training, to be weighted by `mass`; None where nothing stands behind it."""
        if self.value is None or not self.mass:
            return None
        return min(1.0, self.value / self.mass)

    @property
    def confidence(self) -> float:
        """One minus the width of the 95% interval, in [0, 1]: 0 where nothing stands behind the value."""
        return 1.0 - (self.high - self.low)


class Draws(Struct, frozen=True, gc=False):
    """What one node passes up: its value, the mass behind it, and the number of independent continuations."""

    value: float
    mass: float
    n: float


PASSED, FAILED = (
    Value(1.0, 1.0, 1.0, 1, 1.0, ValueKind.ESTIMATE, True),  # noqa: FBT003
    Value(0.0, 0.0, 0.0, 1, 1.0, ValueKind.ESTIMATE, False),  # noqa: FBT003
)
UNKNOWN = Value()
_UP_PASSED, _UP_FAILED, _GIVEN_UP = Draws(1.0, 1.0, 1.0), Draws(0.0, 1.0, 1.0), Draws(0.0, 0.0, 0.0)
_PASS, _UNVERIFIABLE = Outcome.PASS, Outcome.UNVERIFIABLE


def is_known(verdict: Verdict | None) -> bool:
    """Whether a verdict tells right from wrong: a check that could not be made and a response without an answer tell
    neither."""
    return verdict is not None and verdict.outcome is not _UNVERIFIABLE and not verdict.unanswered


Found = dict[str, tuple[Value, Draws | None]]  # by node id: its value, and what it passes up


@dataclass(frozen=True, slots=True)
class Values:
    """The values of one tree, by node id: as its search estimates them, or as they were stored."""

    scheme: Scheme
    found: Mapping[str, tuple[Value, Draws | None]]

    def __getitem__(self, node_id: str) -> Value:
        return self.found[node_id][0]

    def inside(self, node_id: str) -> Value:
        """For a step that ends inside the node's segment: the segment's own result, one continuation behind it."""
        value, up = self.found[node_id]
        if value.kind is ValueKind.POOLED:
            return value
        if up is None:
            kind = ValueKind.ADAPTIVE if value.kind is ValueKind.ESTIMATE else value.kind
            return Value(kind=kind, reached=value.reached)
        if self.scheme.adaptive or not self.scheme.inside:
            return Value(kind=ValueKind.ADAPTIVE, reached=value.reached)
        one = Draws(up.value, up.mass, min(1.0, up.n))
        scheme = Scheme(survivors=value.kind is ValueKind.SURVIVORS, cuts=self.scheme.cuts)
        return value_of(one, scheme, value.reached)


def estimate(tree: TreeView, scheme: Scheme = Scheme()) -> Values:
    """The value of every node of a finished tree."""
    found: Found = {}
    passing, failing, unknown = (PASSED, _UP_PASSED), (FAILED, _UP_FAILED), (UNKNOWN, None)
    told: dict[int, tuple[Value, Draws | None]] = {id(None): unknown}  # by verdict: equal answers share one
    for node in reversed(tree.nodes()):
        if node.children:
            found[node.node_id] = _inner(node, found, scheme)
            continue
        verdict = node.verdict
        own = told.get(id(verdict))
        if own is None:
            if verdict is None or not is_known(verdict):
                own = unknown
            else:
                own = passing if verdict.outcome is _PASS else failing
            told[id(verdict)] = own
        found[node.node_id] = own
    if scheme.ends is not None:
        _stop(tree, found, scheme.ends)
    return Values(scheme, found)


def _stop(tree: TreeView, found: Found, ends: Ends) -> None:
    """Gives the root of chains that verdicts ended its value, and takes theirs from chains beyond the stop: whether
    those were finished when the search ended depends on how long they were, and with it on what they say."""
    root = tree.root
    chains = sorted(root.children, key=lambda child: child.index)
    passes = [None if (up := found[c.node_id][1]) is None else up.value > 0 for c in chains]
    stop = until_stop(passes, ends)
    for chain in chains[stop:]:
        for node in tree.walk(chain):
            value = found[node.node_id][0]
            found[node.node_id] = Value(kind=value.kind and ValueKind.ADAPTIVE, reached=value.reached), None
    drawn = zip(chains[:stop], passes[:stop], strict=True)
    known = [passed for chain, passed in drawn if passed is not None and chain.weight is not None]
    value = pass_at_k(known, 1, ends)
    reached = found[root.node_id][0].reached
    if value is None:
        found[root.node_id] = Value(reached=reached), None
        return
    low, high = wilson(sum(known), len(known))
    found[root.node_id] = (
        Value(value, low, high, len(known), 1.0, ValueKind.ESTIMATE, reached),
        Draws(value, 1.0, float(len(known))),
    )


def _inner(node: NodeView, found: Found, scheme: Scheme) -> tuple[Value, Draws | None]:
    children = node.children
    if children[0].given is not None:
        return found[children[0].node_id]
    heads = scheme.heads
    if heads is not Heads.ALL and children[0].index < 0:
        up = pool(children[:1], found)
        own = up if heads is Heads.OWN else pool(children[1:], found)
        if own is None and up is not None:
            return Value(kind=ValueKind.ADAPTIVE, reached=_reached(children, found)), up
    else:
        up = own = pool(children, found)
    reached = _reached(children, found)
    return value_of(own, scheme, reached), up


def pool(children: Sequence[NodeView], found: Found) -> Draws | None:
    """The mean over sampled children, the same whatever order they came in; None if nothing is known of any."""
    b = 0
    values: list[float] = []
    masses: list[float] = []
    for child in children:
        weight = child.weight
        if weight is None:  # not drawn by the schedule
            continue
        if weight == 0.0:
            b += 1
            continue
        up = found[child.node_id][1]
        if up is not None:
            b += 1
            values.append(weight * up.value)
            masses.append(weight * up.mass)
    if not b:
        return None
    mass = fsum(masses)
    return Draws(fsum(values) / b, mass / b, mass * mass / fsum([x * x for x in masses]) if mass else 0.0)


def value_of(draws: Draws | None, scheme: Scheme, reached: bool | None) -> Value:  # noqa: FBT001
    """The value of a node whose children's draws have been pooled."""
    if draws is None:
        return Value(reached=reached)
    if scheme.adaptive:
        return Value(kind=ValueKind.ADAPTIVE, reached=reached)
    mass, n = draws.mass, int(draws.n + 1e-9)
    if not mass:
        if scheme.survivors:
            return Value(kind=ValueKind.SURVIVORS, reached=reached)
        return Value(0.0, 0.0, 1.0, 0, 0.0, ValueKind.ESTIMATE, reached)
    share = min(1.0, draws.value / mass)
    low, high = wilson(share * draws.n, draws.n)
    if mass <= 1.0:
        sure = wilson(draws.n, draws.n / mass)[0] if scheme.cuts else mass
        low, high = sure * low, sure * high + (1.0 - sure)
    if scheme.survivors:
        return Value(share, low, high, n, 1.0, ValueKind.SURVIVORS, reached)
    return Value(draws.value, low, high, n, mass, ValueKind.ESTIMATE, reached)


def _reached(children: Sequence[NodeView], found: Found) -> bool | None:
    known = None
    for child in children:
        reached = found[child.node_id][0].reached
        if reached:
            return True
        if reached is False:
            known = False
    return known
